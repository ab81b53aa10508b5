"""`quanos attack`: how a trained network stands up to attacks, and whether to believe it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from quanos.cli import print_json
from quanos.console.attack_text import lines

if TYPE_CHECKING:
    from hw.plan import Plan
    from quanos.config import Config

Name = Literal[
    "fgsm",
    "pgd",
    "pgd_identity",
    "pgd_temperature",
    "apgd_ce",
    "apgd_dlr",
    "apgd_t",
    "transfer_float",
    "transfer_2",
    "transfer_16",
    "transfer_seed",
    "square",
]

OF_ONE = frozenset({"epsilon", "steps", "step_size", "restarts", "queries"})
"""Options that say how one attack is made; the protocols have the run's."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Attack a trained network on test images: by both protocols, or by one attack.

    Without --attack the paper's protocol and the strong one are run with the run's budget, and the
    gate says whether gradients are masked; --full takes the budget of the standard AutoAttack. With
    --out every attack that was made is kept, and the same command goes on after a kill.

    Example: quanos attack runs/digits --attack pgd --epsilon 0.1 --steps 50
    """

    network: tyro.conf.Positional[Path]
    """Run folder or checkpoint."""
    attack: Name | None = None
    """One attack alone, on all images, and not the protocols. pgd_identity and pgd_temperature
    look behind masked gradients (BPDA), transfer_* take images made on a twin of the network: in
    floating point, at 2 or 16 bits, or of another seed."""
    full: bool = False
    """Protocols with 100 steps, 5 restarts, 9 targets and 5000 queries, not the run's budget."""
    epsilon: float = 8 / 255
    """Radius of the one attack, pixels in [0, 1]."""
    steps: int = 20
    """Steps of PGD and APGD."""
    step_size: float | None = None
    """Size of a step of PGD; without it 2.5 epsilon / steps."""
    restarts: int = 1
    """Starts of PGD, where 1 is the image itself, not a random one; classes that apgd_t aims at."""
    queries: int = 5000
    """Queries of Square Attack."""
    images: int | None = None
    """Test images; without it as many as in the run, 0 is all."""
    seed: int | None = None
    """Seed of random starts; without it the run's."""
    twin: Path | None = None
    """The 16-bit network's run folder or checkpoint, for transfer_16; without it the run's own."""
    other_seed: Path | None = None
    """Run folder or checkpoint of the same network from another seed, for transfer_seed."""
    data_dir: Path | None = None
    """Folder of the data set's files; without it the run's."""
    out: Path | None = None
    """JSON file to write the result to; beside it, until then, what is made of it so far."""
    plan: bool = False
    """Say what would be done and how long it may take, and stop."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Attack and print."""
        from quanos.adversary.protocols import FULL
        from quanos.config import override
        from quanos.data import load_dataset
        from quanos.run import write_json
        from quanos.storage.checkpoint import load_network

        self._check()
        model, meta = load_network(self.network)
        given = {"attack_images": self.images, "seed": self.seed}
        given["data_dir"] = str(self.data_dir) if self.data_dir else None  # type: ignore[assignment]
        given |= FULL if self.full else {}
        keys = meta["config"] | {name: value for name, value in given.items() if value is not None}
        config = override(keys, "command line")
        data = load_dataset(config.dataset, config.data_path)
        split = data.test.first(config.attack_images)
        named = {"16": self.twin or beside(self.network), "seed": self.other_seed}
        others = {name: load_network(path)[0] for name, path in named.items() if path}
        if self.plan:
            self._plan(model, split, config, set(others)).give(as_json=self.json)
            return
        if self.attack:
            result = self._single(model, split, config, others)
        else:
            result = _protocols(model, split, config, data.classes, others, self._part)
        if self.out and self._part:
            write_json(self.out, result)
            self._part.unlink(missing_ok=True)
        print_json(result) if self.json else print("\n".join(lines(result)))

    @property
    def _part(self) -> Path | None:
        """Where attacks are kept until all are made."""
        return self.out.with_suffix(".part.json") if self.out else None

    def _check(self) -> None:
        """Refuse what no attack can have, and a budget that none would take."""
        if min(self.steps, self.restarts, self.queries) < 1:
            raise ValueError("--steps, --restarts and --queries must be 1 or more.")
        sizes = (self.epsilon, self.step_size or 0.0)
        if not all(0 <= size < inf for size in sizes):
            raise ValueError("--epsilon and --step-size must be numbers from 0 on.")
        own = [field for field in fields(self) if field.name in OF_ONE]
        given = [field.name for field in own if vars(self)[field.name] != field.default]
        if given and not self.attack:
            raise ValueError(
                f"--{given[0].replace('_', '-')} is of one attack; name it with --attack, or leave "
                "the option out for the run's own budget."
            )
        if self.attack and self.full:
            raise ValueError("--full is the budget of all attacks; leave out --attack or --full.")

    def _plan(self, model: Any, split: Any, config: Config, others: set[str]) -> Plan:
        from hw.plan import Plan, Step
        from quanos.training.estimate import Cost, costs, pass_rates
        from quanos.training.planning import ATTACK_BASIS

        pass_s, forward_s = pass_rates(model, split, config)
        if self.attack:
            chosen, _ = self._chosen(config)
            count = getattr(chosen, "steps", 0) * getattr(chosen, "restarts", 1)
            name = f"{self.attack} at epsilon {self.epsilon:.4f}"
            wanted = [Cost(name, count, getattr(chosen, "queries", 1))]
        else:
            wanted = list(costs(config, frozenset({"16", "seed"} - others)))
        steps = [
            Step(
                name=one.name,
                work=f"{len(split)} images, {one.both + one.forward} passes each",
                seconds=one.seconds(len(split), pass_s, forward_s),
            )
            for one in wanted
        ]
        writes = [str(self.out) if self.out else "nothing; the result is printed"]
        return Plan(steps=steps, writes=writes, basis=ATTACK_BASIS)

    def _single(
        self, model: Any, split: Any, config: Config, others: dict[str, Any]
    ) -> dict[str, Any]:
        from quanos.accuracy import accuracy, share, under_attack
        from quanos.adversary.twins import absent

        chosen, twin = self._chosen(config)
        if twin and (reason := absent(twin, model, others)):
            raise ValueError(
                f"attack {self.attack} cannot be made: {reason}; see --twin and --other-seed."
            )
        clean = accuracy(model, split)
        source = others.get(twin or "")
        right = under_attack(model, split, chosen, seed=config.seed, source=source, twin=twin)
        row = {"attack": chosen.name, "epsilon": self.epsilon, "accuracy": share(right)}
        row["adversarial_loss"] = clean - share(right)
        return {"images": len(split), "clean_accuracy": clean, "rows": [row]}

    def _chosen(self, config: Config) -> tuple[Any, str | None]:
        """The attack with the budget of the command line, and the twin that it is made on."""
        from quanos.adversary.protocols import STRONG, in_space, strong_attack
        from quanos.attacks import pgd

        name = str(self.attack)
        if name == "pgd":
            budget = {"steps": self.steps, "restarts": self.restarts}
            plain = pgd(self.epsilon, step_size=self.step_size, **budget)  # type: ignore[arg-type]
            return in_space(plain, config), None
        budget = {
            "strong_steps": self.steps,
            "strong_restarts": self.restarts,
            "apgd_steps": self.steps,
            "apgd_targets": self.restarts,
            "square_queries": self.queries,
        }
        twin = next(member.twin for member in STRONG if member.name == name)
        return strong_attack(name, self.epsilon, replace(config, **budget)), twin  # type: ignore[arg-type]


def beside(network: Path) -> Path | None:
    """The 16-bit network that was trained beside the one in a run folder; None where none was."""
    from quanos.storage.checkpoint import NAME

    for folder in (network / "16", network.parent / "16"):
        if (folder / NAME).exists() and (network / NAME).exists() and network.name != "16":
            return folder
    return None


def _protocols(
    model: Any,
    split: Any,
    config: Config,
    classes: int,
    others: dict[str, Any],
    part: Path | None,
) -> dict[str, Any]:
    from quanos.adversary.ledger import Ledger, fingerprint
    from quanos.console.progress import Progress
    from quanos.robustness import count_attacks, evaluate

    networks = [model, others.get("16"), others.get("seed")]
    with Progress("attacks", count_attacks(config)) as progress:
        ledger = Ledger(
            part,
            fingerprint(networks, config, split.codes),
            lambda name, share, seconds: progress.line(
                f"{name}: {100 * share:.2f} % of those tried withstand, {seconds:.1f} s"
            ),
        )
        try:
            result = evaluate(
                model,
                split,
                config,
                classes=classes,
                twin=others.get("16"),
                other_seed=others.get("seed"),
                advance=progress.advance,
                ledger=ledger,
            )
        except KeyboardInterrupt:
            kept = "the same command goes on" if part else "--out FILE would keep what is made"
            raise KeyboardInterrupt(f"stopped; {kept}") from None
    return asdict(result)

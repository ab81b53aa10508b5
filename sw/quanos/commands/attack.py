"""`quanos attack`: how a trained network stands up to attacks, and whether to believe it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from quanos.cli import print_json

if TYPE_CHECKING:
    from quanos.config import Config


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Attack a trained network on test images: by both protocols, or by one attack.

    Without --attack the paper's protocol and the strong one are run, and the gate says whether
    gradients are masked. Example: quanos attack runs/digits --attack pgd --epsilon 0.1 --steps 50
    """

    network: tyro.conf.Positional[Path]
    """Run folder or checkpoint."""
    attack: Literal["fgsm", "pgd"] | None = None
    """One attack alone."""
    epsilon: float = 8 / 255
    """Its radius, pixels in [0, 1]."""
    steps: int = 20
    """Steps of PGD."""
    step_size: float | None = None
    """Size of a step of PGD; without it 2.5 epsilon / steps."""
    restarts: int = 1
    """Random starts of PGD; 1 starts at the image."""
    images: int | None = None
    """Test images; without it as many as in the run, 0 is all."""
    seed: int | None = None
    """Seed of random starts; without it the run's."""
    twin: Path | None = None
    """Another run folder or checkpoint of the same task, for transfer attacks."""
    data_dir: Path | None = None
    """Folder of the data set's files; without it the run's."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Attack and print."""
        from quanos.checkpoint import load_network
        from quanos.config import override
        from quanos.data import load_dataset

        model, meta = load_network(self.network)
        given = {"attack_images": self.images, "seed": self.seed}
        given["data_dir"] = str(self.data_dir) if self.data_dir else None  # type: ignore[assignment]
        keys = meta["config"] | {name: value for name, value in given.items() if value is not None}
        config = override(keys, "command line")
        data = load_dataset(config.dataset, config.data_path)
        split = data.test.first(config.attack_images)
        twin = load_network(self.twin)[0] if self.twin else None
        if self.attack:
            result = self._single(model, split, config)
        else:
            result = _protocols(model, split, config, data.classes, twin)
        print_json(result) if self.json else _print(result)

    def _single(self, model: Any, split: Any, config: Config) -> dict[str, Any]:
        from quanos.attacks import fgsm, pgd
        from quanos.robustness import accuracy, share, under_attack

        chosen = fgsm(self.epsilon)
        if self.attack == "pgd":
            chosen = pgd(
                self.epsilon, steps=self.steps, step_size=self.step_size, restarts=self.restarts
            )
        clean = accuracy(model, split)
        value = share(under_attack(model, split, chosen, seed=config.seed))
        row = {"attack": chosen.name, "epsilon": self.epsilon, "accuracy": value}
        row["adversarial_loss"] = clean - value
        return {"images": len(split), "clean_accuracy": clean, "rows": [row]}


def _protocols(model: Any, split: Any, config: Config, classes: int, twin: Any) -> dict[str, Any]:
    from quanos.progress import Progress
    from quanos.robustness import count_attacks, evaluate

    with Progress("attacks", count_attacks(config)) as progress:
        return asdict(
            evaluate(model, split, config, classes=classes, twin=twin, advance=progress.advance)
        )


def _print(result: dict[str, Any]) -> None:
    print(f"clean accuracy {100 * result['clean_accuracy']:.2f} % on {result['images']} images")
    for part in ("rows", "paper", "strong"):
        for row in result.get(part, ()):
            label = "" if part == "rows" else part
            print(
                f"{label:7}{row['attack']:16} epsilon {row['epsilon']:.4f}: accuracy "
                f"{100 * row['accuracy']:6.2f} %, adversarial loss "
                f"{100 * row['adversarial_loss']:6.2f} points"
            )
    if "gate" in result:
        print(f"gate: {result['gate']['verdict']}")

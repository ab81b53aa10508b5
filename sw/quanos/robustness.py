"""Robustness, honestly: accuracy under two protocols and the gate that judges the attacks.

`paper` is the paper's protocol as printed: FGSM, and PGD with 7 steps of 2/255. `strong` counts an
image as robust only if none of the registry's attacks fools the network: white boxes first, then
adversarial images of the network's twins, then a black box, each on the images still standing.
Where the gate (`quanos.adversary.gate`) finds gradients masked, what looks like robustness is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from quanos.accuracy import accuracy, share, still_right, under_attack
from quanos.adversary import twins
from quanos.adversary.gate import gate
from quanos.adversary.ledger import Ledger
from quanos.adversary.protocols import count_attacks, in_space, members, paper_protocol
from quanos.adversary.subject import Subject
from quanos.config import Config
from quanos.data import Split
from quanos.results import PASSES, WORST_CASE

__all__ = ["Evaluation", "accuracy", "count_attacks", "evaluate", "share", "under_attack"]


@dataclass
class Evaluation:
    """What `evaluate` found; accuracies 0..1, epsilons in the configuration's space.

    `paper` holds {attack, epsilon, accuracy, adversarial_loss}, `strong` the same with `box` and
    `tried`, the number of images that the attack was tried on. Those of FGSM and PGD are all that
    are classified right, and `accuracy` is the attack's own; for the others it counts the images
    that withstood this attack and all before. `worst_case` is the protocol's result.
    """

    images: int
    clean_accuracy: float
    paper: list[dict[str, Any]] = field(default_factory=list)
    strong: list[dict[str, Any]] = field(default_factory=list)
    gate: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The gate's: `passes`, or `masked: reason`."""
        return str(self.gate["verdict"])

    @property
    def robust_accuracy(self) -> dict[float, float] | None:
        """Epsilon -> accuracy in the worst case, 0..1; None where gradients are masked."""
        if self.verdict != PASSES:
            return None
        worst = (row for row in self.strong if row["attack"] == WORST_CASE)
        return {row["epsilon"]: row["accuracy"] for row in worst}


def evaluate(
    model: nn.Module,
    split: Split,
    config: Config,
    *,
    classes: int,
    twin: nn.Module | None = None,
    other_seed: nn.Module | None = None,
    advance: Callable[[int, str], None] = lambda amount, info: None,
    ledger: Ledger | None = None,
) -> Evaluation:
    """Clean accuracy, both protocols and the gate's verdict for one network.

    `twin` is the 16-bit baseline and `other_seed` the same network from another seed, where there
    are such: transfer attacks are made on them. `advance(1, text)` is called
    `count_attacks(config)` times. What `ledger` tells of attacks made before is taken over.
    """
    clean = still_right(model, split, lambda images, labels: images, config.attack_batch)
    given = {"16": twin, "seed": other_seed}
    others = {name: network for name, network in given.items() if network is not None}
    subject = Subject(model, split, clean, config, others, ledger or Ledger())
    result = Evaluation(len(split), share(clean))
    for attack in paper_protocol(config):
        advance(1, f"{attack.name} at {attack.epsilon:.3f}")
        right = subject.withstood(f"paper's {attack.name} at {attack.epsilon:.6g}", attack)
        result.paper.append(_row(result, attack.name, attack.epsilon, right))
    standing = {
        epsilon: _worst_case(subject, epsilon, result, advance) for epsilon in config.pgd_epsilons
    }
    advance(1, "gate")
    result.gate = gate(subject, standing, result.strong, classes)
    if skipped := _absent(subject):
        result.gate["absent"] = skipped
    return result


def _row(result: Evaluation, attack: str, epsilon: float, right: Tensor) -> dict[str, Any]:
    value = share(right)
    loss = result.clean_accuracy - value
    return {"attack": attack, "epsilon": epsilon, "accuracy": value, "adversarial_loss": loss}


def _worst_case(
    subject: Subject, epsilon: float, result: Evaluation, advance: Callable[[int, str], None]
) -> Tensor:
    """Which images (N,) withstand every attack at `epsilon`; a row of `strong` for each."""
    config, standing = subject.config, subject.clean.clone()
    for member in members(config):
        advance(1, f"{member.name} at {epsilon:.3f}")
        if member.twin and twins.absent(member.twin, subject.model, subject.others):
            continue
        tried = subject.clean if member.everywhere else standing
        withstood = tried.clone()
        attack = in_space(member.make(epsilon, config), config)
        name = f"{member.name} at {epsilon:.6g}"
        right = subject.withstood(name, attack, tried, twin=member.twin)
        withstood[tried] = right.to(subject.split.device)
        more = {"box": member.box, "tried": int(tried.sum())}
        result.strong.append(_row(result, member.name, epsilon, withstood) | more)
        standing = standing & withstood
    advance(1, f"worst case at {epsilon:.3f}")
    result.strong.append(_row(result, WORST_CASE, epsilon, standing))
    return standing


def _absent(subject: Subject) -> dict[str, str]:
    """Transfer attacks that were not made, and why."""
    reasons = {
        member.name: twins.absent(member.twin, subject.model, subject.others)
        for member in members(subject.config)
        if member.twin
    }
    return {name: reason for name, reason in reasons.items() if reason}

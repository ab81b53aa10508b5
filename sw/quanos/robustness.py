"""Robustness, honestly: accuracy under two protocols and the gate that judges the attacks.

`paper` is the paper's protocol as printed: FGSM, and PGD with 7 steps of 2/255. `strong` counts an
image as robust only if no attack of a stronger set fools the network: PGD of more steps with
restarts, the same with the identity in place of the quantizers' clipping, and adversarial images
made on the network's float twin and on another network. The gate holds the list of Carlini et al.
(2019) against the attacks: where they misbehave, gradients are masked, and what looks like
robustness is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from quanos.attacks import (
    Attack,
    evaluating,
    fgsm,
    input_gradient,
    perturb,
    pgd,
    predict,
    random_noise,
)
from quanos.config import Config
from quanos.data import Split
from quanos.quantizer import unquantized

BATCH = 256
TOLERANCE = 0.01  # of all images: what a stronger attack may fall short by chance
ZERO_GRADIENTS = 0.1  # of all images: beyond it the white-box attacks are blind
GATE_EPSILON = 0.5


def accuracy(model: nn.Module, split: Split) -> float:
    """Clean accuracy, 0..1, in evaluation mode."""
    return share(_right(model, split, lambda images, labels: images))


def share(right: Tensor) -> float:
    """The share of true values, 0..1, to the last digit of a double."""
    return int(right.sum()) / len(right)


def _right(model: nn.Module, split: Split, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Which images (N,) are still classified right after `change(images, labels)`."""
    rows = [predict(model, change(x, y)) == y for x, y in split.batches(BATCH)]
    return torch.cat(rows)


def under_attack(
    model: nn.Module,
    split: Split,
    attack: Attack,
    *,
    seed: int = 0,
    source: nn.Module | None = None,
) -> Tensor:
    """Which images (N,) withstand `attack`, made on `source` (default: the network itself)."""
    generator = torch.Generator().manual_seed(seed)
    return _right(model, split, lambda x, y: perturb(source or model, x, y, attack, generator))


@dataclass
class Evaluation:
    """What `evaluate` found; accuracies 0..1, epsilons in pixel space.

    `paper` and `strong` hold {attack, epsilon, accuracy, adversarial_loss}; the attack
    `worst_case` of `strong` is the protocol's result, the others are its parts.
    """

    images: int
    clean_accuracy: float
    paper: list[dict[str, Any]] = field(default_factory=list)
    strong: list[dict[str, Any]] = field(default_factory=list)
    gate: dict[str, Any] = field(default_factory=dict)


def paper_protocol(config: Config) -> Iterator[Attack]:
    """FGSM and PGD as printed; PGD's steps together may not reach its epsilon."""
    yield from (fgsm(epsilon) for epsilon in config.fgsm_epsilons)
    for epsilon in config.pgd_epsilons:
        yield pgd(epsilon, steps=config.pgd_steps, step_size=2 / 255)


def evaluate(
    model: nn.Module,
    split: Split,
    config: Config,
    *,
    classes: int,
    twin: nn.Module | None = None,
    advance: Callable[[int, str], None] = lambda amount, info: None,
) -> Evaluation:
    """Clean accuracy, both protocols and the gate's verdict for one network.

    `twin` is another network of the same task that transfer attacks are made on (here the 16-bit
    baseline). `advance(1, text)` is called after each of `count_attacks(config)` attacks.
    """
    clean = _right(model, split, lambda images, labels: images)
    result = Evaluation(len(split), share(clean))

    def row(attack: str, epsilon: float, right: Tensor) -> dict[str, Any]:
        value = share(right)
        advance(1, f"{attack} at {epsilon:.3f}")
        loss = result.clean_accuracy - value
        return {"attack": attack, "epsilon": epsilon, "accuracy": value, "adversarial_loss": loss}

    for attack in paper_protocol(config):
        right = under_attack(model, split, attack, seed=config.seed)
        result.paper.append(row(attack.name, attack.epsilon, right))
    for epsilon in config.pgd_epsilons:
        worst = clean
        for name, right in _strong_attacks(model, split, epsilon, config, twin):
            result.strong.append(row(name, epsilon, right))
            worst = worst & right
        result.strong.append(row("worst_case", epsilon, worst))
    result.gate = gate(model, split, result, config, classes)
    return result


def count_attacks(config: Config) -> int:
    """How often `evaluate` calls `advance` where it has a twin."""
    return len(config.fgsm_epsilons) + 6 * len(config.pgd_epsilons)


def _strong_attacks(
    model: nn.Module, split: Split, epsilon: float, config: Config, twin: nn.Module | None
) -> Iterator[tuple[str, Tensor]]:
    plain = {"steps": config.strong_steps, "restarts": config.strong_restarts}
    seed = config.seed
    strong = pgd(epsilon, **plain, random_start=True)  # type: ignore[arg-type]
    yield "pgd", under_attack(model, split, strong, seed=seed)
    identity = pgd(epsilon, **plain, random_start=True, identity=True)  # type: ignore[arg-type]
    yield "pgd_identity", under_attack(model, split, identity, seed=seed)
    once = pgd(epsilon, steps=config.strong_steps, random_start=True)
    yield "transfer_float", _from_float_twin(model, split, once, seed)
    if twin is not None and twin is not model:
        yield "transfer_16", under_attack(model, split, once, seed=seed, source=twin)


def _from_float_twin(model: nn.Module, split: Split, attack: Attack, seed: int) -> Tensor:
    """Which images withstand adversarial images made on the same weights without quantizers."""
    generator = torch.Generator().manual_seed(seed)

    def change(images: Tensor, labels: Tensor) -> Tensor:
        with unquantized(model):
            return perturb(model, images, labels, attack, generator)

    return _right(model, split, change)


def zero_gradient_share(model: nn.Module, split: Split) -> float:
    """Share of images whose loss has a gradient of exactly zero in every pixel."""
    with evaluating(model):
        rows = [
            (input_gradient(model, x, y) == 0).flatten(1).all(1) for x, y in split.batches(BATCH)
        ]
    return share(torch.cat(rows))


def gate(
    model: nn.Module, split: Split, result: Evaluation, config: Config, classes: int
) -> dict[str, Any]:
    """Verdict `passes` or `masked: reason; reason`, with the numbers it stands on.

    The attacks judged are those of `result.strong`; FGSM, noise, and PGD at epsilon 0.5 are run
    beside them.
    """
    epsilons = sorted(config.pgd_epsilons)
    worst = [_accuracy(result, "worst_case", epsilon) for epsilon in epsilons]
    numbers: dict[str, Any] = {"zero_gradient_share": zero_gradient_share(model, split)}
    wide = pgd(GATE_EPSILON, steps=config.strong_steps, random_start=True)
    numbers["accuracy_at_0.5"] = share(under_attack(model, split, wide, seed=config.seed))
    if epsilons:
        numbers |= _comparison(model, split, result, config, epsilons)
    reasons = list(_reasons(numbers, worst, result, epsilons, classes))
    verdict = "masked: " + "; ".join(reasons) if reasons else "passes"
    return {"verdict": verdict, **numbers}


def _comparison(
    model: nn.Module, split: Split, result: Evaluation, config: Config, epsilons: list[float]
) -> dict[str, Any]:
    """FGSM and noise at every epsilon of PGD; `rows` are ordered by epsilon."""
    rows = []
    for epsilon in epsilons:
        single = under_attack(model, split, fgsm(epsilon))
        generator = torch.Generator().manual_seed(config.seed)
        noisy = _right(model, split, lambda x, _, e=epsilon, g=generator: random_noise(x, e, g))  # type: ignore[misc]
        rows.append(
            {
                "epsilon": epsilon,
                "fgsm_accuracy": share(single),
                "noise_accuracy": share(noisy),
                "pgd_accuracy": _accuracy(result, "pgd", epsilon),
            }
        )
    return {"rows": rows}


def _reasons(
    numbers: dict[str, Any],
    worst: list[float],
    result: Evaluation,
    epsilons: list[float],
    classes: int,
) -> Iterator[str]:
    if numbers["zero_gradient_share"] > ZERO_GRADIENTS:
        yield f"{100 * numbers['zero_gradient_share']:.1f} % of the gradients are zero"
    if numbers["accuracy_at_0.5"] > 1 / classes + TOLERANCE:
        yield f"accuracy at epsilon 0.5 is {100 * numbers['accuracy_at_0.5']:.1f} %, above chance"
    if any(b > a + TOLERANCE for a, b in pairwise(worst)):
        yield "success does not rise with epsilon"
    for row in numbers.get("rows", ()):
        at = f"at epsilon {row['epsilon']:.4f}"
        if row["pgd_accuracy"] > row["fgsm_accuracy"] + TOLERANCE:
            yield f"FGSM beats PGD {at}"
        fall = result.clean_accuracy - row["pgd_accuracy"]
        if result.clean_accuracy - row["noise_accuracy"] > max(fall / 2, TOLERANCE):
            yield f"noise does more than half of what PGD does {at}"
    for epsilon in epsilons:
        white = min(_accuracy(result, "pgd", epsilon), _accuracy(result, "pgd_identity", epsilon))
        for row in result.strong:
            transfer = row["attack"].startswith("transfer") and row["epsilon"] == epsilon
            if transfer and row["accuracy"] < white - TOLERANCE:
                yield f"{row['attack']} beats the white box at epsilon {epsilon:.4f}"


def _accuracy(result: Evaluation, attack: str, epsilon: float) -> float:
    """Accuracy under an attack of the strong protocol."""
    return float(
        next(
            row["accuracy"]
            for row in result.strong
            if (row["attack"], row["epsilon"]) == (attack, epsilon)
        )
    )

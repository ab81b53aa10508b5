"""The gate: do the attacks behave as attacks on honest gradients do?

The list of Carlini et al. (2019), as numbers with tolerances. Where one is broken, gradients are
masked or the attacks too weak; either way accuracy under attack is no robustness.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from quanos.accuracy import share, still_right
from quanos.adversary.protocols import in_space
from quanos.adversary.subject import Subject
from quanos.attacks import evaluating, input_gradient, perturb, pgd, predict
from quanos.data import Split
from quanos.results import PASSES

TOLERANCE = 0.01  # of all images: what a stronger attack may fall short by chance
BLACK_BOX = 0.002  # of all images: AutoAttack's alarm, for what no white box found
BLACK_BOX_IMAGES = 3  # that share of a few hundred images would be less than one
ZERO_GRADIENTS = 0.1  # of all images: beyond it the white-box attacks are blind
GATE_EPSILON = 0.5
LONGER_TOLERANCE = 0.02  # of all images: what such a longer attack may still find
LONGER = 3  # times the steps, and times the restarts, of the attack that should find no more


def gate(
    subject: Subject, standing: dict[float, Tensor], strong: list[dict[str, Any]], classes: int
) -> dict[str, Any]:
    """Verdict `passes` or `masked: reason; reason`, with the numbers it stands on.

    `standing` says which images (N,) withstand the worst case at each epsilon, `strong` are the
    rows of the strong protocol. `quanos.training.experiment` has the keys.
    """
    model, split, clean = subject.model, subject.split, subject.clean
    numbers: dict[str, Any] = {
        "zero_gradient_share": zero_gradient_share(model, split, subject.config.attack_batch),
        "accuracy_at_0.5": _at_half(subject),
        "repeats": repeats(model, split),
        "rows": [_at(subject, epsilon, standing[epsilon], strong) for epsilon in sorted(standing)],
    }
    if standing:
        numbers["longer"] = _longer(subject, standing)
    reasons = list(reasons_of(numbers, share(clean), len(clean), classes))
    verdict = "masked: " + "; ".join(reasons) if reasons else PASSES
    return {"verdict": verdict, **numbers}


def zero_gradient_share(model: nn.Module, split: Split, batch: int = 256) -> float:
    """Share of images whose loss has a gradient of exactly zero in every pixel."""
    with evaluating(model):
        rows = [
            (input_gradient(model, x, y) == 0).flatten(1).all(1) for x, y in split.batches(batch)
        ]
    return share(torch.cat(rows))


def repeats(model: nn.Module, split: Split) -> bool:
    """Whether the network gives the same logits for the same images twice."""
    images = split.images(slice(0, 64))
    with torch.no_grad(), evaluating(model):
        return bool(torch.allclose(model(images), model(images), rtol=1e-4, atol=1e-5))


def _at_half(subject: Subject) -> float:
    """Accuracy under PGD with an epsilon that could make every image grey."""
    steps = subject.config.strong_steps
    attack = pgd(GATE_EPSILON, steps=steps, random_start=True, early_stop=True)
    right = subject.withstood("gate's PGD at 0.5", attack, subject.clean)
    return _share_of(subject.split, right)


def _share_of(split: Split, right: Tensor) -> float:
    """Those that are right as a share of all images."""
    return int(right.sum()) / max(len(split), 1)


def _at(
    subject: Subject, epsilon: float, standing: Tensor, strong: list[dict[str, Any]]
) -> dict[str, Any]:
    """What must be ordered at one epsilon: accuracy under noise, FGSM, PGD, white boxes, all."""
    rows = [row for row in strong if row["epsilon"] == epsilon and "box" in row]
    own = {row["attack"]: row["accuracy"] for row in rows}
    white = [row["accuracy"] for row in rows if row["box"] == "white"][-1]
    beyond = {row["attack"]: row["accuracy"] for row in rows if row["box"] != "white"}
    return {
        "epsilon": epsilon,
        "fgsm_accuracy": own["fgsm"],
        "pgd_accuracy": own["pgd"],
        "noise_accuracy": _noise(subject, epsilon),
        "white_box_accuracy": white,
        "worst_accuracy": share(standing),
        "beyond_white_box": _falls(white, beyond),
        "survives_rounding": _survival(subject, epsilon),
    }


def _falls(start: float, accuracies: dict[str, float]) -> dict[str, float]:
    """How much each attack in turn took from accuracy; only those that took anything."""
    after = list(accuracies.values())
    falls = {n: a - b for n, (a, b) in zip(accuracies, pairwise([start, *after]), strict=True)}
    return {name: fall for name, fall in falls.items() if fall > 0}


def _noise(subject: Subject, epsilon: float) -> float:
    """Accuracy under uniform noise of the same size as the attack."""
    model, config = subject.model, subject.config
    generator = torch.Generator().manual_seed(config.seed)
    still = in_space(pgd(epsilon, steps=1, step_size=0, random_start=True), config)
    return share(
        still_right(
            model,
            subject.split,
            lambda x, y: perturb(model, x, y, still, generator),
            config.attack_batch,
        )
    )


def _survival(subject: Subject, epsilon: float) -> float:
    """Share of PGD's adversarial images that still fool when rounded to 8 bits; 1 of none."""
    model, split, config = subject.model, subject.split, subject.config
    attack = in_space(pgd(epsilon, steps=config.strong_steps), config)
    fooled = survived = 0
    for images, labels in split.first(config.attack_batch).batches(config.attack_batch):
        adversarial = perturb(model, images, labels, attack)
        wrong = predict(model, adversarial) != labels
        rounded = predict(model, (adversarial * 255).round() / 255) != labels
        fooled, survived = fooled + int(wrong.sum()), survived + int((wrong & rounded).sum())
    return survived / fooled if fooled else 1.0


def _longer(subject: Subject, standing: dict[float, Tensor]) -> dict[str, Any]:
    """PGD with more steps and restarts on what withstood all, where about half did."""
    config = subject.config
    half = float(subject.clean.sum()) / 2
    epsilon = min(standing, key=lambda e: abs(float(standing[e].sum()) - half))
    more = {
        "steps": LONGER * config.strong_steps,
        "restarts": LONGER * config.strong_restarts,
    }
    attack = in_space(
        pgd(epsilon, random_start=True, early_stop=True, **more),  # type: ignore[arg-type]
        config,
    )
    name = f"gate's longer PGD at {epsilon:.6g}"
    right = subject.withstood(name, attack, standing[epsilon], reseed=1)
    after = _share_of(subject.split, right)
    return {"epsilon": epsilon, **more, "before": share(standing[epsilon]), "after": after}


def reasons_of(numbers: dict[str, Any], clean: float, images: int, classes: int) -> Iterator[str]:
    """Every sign of masking in the gate's numbers, in words."""
    if not numbers["repeats"]:
        yield "the network answers the same images differently, so single gradients say little"
    if numbers["zero_gradient_share"] > ZERO_GRADIENTS:
        yield f"{100 * numbers['zero_gradient_share']:.1f} % of the gradients are zero"
    if numbers["accuracy_at_0.5"] > 1 / classes + TOLERANCE:
        yield f"accuracy at epsilon 0.5 is {100 * numbers['accuracy_at_0.5']:.1f} %, above chance"
    rows = numbers["rows"]
    for name in ("pgd_accuracy", "worst_accuracy"):
        if any(b[name] > a[name] + TOLERANCE for a, b in pairwise(rows)):
            yield f"success of {name.removesuffix('_accuracy')} does not rise with epsilon"
    for row in rows:
        yield from (
            f"{reason} at epsilon {row['epsilon']:.4f}" for reason in _broken(row, clean, images)
        )
    longer = numbers.get("longer")
    if longer and longer["before"] - longer["after"] > LONGER_TOLERANCE:
        fall = 100 * (longer["before"] - longer["after"])
        yield (
            f"{LONGER} times the steps and restarts still take {fall:.1f} points at epsilon "
            f"{longer['epsilon']:.4f}"
        )


def _broken(row: dict[str, Any], clean: float, images: int) -> Iterator[str]:
    """What is out of order at one epsilon."""
    if row["pgd_accuracy"] > row["fgsm_accuracy"] + TOLERANCE:
        yield "FGSM beats PGD"
    fall = clean - row["worst_accuracy"]
    if clean - row["noise_accuracy"] > max(fall / 2, TOLERANCE):
        yield "noise does more than half of what the attacks do"
    beyond = sum(row["beyond_white_box"].values())
    if beyond > max(BLACK_BOX, BLACK_BOX_IMAGES / max(images, 1)) + 1e-9:
        names = ", ".join(row["beyond_white_box"])
        yield f"{names} take {100 * beyond:.1f} points beyond the white box"

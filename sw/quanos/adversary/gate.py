"""The gate: do the attacks behave as attacks on honest gradients do?

The list of Carlini et al. (2019), as numbers with tolerances. Where one is broken, gradients are
masked or the attacks too weak; either way accuracy under attack is no robustness.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from quanos.accuracy import share, still_right, subset, under_attack
from quanos.adversary.ledger import Ledger
from quanos.adversary.protocols import in_space
from quanos.attacks import evaluating, input_gradient, perturb, pgd, predict
from quanos.config import Config
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
    model: nn.Module,
    split: Split,
    clean: Tensor,
    standing: dict[float, Tensor],
    strong: list[dict[str, Any]],
    config: Config,
    classes: int,
    ledger: Ledger,
) -> dict[str, Any]:
    """Verdict `passes` or `masked: reason; reason`, with the numbers it stands on.

    `clean` (N,) says which images are classified right, `standing` which withstand the worst case
    at each epsilon, `strong` are the rows of the strong protocol, `ledger` what was made before.
    `quanos.training.experiment` has the keys.
    """
    numbers: dict[str, Any] = {
        "zero_gradient_share": zero_gradient_share(model, split, config.attack_batch),
        "accuracy_at_0.5": _at_half(model, split, clean, config, ledger),
        "repeats": repeats(model, split),
        "rows": [
            _at(model, split, epsilon, standing[epsilon], strong, config)
            for epsilon in sorted(standing)
        ],
    }
    if standing:
        numbers["longer"] = _longer(model, split, clean, standing, config, ledger)
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


def _at_half(
    model: nn.Module, split: Split, clean: Tensor, config: Config, ledger: Ledger
) -> float:
    """Accuracy under PGD with an epsilon that could make every image grey."""
    attack = pgd(GATE_EPSILON, steps=config.strong_steps, random_start=True, early_stop=True)
    some, batch = subset(split, clean), config.attack_batch
    make = partial(under_attack, model, some, attack, seed=config.seed, batch=batch)
    return _share_of(split, ledger.once("gate's PGD at 0.5", make))


def _share_of(split: Split, right: Tensor) -> float:
    """Those that are right as a share of all images."""
    return int(right.sum()) / max(len(split), 1)


def _at(
    model: nn.Module,
    split: Split,
    epsilon: float,
    standing: Tensor,
    strong: list[dict[str, Any]],
    config: Config,
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
        "noise_accuracy": _noise(model, split, epsilon, config),
        "white_box_accuracy": white,
        "worst_accuracy": share(standing),
        "beyond_white_box": _falls(white, beyond),
        "survives_rounding": _survival(model, split, epsilon, config),
    }


def _falls(start: float, accuracies: dict[str, float]) -> dict[str, float]:
    """How much each attack in turn took from accuracy; only those that took anything."""
    after = list(accuracies.values())
    falls = {n: a - b for n, (a, b) in zip(accuracies, pairwise([start, *after]), strict=True)}
    return {name: fall for name, fall in falls.items() if fall > 0}


def _noise(model: nn.Module, split: Split, epsilon: float, config: Config) -> float:
    """Accuracy under uniform noise of the same size as the attack."""
    generator = torch.Generator().manual_seed(config.seed)
    still = in_space(pgd(epsilon, steps=1, step_size=0, random_start=True), config)
    return share(
        still_right(
            model,
            split,
            lambda x, y: perturb(model, x, y, still, generator),
            config.attack_batch,
        )
    )


def _survival(model: nn.Module, split: Split, epsilon: float, config: Config) -> float:
    """Share of PGD's adversarial images that still fool when rounded to 8 bits; 1 of none."""
    attack = in_space(pgd(epsilon, steps=config.strong_steps), config)
    fooled = survived = 0
    for images, labels in split.first(config.attack_batch).batches(config.attack_batch):
        adversarial = perturb(model, images, labels, attack)
        wrong = predict(model, adversarial) != labels
        rounded = predict(model, (adversarial * 255).round() / 255) != labels
        fooled, survived = fooled + int(wrong.sum()), survived + int((wrong & rounded).sum())
    return survived / fooled if fooled else 1.0


def _longer(
    model: nn.Module,
    split: Split,
    clean: Tensor,
    standing: dict[float, Tensor],
    config: Config,
    ledger: Ledger,
) -> dict[str, Any]:
    """PGD with more steps and restarts on what withstood all, where about half did."""
    half = float(clean.sum()) / 2
    epsilon = min(standing, key=lambda e: abs(float(standing[e].sum()) - half))
    more = {
        "steps": LONGER * config.strong_steps,
        "restarts": LONGER * config.strong_restarts,
    }
    attack = in_space(
        pgd(epsilon, random_start=True, early_stop=True, **more),  # type: ignore[arg-type]
        config,
    )
    some, batch = subset(split, standing[epsilon]), config.attack_batch
    make = partial(under_attack, model, some, attack, seed=config.seed + 1, batch=batch)
    after = _share_of(split, ledger.once(f"gate's longer PGD at {epsilon:.6g}", make))
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

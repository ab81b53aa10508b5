"""Adversarial training, and the watch against catastrophic overfitting.

Training on one-step adversarial images may suddenly learn to fool the step alone: accuracy under
FGSM stays high while that under PGD falls to nothing (Wong et al. 2020). N-FGSM (de Jorge et al.
2022) starts the step from stronger noise and does not clip back into the ball, which mostly
prevents it. PGD-10 on held-out images after every epoch shows it where it happens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from quanos.attacks import Attack, fgsm, n_fgsm, perturb, pgd
from quanos.config import Config
from quanos.data import Split
from quanos.robustness import share, under_attack

KINDS = ("none", "fgsm", "fgsm-rs", "n-fgsm", "pgd")
"""Without, plain FGSM, FGSM from a random start, N-FGSM, and PGD from a random start."""

COLLAPSE = 0.5
"""Accuracy under PGD below this share of its best counts as catastrophic overfitting."""


def hardened(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    kind: str,
    config: Config,
    generator: torch.Generator,
) -> Tensor:
    """The images to train on, (B, C, H, W): adversarial ones, or as they are for kind `none`."""
    epsilon = config.adversarial_epsilon
    if kind == "none":
        return images
    attack = replace(_attack(kind, epsilon, config), eps_space=config.eps_space)
    return perturb(model, images, labels, attack, generator)


def _attack(kind: str, epsilon: float, config: Config) -> Attack:
    if kind == "pgd":
        return pgd(epsilon, steps=config.adversarial_steps, random_start=True)
    if kind == "n-fgsm":
        return n_fgsm(epsilon)
    return fgsm(epsilon, random_start=kind == "fgsm-rs")


def watch(model: nn.Module, held_out: Split, config: Config) -> float:
    """Accuracy (0..1) under PGD-10 at the epsilon of training, on the first held-out images."""
    attack = pgd(config.adversarial_epsilon, steps=10, random_start=True)
    images = held_out.first(config.watch_images)
    attack = replace(attack, eps_space=config.eps_space)
    return share(under_attack(model, images, attack, seed=config.seed))


def collapsed(accuracy: float, best: float, classes: int) -> bool:
    """Whether accuracy under PGD fell so far under its best that it is no noise of training."""
    return best > 2 / classes and accuracy < COLLAPSE * best


def remedy(kind: str) -> str | None:
    """What to train on after a collapse; None where nothing stronger is left."""
    ladder = KINDS[KINDS.index("n-fgsm") :]
    if kind not in ladder:
        return ladder[0]
    place = ladder.index(kind) + 1
    return ladder[place] if place < len(ladder) else None

"""Adversarial noise sensitivity (ANS): how far a small attack moves each layer's activations.

Eq. 2: ANS_l = ||a_adv^l - a^l||_2 / ||a^l||_2, where a^l is the output of layer l after
its activation function, over a sample of training images, and X_adv = X + 0.05 sign(grad_X L).

Of Algorithm 1 this is the step between training at k0 bits (`quanos.trainer`) and the new bits,
k_l = k0 - round(ANS_l k0) (Eq. 3, `quanos.policies`).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from quanos.attacks import Attack, evaluating, fgsm, perturb
from quanos.layers import quantized_layers
from quanos.sensing.watching import watching

EPSILON = 0.05
REDUCTIONS = ("sample", "images")


def adversarial_noise_sensitivity(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    attack: Attack | None = None,
    reduction: str = "sample",
) -> dict[str, float]:
    """ANS of every quantized layer, in forward order (Eq. 2).

    `batches` yields images (B, C, H, W) in [0, 1] with labels (B,). With reduction "sample" the
    norms run over all images together, with "images" the ratio is taken per image and averaged.
    Memory does not grow with the number of batches. The model stays as it is. Raises ValueError
    for an unknown reduction, no images, or a layer whose activations are all zero.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction!r} is unknown; there are {', '.join(REDUCTIONS)}.")
    attack = attack or fgsm(EPSILON)
    norm = _SampleNorm() if reduction == "sample" else _ImageNorm()
    for images, labels in batches:
        adversarial = perturb(model, images, labels, attack)  # X_adv
        clean = activations(model, images)  # a^l
        moved = activations(model, adversarial)  # a_adv^l
        for name, a in clean.items():
            norm.add(name, (moved[name] - a).flatten(1), a.flatten(1))
    names = list(quantized_layers(model))
    if missing := [name for name in names if name not in norm.totals]:
        raise ValueError(
            f"no activation was seen of {', '.join(missing)}; give at least one image."
        )
    return {name: norm.ratio(name) for name in names}


class _SampleNorm:
    """Sums of squares over all images, in float64 because thousands of batches may be added."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}

    def add(self, name: str, difference: Tensor, activation: Tensor) -> None:
        squares = torch.stack([_squares(difference).sum(), _squares(activation).sum()])
        self.totals[name] = self.totals.get(name, torch.zeros_like(squares)) + squares

    def ratio(self, name: str) -> float:
        difference, activation = self.totals[name].tolist()
        if activation == 0:
            raise ValueError(f"layer {name} is dead: all its activations are zero.")
        return float((difference / activation) ** 0.5)


class _ImageNorm(_SampleNorm):
    """The sum of every image's ratio and the number of images; dead images are left out."""

    def add(self, name: str, difference: Tensor, activation: Tensor) -> None:
        squares = _squares(activation)
        alive = squares > 0
        ratios = (_squares(difference)[alive] / squares[alive]).sqrt()
        count = torch.stack([ratios.sum(), alive.sum().double()])
        self.totals[name] = self.totals.get(name, torch.zeros_like(count)) + count

    def ratio(self, name: str) -> float:
        total, count = self.totals[name].tolist()
        if count == 0:
            raise ValueError(f"layer {name} is dead: all its activations are zero.")
        return float(total / count)


def _squares(rows: Tensor) -> Tensor:
    """Sum of squares of each row, float64; (B, n) -> (B,)."""
    return rows.double().square().sum(1)


def activations(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The output of every quantized layer after its activation function, in evaluation mode.

    `images` are (B, C, H, W); activations are (B, O, H', W'), or (B, features) of a Linear.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str, activation: Tensor) -> None:
        seen[name] = activation.detach()

    with torch.no_grad(), evaluating(model), watching(model, keep):
        model(images)
    return seen

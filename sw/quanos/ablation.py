"""Ablation of units under attack: how much of a layer the network can do without (Fig. 1(b)).

A unit is an output channel of a convolution, or an output of a fully connected layer. A share of
one layer's units is clamped to zero after the activation function, those that adversarial noise
moves most (in the sense of ANS, unit by unit) or some drawn by chance, and the accuracy under
attack is that of the clamped network, attacked as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quanos.ans import activations
from quanos.attacks import Attack, fgsm, perturb, predict
from quanos.layers import quantized_layers
from quanos.sensing.watching import watching

Batches = Sequence[tuple[Tensor, Tensor]]
ORDERS = ("sensitive", "random")
FRACTIONS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Accuracy under attack, a share of 1, with `fraction` of the layer's `units` clamped.

    The row of the whole network has layer "" and fraction 0.
    """

    layer: str
    order: str
    fraction: float
    units: int
    accuracy: float


def ablate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    attack: Attack | None = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> list[Ablation]:
    """Every layer, alone, with each fraction of its units clamped, by sensitivity and by chance.

    `batches` yields images (B, C, H, W) in [0, 1] with labels (B,); all are kept, because every
    setting attacks them anew. `attack` is FGSM with epsilon 0.05 where not given. The model stays
    as it is. Raises ValueError for no images or a fraction that is no share of 1.
    """
    if wrong := [fraction for fraction in fractions if not 0 <= fraction <= 1]:
        raise ValueError(f"a fraction of units must be from 0 to 1, not {wrong[0]:g}.")
    kept = list(batches)
    if not kept:
        raise ValueError("nothing can be attacked; give at least one image.")
    attack = attack or fgsm(0.05)
    whole = _accuracy(model, kept, attack, {})
    rows = [Ablation(layer="", order=ORDERS[0], fraction=0.0, units=0, accuracy=whole)]
    generator = torch.Generator().manual_seed(seed)
    for name, sensitivity in unit_sensitivity(model, kept, attack).items():
        ranks = (
            sensitivity.argsort(descending=True),
            torch.randperm(len(sensitivity), generator=generator),
        )
        for order, rank in zip(ORDERS, ranks, strict=True):
            for fraction in fractions:
                units = round(fraction * len(rank))
                mask = torch.ones(len(rank))
                mask[rank[:units]] = 0
                found = _accuracy(model, kept, attack, {name: mask})
                rows.append(
                    Ablation(
                        layer=name, order=order, fraction=fraction, units=units, accuracy=found
                    )
                )
    return rows


def unit_sensitivity(model: nn.Module, batches: Batches, attack: Attack) -> dict[str, Tensor]:
    """Eq. 2 for every unit of every layer, (units,) each; a unit that is dead has zero."""
    sums: dict[str, Tensor] = {}
    for images, labels in batches:
        clean = activations(model, images)
        moved = activations(model, perturb(model, images, labels, attack))
        for name, a in clean.items():
            squares = torch.stack([_by_unit(moved[name] - a), _by_unit(a)])
            sums[name] = sums.get(name, torch.zeros_like(squares)) + squares
    names = [name for name in quantized_layers(model) if name in sums]
    return {
        name: torch.where(sums[name][1] > 0, sums[name][0] / sums[name][1], 0.0).sqrt().cpu()
        for name in names
    }


def _by_unit(a: Tensor) -> Tensor:
    """Sums of squares of (B, C, ...) by unit, (C,), float64."""
    return a.double().square().transpose(0, 1).flatten(1).sum(1)


@contextmanager
def clamped(model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, activations of the layers named are multiplied by their masks of units, (C,)."""

    def clamp(name: str, activation: Tensor) -> Tensor | None:
        if name not in masks:
            return None
        mask = masks[name].to(activation)
        return activation * mask.reshape(-1, *(1,) * (activation.dim() - 2))

    with watching(model, clamp):
        yield


def _accuracy(
    model: nn.Module, batches: Batches, attack: Attack, masks: Mapping[str, Tensor]
) -> float:
    """Share of images that are still classified right under attack, the masks in place."""
    right = 0
    with clamped(model, masks):
        for images, labels in batches:
            adversarial = perturb(model, images, labels, attack)
            right += int((predict(model, adversarial) == labels).sum())
    return right / sum(len(labels) for _, labels in batches)

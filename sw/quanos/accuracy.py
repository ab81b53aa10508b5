"""Accuracy of a network: clean, and under one attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quanos.adversary import twins
from quanos.attacks import Attack, perturb, predict
from quanos.data import Split

BATCH = 256


def accuracy(model: nn.Module, split: Split) -> float:
    """Clean accuracy, 0..1, in evaluation mode."""
    return share(still_right(model, split, lambda images, labels: images))


def share(right: Tensor) -> float:
    """The share of true values (N,), 0..1, to the last digit of a double; 0 of none."""
    return int(right.sum()) / max(len(right), 1)


def still_right(
    model: nn.Module,
    split: Split,
    change: Callable[[Tensor, Tensor], Tensor],
    batch: int = BATCH,
) -> Tensor:
    """Which images (N,) are still classified right after `change(images, labels)`."""
    rows = [predict(model, change(x, y)) == y for x, y in split.batches(batch)]
    return torch.cat(rows) if rows else torch.zeros(0, dtype=torch.bool, device=split.device)


def under_attack(
    model: nn.Module,
    split: Split,
    attack: Attack,
    *,
    seed: int = 0,
    source: nn.Module | None = None,
    twin: str | None = None,
    batch: int = BATCH,
) -> Tensor:
    """Which images (N,) withstand `attack`, made on `source` (default: the network itself).

    `twin` names what the source is turned into meanwhile, see `quanos.adversary.twins`.
    """
    generator = torch.Generator().manual_seed(seed)
    source = source or model

    def change(images: Tensor, labels: Tensor) -> Tensor:
        with twins.turned_into(twin or "", source):
            return perturb(source, images, labels, attack, generator)

    return still_right(model, split, change, batch)


def subset(split: Split, mask: Tensor) -> Split:
    """The images where `mask` (N,) is true."""
    return Split(split.codes[mask], split.labels[mask], split.full_scale)

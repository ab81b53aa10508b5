"""Batches of training: their order, shifts and flips follow from seed, epoch and step alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from quanos.config import Config
from quanos.data import Split
from quanos.training.parallel import Group
from quanos.training.schedule import derive_seed


class Batch(NamedTuple):
    """A process's part of a batch of `total` images: images (b, C, H, W) and labels (b,).

    `generator` is for further draws, which are each process's own.
    """

    images: Tensor
    labels: Tensor
    total: int
    generator: torch.Generator


def steps_per_epoch(split: Split, config: Config) -> int:
    """Batches an epoch: all of nearly the same size, so that no small one upsets batch norm."""
    return max(1, round(len(split) / config.batch_size))


def training_batches(
    split: Split, config: Config, epoch: int, *, first: int = 0, group: Group | None = None
) -> Iterator[Batch]:
    """Shuffled, shifted and mirrored batches from step `first` on, the same for the same place."""
    group = group or Group()
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "order", epoch))
    order = torch.randperm(len(split), generator=generator).to(split.device)
    steps = steps_per_epoch(split, config)
    for step, index in enumerate(torch.tensor_split(order, steps)):
        if step < first:
            continue
        number = epoch * steps + step
        generator.manual_seed(derive_seed(config.seed, "batch", number))
        part = group.part(len(index))
        own = index[part]
        images = random_shift(split.images(own), config.shift, generator, len(index), part)
        if config.flip:
            images = random_flip(images, generator, len(index), part)
        seed = derive_seed(config.seed, f"process {group.rank}", number)
        torch.manual_seed(seed)  # for modules that draw, and so that any step can be resumed at
        yield Batch(images, split.labels[own], len(index), generator.manual_seed(seed))


def random_shift(
    images: Tensor,
    pixels: int,
    generator: torch.Generator,
    total: int | None = None,
    part: slice = slice(None),
) -> Tensor:
    """Each image (B, C, H, W) moved by up to `pixels` in either direction, zeros coming in.

    This is the usual crop out of an image padded with `pixels` zeros on every side. Where the
    images are a `part` of a batch of `total`, the draws are the whole batch's.
    """
    if pixels == 0:
        return images
    count, _, height, width = images.shape
    padded = functional.pad(images, [pixels] * 4)
    offsets = torch.randint(0, 2 * pixels + 1, (2, total or count, 1), generator=generator)
    offsets = offsets[:, part].to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)  # (B, H)
    columns = offsets[1] + torch.arange(width, device=images.device)  # (B, W)
    image = torch.arange(count, device=images.device)[:, None, None]
    # Advanced indices on both sides of the channel slice put the channels last.
    picked = padded[image, :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return picked.permute(0, 3, 1, 2).contiguous()


def random_flip(
    images: Tensor,
    generator: torch.Generator,
    total: int | None = None,
    part: slice = slice(None),
) -> Tensor:
    """Each image (B, C, H, W) mirrored left to right with probability one half.

    Where the images are a `part` of a batch of `total`, the draws are the whole batch's.
    """
    draws = torch.rand(total or len(images), 1, 1, 1, generator=generator)[part]
    return torch.where(draws.to(images.device) < 0.5, images.flip(-1), images)

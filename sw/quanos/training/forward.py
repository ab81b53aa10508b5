"""What a training step calls: the network distributed and compiled, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from quanos.adversary.hardening import hardened
from quanos.config import Config
from quanos.quantizer import ActivationQuantizer
from quanos.quantizers.switches import quantizers
from quanos.training import parallel
from quanos.training.batches import Batch
from quanos.training.parallel import Group
from quanos.training.state import State, wanted

Forward = Callable[[Tensor], Tensor]


def forward_of(model: nn.Module, config: Config, group: Group) -> Forward:
    """The network as a step calls it: distributed, and compiled where asked for."""
    place = next(model.parameters()).device
    shared = parallel.distribute(model, group)
    return compiled(shared) if wanted(config.compile, place) else shared


def compiled(model: nn.Module) -> Forward:
    """The network compiled, but for the first batch of all: it decides on signed codes.

    That decision waits for the device in every layer; compiled, it would cut the network into more
    pieces than torch is willing to compile, and most of them would run uncompiled for good. Every
    size of batch is compiled for itself, so let `batch_size` divide the training images.
    """
    fast = torch.compile(model, dynamic=False)
    ranges = [q for q in quantizers(model) if isinstance(q, ActivationQuantizer)]

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = (fast if all(q.ready for q in ranges) else model)(images)
        return logits

    return forward


def loss(state: State, forward: Forward, batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """Mean loss (scalar) and logits (B, classes) of a batch, adversarial where it is time to."""
    images, place = batch.images, batch.images.device
    late = state.epoch >= config.adversarial_epoch
    with torch.autocast(place.type, torch.bfloat16, wanted(config.bf16, place)):
        kind = state.adversarial if late else "none"
        images = hardened(state.model, images, batch.labels, kind, config, batch.generator)
        if wanted(config.channels_last, place):
            images = images.contiguous(memory_format=torch.channels_last)
        logits = forward(images).float()
    smoothing = config.label_smoothing
    return functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing), logits

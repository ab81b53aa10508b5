"""Activation density: the share of each layer's activations that are not zero.

AD_l of Vasquez et al., "Activation Density based Mixed-Precision Quantization for Energy Efficient
Neural Networks" (DATE 2021, arXiv 2101.04354). A layer of which few activations are alive is said
to need few bits.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from quanos.ans import activations
from quanos.sensing.measurement import Measurement


def activation_density(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Measurement:
    """The density of every quantized layer over all images, in forward order, each from 0 to 1.

    `batches` yields images (B, C, H, W) in [0, 1] with labels, which are not looked at. Activations
    are those that ANS looks at: after the activation function, in evaluation mode. Memory does not
    grow with the number of batches. Raises ValueError for no images.
    """
    counts: dict[str, Tensor] = {}
    for images, _ in batches:
        for name, a in activations(model, images).items():
            alive = torch.stack([(a != 0).sum(), torch.full((), a.numel(), device=a.device)])
            counts[name] = counts.get(name, torch.zeros_like(alive)) + alive
    if not counts:
        raise ValueError("no activation was seen; give at least one image.")
    pairs = {name: count.tolist() for name, count in counts.items()}
    return Measurement(
        kind="activation-density", layers={n: alive / whole for n, (alive, whole) in pairs.items()}
    )

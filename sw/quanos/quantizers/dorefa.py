"""DoReFa quantization (Zhou et al. 2016) on the grid of the hardware.

Weights are rounded as tanh(w), which gives the small ones more of the codes, and the gradient
passes through tanh. Three things differ from theirs: codes are the symmetric ones with a zero
(decision 0001), where theirs are odd multiples of half a step; the result is scaled back to the
size of w, where theirs stays in [-1, 1]; and the range is the best one for a normal variable, where
theirs is the largest magnitude, of which symmetric codes of 2 bits would make nine weights out of
ten zero (docs/quantization.md). Activations after a ReLU are clipped to [0, 1] as theirs;
inputs that can be negative, which they leave in float, take the uniform quantizer's running range.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quanos.quantizer import ActivationQuantizer, WeightQuantizer, largest, positive


class DorefaWeightQuantizer(WeightQuantizer):
    """Signed symmetric codes of tanh(w); with one bit the signs times the mean magnitude."""

    def shaped(self, x: Tensor) -> Tensor:
        top = largest(x.detach())
        return x.tanh() * (top / positive(top.tanh()))  # tanh rises, so that its largest is top's

    def step(self, x: Tensor) -> Tensor:
        return super().step(x if self.binary else self.shaped(x.float()))


class DorefaActivationQuantizer(ActivationQuantizer):
    """Unsigned codes of what is clipped to [0, 1]; signed codes as the uniform quantizer's."""

    def step(self, x: Tensor) -> Tensor:
        running = super().step(x)  # the first batch decides on signed codes
        return running if self.signed else torch.full_like(running, 1 / self.top)

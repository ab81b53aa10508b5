"""Learned step size quantization (LSQ; Esser et al., ICLR 2020).

With v = x / step, the step's gradient by every element is round(v) - v inside the range and the
nearest end of the range outside (their Eq. 3), times 1 / sqrt(N top), where N counts the weights,
or an image's activations (their Section 2.2).

What is learned is the range in units of the values' spread, `step = learned * unit(bits)`: when the
bits change, the step follows and learned value and momentum keep their meaning. One SGD step moves
the quantizer's step as theirs does, up to codes of 4 bits. The start is the uniform quantizer's
step, not their 2 mean|x| / sqrt(top), which at 16 bits reaches far beyond any value; but in a range
that fits, the values outside drive it by lr top^1.5 in relative terms, at 16 bits by factors of
hundreds, which no width below can use. Above 4 bits it is therefore driven as at 4 bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from quanos.quantizer import (
    ActivationQuantizer,
    Quantizer,
    WeightQuantizer,
    apply,
    positive,
    wide,
)
from quanos.quantizers.clips import optimal_clip

HIGHEST = 15
"""The largest code up to which the step's gradient is LSQ's."""


class _LearnedStep(torch.autograd.Function):
    """As the uniform quantizer, but `step` has LSQ's gradient, times `scale`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: int, high: int, scale: float, identity: bool
    ) -> Tensor:
        out = (wide(x) * (1 / step)).round_().clamp_(low, high).mul_(step).to(x.dtype)
        ctx.save_for_backward(x, step, out)
        ctx.setting = low, high, scale, identity
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, None, None, None, None]:
        (gradient,) = gradients
        x, step, out = ctx.saved_tensors
        low, high, scale, identity = ctx.setting
        v = (wide(x) * (1 / step)).to(gradient.dtype)
        inside = torch.ops.aten.hardtanh_backward(gradient, v, low, high)
        # sum of gradient * round(v), less gradient * v of what lies inside the range
        of_step = (_dot(gradient, out) / step - _dot(inside, v)) * scale
        return gradient if identity else inside, of_step, None, None, None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.float().reshape(-1), b.float().reshape(-1))


def unit(top: int) -> float:
    """The best step for codes up to `top`, in units of a normal variable's spread."""
    return optimal_clip(top) / top


class _Learned(Quantizer):
    """What both share: `learned`, and the step that it gives."""

    learned: nn.Parameter

    def count(self, x: Tensor) -> int:
        """N of the gradient's scale."""
        raise TypeError(f"{type(self).__name__} does not say what it counts.")

    def learned_step(self) -> Tensor:
        """The step; a value that training drove below zero counts by its magnitude."""
        return positive(self.learned.abs() * unit(self.top))

    def rounded(self, x: Tensor, step: Tensor) -> Tensor:
        # By 1 / unit**2, the step, not `learned`, moves by lr times LSQ's gradient.
        scale = unit(self.top) ** -2 / (self.count(x) * self.top) ** 0.5
        scale *= min(1.0, HIGHEST / self.top) ** 1.5
        return apply(_LearnedStep, x, step, self.low, self.top, scale, self.identity_ste)


class LsqWeightQuantizer(_Learned, WeightQuantizer):
    """Signed symmetric codes with a learned step; with one bit the mean magnitude, not learned."""

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.learned = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        self.learned.copy_(WeightQuantizer.step(self, x) / unit(self.top))

    def count(self, x: Tensor) -> int:
        return x.numel()

    def step(self, x: Tensor) -> Tensor:
        if self.binary:  # the zero keeps `learned` in the graph, which many devices ask for
            return super().step(x) + 0 * self.learned
        return self.learned_step()


class LsqActivationQuantizer(_Learned, ActivationQuantizer):
    """Unsigned or signed codes with a learned step, which the first batch starts."""

    def __init__(self, bits: int, *, signed: bool | None = None) -> None:
        super().__init__(bits, signed=signed)
        self.learned = nn.Parameter(torch.ones(()))

    def count(self, x: Tensor) -> int:
        return x[0].numel()

    def step(self, x: Tensor) -> Tensor:
        if not self._ready:
            with torch.no_grad():
                self.learned.copy_(super().step(x) / unit(self.top))
        return self.learned_step()

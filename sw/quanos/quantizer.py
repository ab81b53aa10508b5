"""Uniform quantizers of weights and activations, 1 to 16 bits, with straight-through gradients.

A quantizer gives `step * code`: `codes` and `step` are what hardware gets, `forward` is their
product in floating point, equal to the last bit. Ties round to even everywhere (decision 0001).

Weights have symmetric codes -(2**(k-1)-1) .. 2**(k-1)-1, with one bit {-1, +1} times the mean
magnitude. Activations are unsigned, 0 .. 2**k-1, where they come from a ReLU, and have the weights'
symmetric codes where they can be negative. The range is the largest magnitude or, where that is
narrower, the one that is optimal for a (half-)normal distribution of the same spread.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from quanos.quantizers.clips import optimal_clip

MAX_BITS = 16
MOMENTUM = 0.1
"""Weight of the newest batch in the running range of activations."""

SAMPLE = 32
"""Images of a batch that the running range looks at: enough, and almost free."""


def wide(x: Tensor) -> Tensor:
    """`x`, of any shape, in float32 where it has half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _RoundToStep(torch.autograd.Function):
    """`step * clamp(round(x / step), low, high)`; gradients pass inside the range.

    Half precision has too few digits for wide codes, so that the codes are found in float32. The
    mask is recomputed in the backward pass by one fused kernel: storing it, or torch's own
    fake-quantize kernels, take several times as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, identity: bool) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.range = low, high, identity
        return (wide(x) * (1 / step)).round_().clamp_(low, high).mul_(step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = gradients
        x, step = ctx.saved_tensors
        low, high, identity = ctx.range
        if not identity:
            gradient = torch.ops.aten.hardtanh_backward(
                gradient, (wide(x) * (1 / step)).to(gradient.dtype), low - 0.5, high + 0.5
            )
        return gradient, None, None, None, None


class _SignTimesStep(torch.autograd.Function):
    """`step * sign(x)` with sign(0) = 1; the gradient passes unchanged, a learned step has one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x < 0, -step, step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor | None]:
        (gradient,) = gradients
        if not ctx.needs_input_grad[1]:
            return gradient, None
        (x,) = ctx.saved_tensors
        return gradient, torch.where(x < 0, -gradient, gradient).sum(dtype=torch.float32)


class Quantizer(nn.Module):
    """What all quantizers share; a kind of quantizer says how large its step is.

    `bits` may be changed at any time. `identity_ste` lets gradients pass where the range clips
    (BPDA attacks), `enabled` = False turns the quantizer into the identity (a float twin), and
    while `resting` what cannot change is kept in `held`.
    """

    held: Tensor | None

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = check_bits(bits)
        self.identity_ste = False
        self.enabled = True
        self.resting = False
        self.held = None

    @property
    def signed(self) -> bool:
        """Whether codes can be negative."""
        raise TypeError(f"{type(self).__name__} does not say whether its codes are signed.")

    def step(self, x: Tensor) -> Tensor:
        """The real value of code 1, a scalar tensor."""
        raise TypeError(f"{type(self).__name__} has no step.")

    @property
    def binary(self) -> bool:
        """Whether the codes are -1 and +1 alone."""
        return self.bits == 1 and self.signed

    @property
    def top(self) -> int:
        """The largest code."""
        return max((1 << self.bits - 1) - 1, 1) if self.signed else (1 << self.bits) - 1

    @property
    def low(self) -> int:
        """The smallest code."""
        return -self.top if self.signed else 0

    def start(self, x: Tensor) -> None:
        """Told once of a tensor of the shape to come, where it is known: a learned step starts."""

    def shaped(self, x: Tensor) -> Tensor:
        """What is rounded in place of `x`, where that is another tensor of the same shape."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """`x` quantized and scaled back, same shape and type."""
        if not self.enabled:
            return x
        return self.again(x) if self.resting else self.scaled_back(x, self.step(x.detach()))

    def again(self, x: Tensor) -> Tensor:
        """`forward` of a model at rest, same shape: the step is that of the first call."""
        if self.held is None:
            self.held = self.step(x.detach())
        return self.scaled_back(x, self.held)

    def scaled_back(self, x: Tensor, step: Tensor) -> Tensor:
        """`step * codes`, same shape and type as `x`."""
        if self.binary:
            return apply(_SignTimesStep, x, step)
        return self.rounded(self.shaped(x), step)

    def rounded(self, x: Tensor, step: Tensor) -> Tensor:
        """`step * codes` in the shape of `x`, with the gradients of this kind of quantizer."""
        return apply(_RoundToStep, x, step, self.low, self.top, self.identity_ste)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """The integers, int32 in the shape of `x`: `codes * step` is what `forward` gives."""
        if self.binary:
            return torch.where(x < 0, -1, 1).to(torch.int32)
        inverse = 1 / self.step(x)
        return (wide(self.shaped(x)) * inverse).round().clamp(self.low, self.top).to(torch.int32)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


def apply(function: Any, *arguments: Any) -> Tensor:
    """`function.apply` of a torch.autograd.Function, typed; the shape is the function's."""
    out: Tensor = function.apply(*arguments)
    return out


def positive(step: Tensor) -> Tensor:
    """A step, a scalar tensor, is never zero: all zeros have codes of zero, not of NaN."""
    return step.clamp_min(torch.finfo(step.dtype).tiny * 2**20)


def largest(x: Tensor) -> Tensor:
    """The largest magnitude, a scalar tensor; one pass and no copy, unlike abs().amax()."""
    low, high = torch.aminmax(x)
    return torch.maximum(-low, high)


class WeightQuantizer(Quantizer):
    """Signed symmetric codes; the step follows from the tensor itself, anew at every call."""

    @property
    def signed(self) -> bool:
        return True

    def step(self, x: Tensor) -> Tensor:
        if self.binary:
            return positive(x.float().abs().mean())
        x = x.float()
        clip = optimal_clip(self.top) * x.square().mean().sqrt()
        return positive(torch.minimum(largest(x), clip) / self.top)

    def again(self, x: Tensor) -> Tensor:
        """`forward` of a model at rest, same shape: what the first call gave, without gradients."""
        if self.held is None:
            self.held = self.scaled_back(x, self.step(x.detach())).detach()
        return self.held


class ActivationQuantizer(Quantizer):
    """Unsigned or signed codes; the step follows from running statistics of the batches seen.

    The first batch decides on signed codes if it holds a negative value and `signed` was not
    given, and starts the statistics; later batches move them in training mode only. Nothing of
    this waits for the device after the first batch.
    """

    peak: Tensor
    spread: Tensor
    seen: Tensor

    def __init__(self, bits: int, *, signed: bool | None = None) -> None:
        super().__init__(bits)
        self.register_buffer("peak", torch.zeros(()))
        self.register_buffer("spread", torch.zeros(()))
        # 0: nothing seen yet; 1: unsigned codes; 2: signed codes.
        self.register_buffer("seen", torch.zeros((), dtype=torch.int32))
        self._signed = signed
        self._ready = False

    @property
    def signed(self) -> bool:
        return bool(self._signed)

    def step(self, x: Tensor) -> Tensor:
        if self.training or not self._ready:
            self._observe(x)
        if self.binary:  # the mean magnitude of a normal variable of this spread
            return positive(self.spread * (2 / torch.pi) ** 0.5)
        clip = torch.minimum(self.peak, optimal_clip(self.top) * self.spread)
        return positive(clip / self.top)

    @torch.no_grad()
    def _observe(self, x: Tensor) -> None:
        """Follow the largest magnitude and the root mean square of what is not zero."""
        sample = x[:SAMPLE].float()
        peak = largest(sample)
        # The sign's magnitude counts what is not zero, several times faster than count_nonzero.
        spread = (sample.square().sum() / sample.sign().abs_().sum().clamp_min(1)).sqrt()
        if self._ready:
            self.peak.lerp_(peak, MOMENTUM)
            self.spread.lerp_(spread, MOMENTUM)
            return
        if self._signed is None:
            self._signed = bool((x < 0).any())
        self.peak.copy_(peak)
        self.spread.copy_(spread)
        self.seen.fill_(2 if self._signed else 1)
        self._ready = True

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.follow_seen()

    @property
    def ready(self) -> bool:
        """Whether a batch has been seen, so that sign and range stand."""
        return self._ready

    def follow_seen(self) -> None:
        """Take sign and readiness from the buffer `seen`, after something else has written it."""
        seen = int(self.seen)
        self._ready = seen > 0
        if self._ready:
            self._signed = seen == 2


def check_bits(bits: int) -> int:
    """`bits` if it is a precision that exists; ValueError otherwise."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be a whole number from 1 to {MAX_BITS}, not {bits!r}.")
    return bits

"""Lipschitz constants of the layers, and what a width adds to adversarial and quantization loss.

A reconstruction after Song, Ranjan, Li (arXiv 2110.12308), of whose method only the abstract could
be had: it chooses each layer's quantization by its Lipschitz constant, for the adversarial and the
quantization loss together. Here, for a layer with weights W, batch norm folded in, and its input a
moved by d, the triangle inequality bounds the error of its output relative to ||W|| ||a||:

    ||Q(W) (a + d) - W a|| <= ||Q(W)|| ||d|| + ||Q(W) - W|| ||a||
    loss(k) = rho ||Q_k(W)|| / ||W|| + ||Q_k(W) - W|| / ||W||,    rho = ||d|| / ||a||

Norms are spectral, of the layer at its input's true shape (`quanos.sensing.spectral`). The second
term stays: by the first alone, weights clipped to nothing would be best. Relative errors of the
layers add up to first order, so that the sum over layers is what a policy makes small.

Candidates are widths and clipping rules: the layer's own quantizer, whose range is the best one
for normal weights, and, where asked for, the largest magnitude or its 99.9th percentile; a width's
loss is its best rule's. The trainer and the hardware have one step per tensor, so that there are no
candidates per channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from quanos.allocation.budgets import MAX_BITS
from quanos.attacks import Attack, evaluating, fgsm, perturb
from quanos.layers import QuantConv2d, QuantLayer, quantized_layers
from quanos.quantizer import Quantizer
from quanos.sensing.measurement import Measurement
from quanos.sensing.spectral import STEPS, spectral_norm

WIDTHS = range(1, MAX_BITS + 1)
Clip = Callable[[Tensor], Tensor]
CLIPS: dict[str, Clip | None] = {
    "own": None,
    "max": lambda weight: weight.abs().amax(),
    "percentile": lambda weight: (
        weight.abs().flatten().sort().values[min(int(0.999 * weight.numel()), weight.numel() - 1)]
    ),
}
"""Range of the weights by rule; None: as the layer's quantizer has it."""


def lipschitz_constants(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    attack: Attack | None = None,
    clips: Sequence[str] = ("own",),
    steps: int = STEPS,
) -> Measurement:
    """Spectral norm of every quantized layer, batch norm folded in, and the loss at 1..16 bits.

    `batches` yields images (B, C, H, W) in [0, 1] with labels (B,); they give rho, under `attack`
    (FGSM with epsilon 0.05 where not given). The model stays as it is. Raises ValueError for no
    images or an unknown clipping rule.
    """
    if unknown := sorted(set(clips) - set(CLIPS)):
        raise ValueError(f"clipping rule {unknown[0]!r} is unknown; there are {', '.join(CLIPS)}.")
    attack = attack or fgsm(0.05)
    sums: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    for images, labels in batches:
        scales = scales or folded_scales(model, images[:1])
        inputs = layer_inputs(model, images)
        moved = layer_inputs(model, perturb(model, images, labels, attack))
        for name, a in inputs.items():
            squares = torch.stack([_square(moved[name] - a), _square(a)])
            sums[name] = sums.get(name, torch.zeros_like(squares)) + squares
    if not sums:
        raise ValueError("no activation was seen; give at least one image.")
    norms, losses = {}, {}
    for name, layer in quantized_layers(model).items():
        difference, whole = sums[name].tolist()
        rho = (difference / whole) ** 0.5 if whole else 0.0
        one = _Layer(layer, inputs[name][:1], scales.get(name), steps)
        norms[name], losses[name] = one.measure(rho, clips)
    return Measurement(kind="lipschitz", layers=norms, losses=losses)


class _Layer:
    """A layer as a linear map at its input's true shape, batch norm's factors folded in."""

    def __init__(self, layer: QuantLayer, like: Tensor, scale: Tensor | None, steps: int) -> None:
        self.layer, self.steps = layer, steps
        factors = layer.weight.new_ones(len(layer.weight)) if scale is None else scale
        self.scale = factors.reshape(-1, *(1,) * (layer.weight.dim() - 1))
        noise = torch.rand(like.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        self.start = noise.to(like)

    def norm(self, weight: Tensor) -> float:
        """Spectral norm of what the layer makes of its input with these weights and no bias."""
        folded = weight * self.scale

        def apply(x: Tensor) -> Tensor:
            if isinstance(self.layer, QuantConv2d):
                out: Tensor = self.layer._conv_forward(x, folded, None)
                return out
            return functional.linear(x, folded)

        return spectral_norm(apply, self.start, self.steps)

    def measure(self, rho: float, clips: Sequence[str]) -> tuple[float, tuple[float, ...]]:
        """||W||, and rho ||Q(W)|| / ||W|| + ||Q(W) - W|| / ||W|| at 1..16 bits by the best rule."""
        weight = self.layer.weight.detach()
        norm = self.norm(weight)
        if not norm:
            return 0.0, (0.0,) * MAX_BITS
        return norm, tuple(min(self._loss(k, clip, rho) for clip in clips) / norm for k in WIDTHS)

    def _loss(self, bits: int, clip: str, rho: float) -> float:
        """rho ||Q(W)|| + ||Q(W) - W||."""
        weight = quantized_weight(self.layer, bits, clip)
        return rho * self.norm(weight) + self.norm(weight - self.layer.weight.detach())


@torch.no_grad()
def quantized_weight(layer: QuantLayer, bits: int, clip: str = "own") -> Tensor:
    """The layer's weights, in their shape, at `bits`, with the range by a clipping rule of `CLIPS`.

    One bit has a range of its own.
    """
    quantizer: Quantizer = layer.w_quantizer
    weight, rule = layer.weight.detach(), CLIPS[clip]
    before = quantizer.bits
    try:
        quantizer.bits = bits
        if rule is None or bits == 1:
            own: Tensor = quantizer(weight)
            return own
        step = (rule(weight) / quantizer.top).clamp_min(torch.finfo(weight.dtype).tiny)
        return (weight / step).round().clamp(quantizer.low, quantizer.top).mul(step)
    finally:
        quantizer.bits = before


def layer_inputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The input of every quantized layer, (B, I, H, W) or (B, I), for images (B, C, H, W).

    In evaluation mode; of several runs of a layer the last.
    """
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
        for name, layer in quantized_layers(model).items()
    ]
    _run(model, images, hooks)
    return seen


def folded_scales(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """gamma / sigma, (O,), of the batch norm that takes a layer's output as it is, by layer."""
    outputs: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}

    def match(norm: nn.BatchNorm2d, args: tuple[Tensor, ...]) -> None:
        for name, output in outputs.items():
            if output is args[0] and norm.running_var is not None:
                gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
                scales[name] = (gamma / (norm.running_var + norm.eps).sqrt()).detach()

    hooks: list[RemovableHandle] = []
    for name, layer in quantized_layers(model).items():
        hooks.append(
            layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
        )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(match))
    _run(model, images, hooks)
    return scales


def _run(model: nn.Module, images: Tensor, hooks: Iterable[RemovableHandle]) -> None:
    """Run the model once, in evaluation mode, for its hooks, and remove them."""
    try:
        with torch.no_grad(), evaluating(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()


def _square(x: Tensor) -> Tensor:
    return x.double().square().sum()

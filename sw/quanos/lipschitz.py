"""Lipschitz constants of the layers, and what a width adds to adversarial and quantization loss.

A reconstruction after Song, Ranjan, Li (arXiv 2110.12308), of whose method only the abstract could
be had: it chooses each layer's quantization by its Lipschitz constant, for the adversarial and the
quantization loss together. Here, for a layer with weights W, batch norm folded in, and its input a
moved by d, the triangle inequality bounds the error of its output relative to ||W|| ||a||:

    ||Q(W) (a + d) - W a|| <= ||Q(W)|| ||d|| + ||Q(W) - W|| ||a||
    loss(k) = rho ||Q_k(W)|| / ||W|| + ||Q_k(W) - W|| / ||W||,    rho = ||d|| / ||a||

Norms are spectral, by power iteration of the layer at its input's true shape. The second
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

from quanos.attacks import Attack, evaluating, fgsm, perturb
from quanos.budgets import MAX_BITS
from quanos.layers import QuantConv2d, QuantLayer, quantized_layers
from quanos.measurement import Measurement
from quanos.quantizer import Quantizer

ITERATIONS = 30
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
    iterations: int = ITERATIONS,
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
        one = _Layer(layer, inputs[name][:1], scales.get(name), iterations)
        norms[name], losses[name] = one.measure(rho, clips)
    return Measurement(kind="lipschitz", layers=norms, losses=losses)


class _Layer:
    """A layer as a linear map at its input's true shape, batch norm's factors folded in."""

    def __init__(
        self, layer: QuantLayer, like: Tensor, scale: Tensor | None, iterations: int
    ) -> None:
        self.layer, self.iterations = layer, iterations
        factors = layer.weight.new_ones(len(layer.weight)) if scale is None else scale
        self.scale = factors.reshape(-1, *(1,) * (layer.weight.dim() - 1))
        noise = torch.rand(like.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        self.start = noise.to(like)

    def map(self, weight: Tensor, x: Tensor) -> Tensor:
        """What the layer makes of `x` with these weights and no bias."""
        if isinstance(self.layer, QuantConv2d):
            out: Tensor = self.layer._conv_forward(x, weight * self.scale, None)
            return out
        return functional.linear(x, weight * self.scale)

    def measure(self, rho: float, clips: Sequence[str]) -> tuple[float, tuple[float, ...]]:
        """||W||, and rho ||Q(W)|| / ||W|| + ||Q(W) - W|| / ||W|| at 1..16 bits by the best rule."""
        weight = self.layer.weight.detach()
        (norm,) = spectral_norms(self.map, weight[None], self.start, self.iterations)
        best = [float("inf") if norm else 0.0] * MAX_BITS
        for clip in clips if norm else ():
            whole = torch.stack([quantized_weight(self.layer, k, clip) for k in WIDTHS])
            norms, errors = (
                spectral_norms(self.map, weights, self.start, self.iterations)
                for weights in (whole, whole - weight)
            )
            losses = [(rho * a + b) / norm for a, b in zip(norms, errors, strict=True)]
            best = [min(pair) for pair in zip(best, losses, strict=True)]
        return norm, tuple(best)


@torch.no_grad()
def quantized_weight(layer: QuantLayer, bits: int, clip: str = "own") -> Tensor:
    """The layer's weights at `bits`, with the range by a clipping rule; one bit has its own."""
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


def spectral_norms(
    apply: Callable[[Tensor, Tensor], Tensor], weights: Tensor, start: Tensor, iterations: int
) -> list[float]:
    """Largest singular value of the linear map `apply(w, .)` for every w of `weights`.

    Power iteration from `start` with the map and its transpose, all of `weights` at once; it finds
    the value from below.
    """
    maps = torch.vmap(apply)
    x = start.expand(len(weights), *start.shape)
    for _ in range(iterations):
        x = _unit(x).detach().requires_grad_()
        with torch.enable_grad():
            y = maps(weights, x)
        (x,) = torch.autograd.grad(y, x, y.detach())  # the transposed map of the map
    with torch.no_grad():
        found: list[float] = maps(weights, _unit(x)).flatten(1).norm(dim=1).tolist()
    return found


def _unit(x: Tensor) -> Tensor:
    """Every row of the first dimension scaled to norm 1."""
    norms = x.flatten(1).norm(dim=1).clamp_min(1e-30)
    scaled: Tensor = x / norms.reshape(-1, *(1,) * (x.dim() - 1))
    return scaled


def layer_inputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The input of every quantized layer, in evaluation mode; of several runs the last."""
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
        for name, layer in quantized_layers(model).items()
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
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

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name, layer in quantized_layers(model).items():
        hooks.append(
            layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
        )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(match))
    try:
        with torch.no_grad(), evaluating(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return scales


def _square(x: Tensor) -> Tensor:
    return x.double().square().sum()

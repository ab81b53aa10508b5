"""Quantized layers, and `quantize`, which puts them into any model.

A layer's MACs see its input activations and its weights at the layer's `bits`. Bias, batch norm and
what stands between layers stay in floating point, as in the paper; so does the classifier.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from quanos.integer.tracing import Trace, trace
from quanos.quantizer import Quantizer, check_bits
from quanos.quantizers.kinds import quantizer_pair
from quanos.quantizers.quantizable import classifier_of, convertible, covered, obstacles


class _Quantized(nn.Module):
    """What quantized layers share: their two quantizers and one precision for both."""

    w_quantizer: Quantizer
    a_quantizer: Quantizer

    def _take(self, source: nn.Conv2d | nn.Linear, bits: int, quantizer: str) -> None:
        """Share the parameters of `source`: the same objects, so that optimizers keep them."""
        self._parameters.update(source._parameters)
        with torch.device(source.weight.device):  # whatever device is the default just now
            self.w_quantizer, self.a_quantizer = quantizer_pair(quantizer, bits)
        self.w_quantizer.start(source.weight.detach())
        self.train(source.training)

    @property
    def bits(self) -> int:
        """Precision of weights and input activations, 1..16."""
        return self.w_quantizer.bits

    @bits.setter
    def bits(self, value: int) -> None:
        self.w_quantizer.bits = self.a_quantizer.bits = check_bits(value)


class QuantConv2d(_Quantized, nn.Conv2d):
    """A convolution of quantized activations (N, C, H, W) with quantized weights."""

    @classmethod
    def from_float(cls, source: nn.Conv2d, bits: int, quantizer: str = "uniform") -> QuantConv2d:
        """The quantized form of `source`, with the same parameters."""
        layer = cls(
            source.in_channels,
            source.out_channels,
            source.kernel_size,  # type: ignore[arg-type]
            stride=source.stride,  # type: ignore[arg-type]
            padding=source.padding,  # type: ignore[arg-type]
            dilation=source.dilation,  # type: ignore[arg-type]
            groups=source.groups,
            bias=source.bias is not None,
            padding_mode=source.padding_mode,
            device="meta",
        )
        layer._take(source, bits, quantizer)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        weight = self.w_quantizer(self.weight)
        if self.bits == 1 and self.padding_mode == "zeros":
            # One-bit signed activations have no zero: padding is quantized like any other input.
            padded = functional.pad(input, self._reversed_padding_repeated_twice)
            settings = (self.bias, self.stride, 0, self.dilation, self.groups)
            return functional.conv2d(self.a_quantizer(padded), weight, *settings)
        out: Tensor = self._conv_forward(self.a_quantizer(input), weight, self.bias)
        return out


class QuantLinear(_Quantized, nn.Linear):
    """A fully connected layer of quantized activations (..., in) with quantized weights."""

    @classmethod
    def from_float(cls, source: nn.Linear, bits: int, quantizer: str = "uniform") -> QuantLinear:
        """The quantized form of `source`, with the same parameters."""
        layer = cls(
            source.in_features, source.out_features, bias=source.bias is not None, device="meta"
        )
        layer._take(source, bits, quantizer)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        weight = self.w_quantizer(self.weight)
        return nn.functional.linear(self.a_quantizer(input), weight, self.bias)


QuantLayer = QuantConv2d | QuantLinear


def quantize(
    model: nn.Module,
    bits: int | Mapping[str, int],
    *,
    quantizer: str = "uniform",
    classifier: bool = False,
    keep_float: tuple[str, ...] = (),
    example: Tensor | None = None,
) -> nn.Module:
    """A copy of `model` whose Conv2d and Linear layers compute at `bits`.

    `bits` is one width for all layers or {layer: width}; layers without one have 16. `quantizer` is
    "uniform" (straight-through), "lsq" (learned step) or "dorefa". The classifier, the last Linear
    in registration order, stays in floating point unless `classifier` is true; `keep_float` names
    further modules that shall, with all that is inside them.

    With `example` images (B, C, H, W) the model runs once: the classifier is then the Linear that
    runs last, `feeds` of the copy says which layer lends each shortcut its bits (a model that has
    `feeds` keeps it), and functions that multiply outside of layers are found.

    Raises ValueError, naming them, for what multiplies but cannot be quantized and is not in
    `keep_float`: other layers, subclasses, computed weights, parameters that the model's own code
    uses, functions; and for unknown names, a model that is quantized already, or one without a
    layer left. In the quantized model, change widths with `set_bits`.
    """
    if done := list(quantized_layers(model)):
        raise ValueError(
            f"the model is quantized already (layer {done[0] or type(model).__name__}); change its "
            "widths with set_bits, or quantize the float model."
        )
    modules = dict(model.named_modules())
    told = None if example is None else trace(model, example)
    names = _targets(modules, _kept(modules, classifier, keep_float, told), told)
    model = _copy(model)
    if told is not None and not hasattr(model, "feeds"):
        feeds = {short: to for short, to in told.feeds.items() if {short, to} <= set(names)}
        vars(model)["feeds"] = feeds
    widths = dict.fromkeys(names, 16) | _widths(names, bits, model)
    for name in names:
        model = _replace(model, name, widths[name], quantizer)
    return model


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # a weight that hooks compute, in a layer that stays in float
        reason = str(error).splitlines()[0]
        raise ValueError(f"the model cannot be copied ({reason}); remove such hooks.") from None


def _kept(
    modules: Mapping[str, nn.Module],
    classifier: bool,
    keep_float: tuple[str, ...],
    told: Trace | None,
) -> list[str]:
    """What stays in floating point: modules, with what is inside them, and parameters."""
    parameters = {name for name, _ in modules[""].named_parameters()}
    if unknown := sorted(set(keep_float) - set(modules) - parameters):
        raise ValueError(f"keep_float names no layer of the model: {', '.join(unknown)}.")
    last = classifier_of(modules)
    if told is not None and told.order:
        ran = [name for name in told.order if isinstance(modules[name], nn.Linear)]
        last = ran[-1] if ran else None
    return [*keep_float, *([last] if last is not None and not classifier else [])]


def _targets(modules: Mapping[str, nn.Module], kept: list[str], told: Trace | None) -> list[str]:
    """Names of the layers to quantize; a module that is used under two names comes once."""
    found = obstacles(modules, kept)
    found += [text for text in (told.outside_of(kept) if told else []) if text not in found]
    if found:
        raise ValueError(
            f"only Conv2d and Linear can be quantized, not {', '.join(found)}; name them, or the "
            "modules that they are in, in keep_float of quanos.quantize (a function goes with the "
            "module whose code calls it; move it into one of its own)."
        )
    names = [n for n, m in modules.items() if convertible(m) and not covered(n, kept)]
    if not names:
        raise ValueError("the model has no Conv2d or Linear to quantize besides its classifier.")
    return names


def _replace(model: nn.Module, name: str, bits: int, quantizer: str) -> nn.Module:
    """The model with layer `name` quantized, wherever it is used; a bare layer is the model."""
    source = model.get_submodule(name)
    layer: nn.Module
    if isinstance(source, nn.Conv2d):
        layer = QuantConv2d.from_float(source, bits, quantizer)
    else:
        assert isinstance(source, nn.Linear)
        layer = QuantLinear.from_float(source, bits, quantizer)
    if source is model:
        return layer
    for parent in model.modules():
        for child, module in list(parent._modules.items()):  # named_children leaves repeats out
            if module is source:
                setattr(parent, child, layer)
    return model


def quantized_layers(model: nn.Module) -> dict[str, QuantLayer]:
    """The quantized layers by name, in registration order, which the zoo keeps as forward order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantConv2d | QuantLinear)
    }


def get_bits(model: nn.Module) -> dict[str, int]:
    """Bits by layer."""
    return {name: layer.bits for name, layer in quantized_layers(model).items()}


def set_bits(model: nn.Module, bits: int | Mapping[str, int]) -> None:
    """Give all layers, or those named, new bits; parameters and optimizer state stay.

    Raises ValueError for an unknown layer or a width outside 1..16, with nothing changed.
    """
    layers = quantized_layers(model)
    for name, width in _widths(list(layers), bits, model).items():
        layers[name].bits = width


def _widths(names: list[str], bits: int | Mapping[str, int], model: nn.Module) -> dict[str, int]:
    """Checked widths by layer name; a shortcut that is not named follows the layer it feeds."""
    if isinstance(bits, int):
        return dict.fromkeys(names, check_bits(bits))
    if unknown := sorted(set(bits) - set(names)):
        raise ValueError(
            f"the model has no quantized layer {', '.join(unknown)}; it has {', '.join(names)}."
        )
    feeds: Mapping[str, str] = getattr(model, "feeds", {})
    follow = {name: bits[fed] for name, fed in feeds.items() if name in names and fed in bits}
    return {name: check_bits(width) for name, width in (follow | dict(bits)).items()}


def layer_codes(layer: QuantLayer, activation: Tensor) -> dict[str, Any]:
    """What the hardware would get: codes and steps of a layer for its input `activation`.

    Returns `w` and `a` (int32 codes in the shapes of weight and activation), `w_step`, `a_step`
    (scalar tensors), `a_signed`, and `a_pad`, the code that zero padding has: 0, or 1 where codes
    are -1 and 1 alone.
    """
    with torch.no_grad():
        return {
            "w": layer.w_quantizer.codes(layer.weight),
            "a": layer.a_quantizer.codes(activation),
            "w_step": layer.w_quantizer.step(layer.weight),
            "a_step": layer.a_quantizer.step(activation),
            "a_signed": layer.a_quantizer.signed,
            "a_pad": int(layer.a_quantizer.binary),
        }


def model_codes(model: nn.Module, images: Tensor) -> dict[str, dict[str, Any]]:
    """`layer_codes` of every layer that runs for `images` (B, C, H, W), in forward order.

    The model runs once, in evaluation mode, and stays as it is; a layer that runs several times
    tells of its last run.
    """
    codes: dict[str, dict[str, Any]] = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda layer, args, name=name: codes.update({name: layer_codes(layer, args[0])})
        )
        for name, layer in quantized_layers(model).items()
    ]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return codes

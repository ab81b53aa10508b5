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

from quanos.quantizer import ActivationQuantizer, Quantizer, WeightQuantizer, check_bits

# Layers that multiply but are not convolutions or fully connected: `quantize` names them.
UNSUPPORTED = (
    nn.Conv1d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)


class _Quantized(nn.Module):
    """What quantized layers share: their two quantizers and one precision for both."""

    w_quantizer: Quantizer
    a_quantizer: Quantizer

    def _take(self, source: nn.Module, bits: int) -> None:
        """Share the parameters of `source`: the same objects, so that optimizers keep them."""
        self._parameters.update(source._parameters)
        self.w_quantizer = WeightQuantizer(bits)
        self.a_quantizer = ActivationQuantizer(bits)
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
    def from_float(cls, source: nn.Conv2d, bits: int) -> QuantConv2d:
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
        layer._take(source, bits)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        weight = self.w_quantizer(self.weight)
        out: Tensor = self._conv_forward(self.a_quantizer(input), weight, self.bias)
        return out


class QuantLinear(_Quantized, nn.Linear):
    """A fully connected layer of quantized activations (..., in) with quantized weights."""

    @classmethod
    def from_float(cls, source: nn.Linear, bits: int) -> QuantLinear:
        """The quantized form of `source`, with the same parameters."""
        layer = cls(
            source.in_features, source.out_features, bias=source.bias is not None, device="meta"
        )
        layer._take(source, bits)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        weight = self.w_quantizer(self.weight)
        return nn.functional.linear(self.a_quantizer(input), weight, self.bias)


QuantLayer = QuantConv2d | QuantLinear


def quantize(
    model: nn.Module,
    bits: int | Mapping[str, int],
    *,
    classifier: bool = False,
    keep_float: tuple[str, ...] = (),
) -> nn.Module:
    """A copy of `model` whose Conv2d and Linear layers compute at `bits`.

    `bits` is one width for all layers or {layer: width}. The classifier, the last Linear in
    registration order, stays in floating point unless `classifier` is true; `keep_float` names
    further layers that shall. Raises ValueError, naming them, for layers that multiply but cannot
    be quantized and are not in `keep_float`, for unknown names, and for a model with no layer left.
    """
    model = copy.deepcopy(model)
    modules = dict(model.named_modules())
    if unknown := sorted(set(keep_float) - set(modules)):
        raise ValueError(f"keep_float names no layer of the model: {', '.join(unknown)}.")
    if rest := [
        n for n, m in modules.items() if isinstance(m, UNSUPPORTED) and n not in keep_float
    ]:
        kinds = ", ".join(f"{name} ({type(modules[name]).__name__})" for name in rest)
        raise ValueError(
            f"only Conv2d and Linear can be quantized, not {kinds}; name them in keep_float."
        )
    names = _targets(modules, classifier, keep_float)
    widths = dict.fromkeys(names, 16) | _widths(names, bits, model)
    for name in names:
        _replace(model, name, widths[name])
    return model


def _targets(
    modules: Mapping[str, nn.Module], classifier: bool, keep_float: tuple[str, ...]
) -> list[str]:
    """Names of the layers to quantize; a module that is used under two names comes once."""
    names = [n for n, m in modules.items() if type(m) in (nn.Conv2d, nn.Linear)]
    linear = [name for name in names if type(modules[name]) is nn.Linear]
    left = {*keep_float, *([] if classifier else linear[-1:])}
    if not (names := [name for name in names if name not in left]):
        raise ValueError("the model has no Conv2d or Linear to quantize besides its classifier.")
    return names


def _replace(model: nn.Module, name: str, bits: int) -> None:
    source = model.get_submodule(name)
    layer: nn.Module
    if isinstance(source, nn.Conv2d):
        layer = QuantConv2d.from_float(source, bits)
    else:
        assert isinstance(source, nn.Linear)
        layer = QuantLinear.from_float(source, bits)
    for parent in model.modules():
        for child, module in list(parent._modules.items()):  # named_children leaves repeats out
            if module is source:
                setattr(parent, child, layer)


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
    (scalar tensors) and `a_signed`.
    """
    with torch.no_grad():
        return {
            "w": layer.w_quantizer.codes(layer.weight),
            "a": layer.a_quantizer.codes(activation),
            "w_step": layer.w_quantizer.step(layer.weight),
            "a_step": layer.a_quantizer.step(activation),
            "a_signed": layer.a_quantizer.signed,
        }

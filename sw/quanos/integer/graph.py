"""A trained, quantized network as a list of operations with their numbers, batch norm folded.

`trace` follows the network with `torch.fx` and names what it cannot express. Exporters lower the
list to their formats; nothing here runs the network.

An operation has a name (that of its module where it has one), a kind, the names of its inputs,
attributes that JSON can hold, and arrays. Kinds, with `x` for the real values between operations:

    input       the image, (B, C, H, W) in [0, 1]
    affine      x * scale + offset                       scale, offset (C,)
    conv        quantizes x, convolves codes             codes (O, I / groups, kh, kw), scale and
                                                         offset (O,): real output = sum * scale +
                                                         offset; attributes bits, a_step, w_step,
                                                         low, top, binary, stride, padding (top,
                                                         bottom, left, right), dilation, groups
    linear      the same for codes (O, I)                bits, a_step, w_step, low, top, binary
    clip        x limited to [low, high]                 low, high (None: no limit)
    max_pool    largest of a window                      kernel, stride, padding (a number a side)
    avg_pool    mean of a window                         the same
    mean        mean over height and width; `keep` says whether these axes stay, as 1
    add, cat    inputs added; joined along channels
    flatten     (B, ...) -> (B, n)
    float       a layer that stays in floating point     weight (O, I), bias (O,)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from quanos.layers import QuantConv2d, QuantLayer, QuantLinear
from quanos.models import Normalize

Array = NDArray[Any]


@dataclass(frozen=True)
class Operation:
    """One step of a network; see the module's text for the kinds."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


class _Tracer(fx.Tracer):
    """Follows the network down to torch's own layers, the quantized ones and the normalisation."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        own = isinstance(module, QuantConv2d | QuantLinear | Normalize)
        return own or super().is_leaf_module(module, name)


def trace(model: nn.Module) -> list[Operation]:
    """The operations of a quantized network, each after its inputs; the last is the output.

    Raises ValueError, naming it, for an operation that integers cannot express, and for a network
    whose activation ranges were never seen.
    """
    try:
        nodes = list(_Tracer().trace(model).nodes)
    except Exception as error:  # fx raises whatever the network's code runs into
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"the network's forward cannot be followed ({reason}); write it without branches that "
            "depend on data."
        ) from None
    modules = dict(model.named_modules())
    operations: dict[str, Operation] = {}
    names: dict[fx.Node, str] = {}
    for node in nodes:
        if node.op == "output":
            return _upto(operations, names, node)
        operation = _operation(node, modules, names)
        if isinstance(operation, str):  # it changes nothing: the name of its input
            names[node] = operation
        elif folded := _folded(node, operation, operations, names):
            operations[folded.name] = folded
            names[node] = folded.name
        else:
            unique = _unique(operation.name, operations)
            operations[unique] = replace(operation, name=unique)
            names[node] = unique
    raise ValueError("the network gives no output.")


def _unique(name: str, taken: Mapping[str, Operation]) -> str:
    """`name`, or name#2, name#3, ... where a module is called again."""
    count, unique = 1, name
    while unique in taken:
        count += 1
        unique = f"{name}#{count}"
    return unique


def _upto(
    operations: Mapping[str, Operation], names: Mapping[fx.Node, str], output: fx.Node
) -> list[Operation]:
    result = output.args[0]
    if not isinstance(result, fx.Node) or not operations:
        raise ValueError("the network must give one tensor of logits.")
    found = list(operations.values())
    last = next(i for i, o in enumerate(found) if o.name == names[result])
    return found[: last + 1]


def _operation(
    node: fx.Node, modules: Mapping[str, nn.Module], names: Mapping[fx.Node, str]
) -> Operation | str:
    """The operation of a node, or the name of its input where it is the identity."""
    inputs = tuple(names[n] for n in node.all_input_nodes)
    if node.op == "placeholder":
        return Operation("input", "input", ())
    if node.op == "call_module":
        return _of_module(str(node.target), modules[str(node.target)], inputs)
    make = _FUNCTIONS.get(node.target) or _METHODS.get(str(node.target))
    if node.op in ("call_function", "call_method") and make:
        made = make(node)
        return inputs[0] if made is None else Operation(node.name, made[0], inputs, made[1])
    raise ValueError(
        f"{node.name} ({node.target}) cannot be exported as integers; there are convolutions, "
        "linear layers, batch norms, ReLU, ReLU6, pooling, means, sums, concatenations and "
        "flattening."
    )


def _of_module(name: str, module: nn.Module, inputs: tuple[str, ...]) -> Operation | str:
    """The operation of a module that is called."""
    if isinstance(module, QuantConv2d | QuantLinear):
        return _multiplication(name, module, inputs)
    if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
        return inputs[0]
    for kind, make in _MODULES.items():
        if isinstance(module, kind):
            operation, attributes, arrays = make(module)
            return Operation(name, operation, inputs, attributes, arrays)
    raise ValueError(
        f"{name} ({type(module).__name__}) cannot be exported as integers; quantize it, or use "
        "convolutions, linear layers, batch norms, ReLU, ReLU6 and pooling."
    )


def _multiplication(name: str, layer: QuantLayer, inputs: tuple[str, ...]) -> Operation:
    """A quantized layer: integer codes, and the real value of one unit of their sum."""
    quantizer = layer.a_quantizer
    if getattr(quantizer, "_ready", True) is False:
        raise ValueError(
            f"{name} has seen no activations, so that their range is unknown; train the network."
        )
    with torch.no_grad():
        codes = layer.w_quantizer.codes(layer.weight)
        w_step, a_step = layer.w_quantizer.step(layer.weight), quantizer.step(torch.zeros(1))
    outputs = codes.shape[0]
    scale = np.broadcast_to(_real(w_step).reshape(-1) * float(a_step), (outputs,)).copy()
    offset = np.zeros(outputs) if layer.bias is None else _real(layer.bias)
    attributes = {
        "bits": layer.bits,
        "a_step": float(a_step),
        "w_step": float(w_step),
        "low": quantizer.low,
        "top": quantizer.top,
        "binary": quantizer.binary,
    }
    whole = codes.numpy().astype(np.int32)
    arrays: dict[str, Array] = {"codes": whole, "scale": scale, "offset": offset}
    if isinstance(layer, QuantLinear):
        return Operation(name, "linear", inputs, attributes, arrays)
    return Operation(name, "conv", inputs, attributes | _geometry(name, layer), arrays)


def _geometry(name: str, layer: QuantConv2d) -> dict[str, Any]:
    """How a convolution moves over its input; padding as (top, bottom, left, right)."""
    if layer.padding_mode != "zeros":
        raise ValueError(f"{name} pads with {layer.padding_mode}; only zeros can be exported.")
    dilation, stride = list(layer.dilation), list(layer.stride)
    if isinstance(layer.padding, str):
        same = layer.padding == "same"
        spans = [d * (k - 1) * same for d, k in zip(dilation, layer.kernel_size, strict=True)]
        padding = [part for span in spans for part in (span // 2, span - span // 2)]
    else:
        padding = [int(p) for p in layer.padding for _ in range(2)]
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": layer.groups}


def _real(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def _folded(
    node: fx.Node,
    operation: Operation,
    operations: Mapping[str, Operation],
    names: Mapping[fx.Node, str],
) -> Operation | None:
    """An affine operation taken into the layer before it, if nobody else reads that layer."""
    if operation.kind != "affine":
        return None
    (source,) = node.all_input_nodes
    before = operations[names[source]]
    readers = sum(len(n.users) for n, name in names.items() if name == before.name)
    if before.kind not in ("conv", "linear") or readers > 1:
        return None
    scale, offset = operation.arrays["scale"], operation.arrays["offset"]
    arrays = dict(before.arrays)
    arrays["scale"] = arrays["scale"] * scale
    arrays["offset"] = arrays["offset"] * scale + offset
    return replace(before, arrays=arrays)


Made = tuple[str, dict[str, Any], dict[str, Array]]


def _batch_norm(module: nn.BatchNorm2d | nn.BatchNorm1d) -> Made:
    if module.running_mean is None or module.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded.")
    scale = 1 / np.sqrt(_real(module.running_var) + module.eps)
    offset = -_real(module.running_mean) * scale
    if module.affine:
        gain = _real(module.weight)
        scale, offset = scale * gain, offset * gain + _real(module.bias)
    return "affine", {}, {"scale": scale, "offset": offset}


def _normalize(module: Normalize) -> Made:
    scale = 1 / _real(module.std).reshape(-1)
    return "affine", {}, {"scale": scale, "offset": -_real(module.mean).reshape(-1) * scale}


def _float_linear(module: nn.Linear) -> Made:
    weight = module.weight.detach().numpy()
    bias = (
        np.zeros(len(weight), np.float32) if module.bias is None else module.bias.detach().numpy()
    )
    return "float", {}, {"weight": weight.copy(), "bias": bias.copy()}


def _pool(kind: str, module: Any) -> Made:
    """Max or average pooling; refuses what few networks use rather than computing it wrongly."""
    kernel = _pair(module.kernel_size)
    stride, padding = _pair(module.stride or module.kernel_size), _pair(module.padding)
    odd = module.ceil_mode or _pair(getattr(module, "dilation", 1)) != [1, 1]
    if odd or (kind == "avg_pool" and any(padding)):
        raise ValueError(f"{module} cannot be exported: no dilation, ceil_mode, padded averages.")
    return kind, {"kernel": kernel, "stride": stride, "padding": padding}, {}


def _pair(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, tuple | list) else [int(value)] * 2


def _global(module: nn.AdaptiveAvgPool2d) -> Made:
    if _pair(module.output_size) != [1, 1]:
        raise ValueError(f"{module} cannot be exported; only global averages (1, 1) can.")
    return "mean", {"keep": True}, {}


_MODULES: dict[type[nn.Module], Callable[[Any], Made]] = {
    Normalize: _normalize,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.ReLU: lambda _: ("clip", {"low": 0.0, "high": None}, {}),
    nn.ReLU6: lambda _: ("clip", {"low": 0.0, "high": 6.0}, {}),
    nn.MaxPool2d: lambda module: _pool("max_pool", module),
    nn.AvgPool2d: lambda module: _pool("avg_pool", module),
    nn.AdaptiveAvgPool2d: _global,
    nn.Flatten: lambda _: ("flatten", {}, {}),
    nn.Linear: _float_linear,
}
"""What the layers of torch become; subclasses, ReLU6 of Hardtanh say, match as well."""

Function = Callable[[fx.Node], "tuple[str, dict[str, Any]] | None"]


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _mean(node: fx.Node) -> tuple[str, dict[str, Any]]:
    axes = _argument(node, 1, "dim", None)
    if sorted(axis % 4 for axis in (axes if isinstance(axes, tuple | list) else [])) != [2, 3]:
        raise ValueError(f"{node.name} is a mean over {axes}; only (2, 3) can be exported.")
    return "mean", {"keep": bool(_argument(node, 2, "keepdim", False))}


def _cat(node: fx.Node) -> tuple[str, dict[str, Any]]:
    if _argument(node, 1, "dim", 0) != 1:
        raise ValueError(f"{node.name} joins along another axis than channels (1).")
    return "cat", {}


def _flatten(node: fx.Node) -> tuple[str, dict[str, Any]]:
    if _argument(node, 1, "start_dim", 0) != 1:
        raise ValueError(f"{node.name} flattens the batch; start at axis 1.")
    return "flatten", {}


def _add(node: fx.Node) -> tuple[str, dict[str, Any]]:
    if len(node.all_input_nodes) != 2 or node.kwargs.get("alpha", 1) != 1:
        raise ValueError(f"{node.name} must add two different tensors.")
    return "add", {}


def _pool_function(kind: str) -> Function:
    def make(node: fx.Node) -> tuple[str, dict[str, Any]]:
        size = _argument(node, 1, "kernel_size", None)
        layer = nn.MaxPool2d if kind == "max_pool" else nn.AvgPool2d
        module = layer(size, _argument(node, 2, "stride", None), _argument(node, 3, "padding", 0))
        return _pool(kind, module)[:2]

    return make


def _relu(_: fx.Node) -> tuple[str, dict[str, Any]]:
    return "clip", {"low": 0.0, "high": None}


_FUNCTIONS: dict[Any, Function] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    torch.relu: _relu,
    functional.relu: _relu,
    functional.relu6: lambda _: ("clip", {"low": 0.0, "high": 6.0}),
    torch.cat: _cat,
    torch.flatten: _flatten,
    torch.mean: _mean,
    functional.max_pool2d: _pool_function("max_pool"),
    torch.max_pool2d: _pool_function("max_pool"),
    functional.avg_pool2d: _pool_function("avg_pool"),
    functional.dropout: lambda _: None,
}

_METHODS: dict[str, Function] = {
    "relu": _relu,
    "mean": _mean,
    "flatten": _flatten,
    "add": _add,
    "contiguous": lambda _: None,
}

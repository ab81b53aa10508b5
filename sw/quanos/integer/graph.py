"""A trained, quantized network as a list of operations with their numbers, batch norm folded.

`trace` follows the network with `torch.fx` and names what it cannot express. Exporters lower the
list to their formats; nothing here runs the network.

An operation has a name (that of its module where it has one), a kind, the names of its inputs,
attributes that JSON can hold, and arrays. Kinds, with `x` for the real values between operations:

    input       the image, (B, C, H, W) in [0, 1]
    affine      x * scale + offset                       scale, offset (C,), or (1,) for all
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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from quanos.integer.constants import Constants, affine, constant
from quanos.integer.kinds import FUNCTIONS, METHODS, MODULES, Array, real
from quanos.layers import QuantConv2d, QuantLayer, QuantLinear
from quanos.models import Normalize


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
    constants: dict[fx.Node, Tensor] = {}
    for node in nodes:
        if (value := constant(model, node)) is not None:
            constants[node] = value
            continue
        if node.op == "output":
            return _upto(operations, names, node)
        operation = _operation(node, modules, names, constants)
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
    node: fx.Node,
    modules: Mapping[str, nn.Module],
    names: Mapping[fx.Node, str],
    constants: Constants,
) -> Operation | str:
    """The operation of a node, or the name of its input where it is the identity."""
    inputs = tuple(names[n] for n in node.all_input_nodes if n not in constants)
    if node.op == "placeholder":
        return Operation("input", "input", ())
    if node.op == "call_module":
        return _of_module(str(node.target), modules[str(node.target)], inputs)
    if (arrays := affine(node, constants)) is not None:
        return Operation(node.name, "affine", inputs, {}, arrays)
    make = FUNCTIONS.get(node.target) or METHODS.get(str(node.target))
    if node.op in ("call_function", "call_method") and make:
        made = make(node)
        return inputs[0] if made is None else Operation(node.name, made[0], inputs, made[1])
    raise ValueError(
        f"{node.name} ({node.target}) cannot be exported as integers; there are convolutions, "
        "linear layers, batch norms, ReLU, ReLU6, pooling, means, sums, concatenations, "
        "flattening, and sums and products with constants."
    )


def _of_module(name: str, module: nn.Module, inputs: tuple[str, ...]) -> Operation | str:
    """The operation of a module that is called."""
    if isinstance(module, QuantConv2d | QuantLinear):
        return _multiplication(name, module, inputs)
    if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
        return inputs[0]
    for kind, make in MODULES.items():
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
    scale = np.broadcast_to(real(w_step).reshape(-1) * float(a_step), (outputs,)).copy()
    offset = np.zeros(outputs) if layer.bias is None else real(layer.bias)
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


def _folded(
    node: fx.Node,
    operation: Operation,
    operations: Mapping[str, Operation],
    names: Mapping[fx.Node, str],
) -> Operation | None:
    """An affine operation taken into the layer before it, if nobody else reads that layer."""
    if operation.kind != "affine":
        return None
    (source,) = (one for one in node.all_input_nodes if one in names)
    before = operations[names[source]]
    same = [n for n, name in names.items() if name == before.name]  # the layer, and what it took in
    readers = sum(user not in same for n in same for user in n.users)
    if before.kind not in ("conv", "linear", "affine") or readers > 1:
        return None
    scale, offset = operation.arrays["scale"], operation.arrays["offset"]
    arrays = dict(before.arrays)
    arrays["scale"] = arrays["scale"] * scale
    arrays["offset"] = arrays["offset"] * scale + offset
    return replace(before, arrays=arrays)

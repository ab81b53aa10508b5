"""What modules and functions of torch become among the operations of `quanos.integer.graph`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from quanos.models import Normalize

Array = NDArray[Any]
Made = tuple[str, dict[str, Any], dict[str, Array]]
"""Kind, attributes and arrays of an operation."""


def real(tensor: Tensor) -> Array:
    """The values, of any shape, as float64, off the graph of gradients."""
    return tensor.detach().double().numpy()


def _batch_norm(module: nn.BatchNorm2d | nn.BatchNorm1d) -> Made:
    if module.running_mean is None or module.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded.")
    scale = 1 / np.sqrt(real(module.running_var) + module.eps)
    offset = -real(module.running_mean) * scale
    if module.affine:
        gain = real(module.weight)
        scale, offset = scale * gain, offset * gain + real(module.bias)
    return "affine", {}, {"scale": scale, "offset": offset}


def _normalize(module: Normalize) -> Made:
    scale = 1 / real(module.std).reshape(-1)
    return "affine", {}, {"scale": scale, "offset": -real(module.mean).reshape(-1) * scale}


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


MODULES: dict[type[nn.Module], Callable[[Any], Made]] = {
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


def _global_function(node: fx.Node) -> tuple[str, dict[str, Any]]:
    return _global(nn.AdaptiveAvgPool2d(_argument(node, 1, "output_size", None)))[:2]


def _pool_function(kind: str) -> Function:
    def make(node: fx.Node) -> tuple[str, dict[str, Any]]:
        size = _argument(node, 1, "kernel_size", None)
        layer = nn.MaxPool2d if kind == "max_pool" else nn.AvgPool2d
        module = layer(size, _argument(node, 2, "stride", None), _argument(node, 3, "padding", 0))
        return _pool(kind, module)[:2]

    return make


def _relu(_: fx.Node) -> tuple[str, dict[str, Any]]:
    return "clip", {"low": 0.0, "high": None}


FUNCTIONS: dict[Any, Function] = {
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
    functional.adaptive_avg_pool2d: _global_function,
    functional.avg_pool2d: _pool_function("avg_pool"),
    functional.dropout: lambda _: None,
}

METHODS: dict[str, Function] = {
    "relu": _relu,
    "mean": _mean,
    "flatten": _flatten,
    "add": _add,
    "contiguous": lambda _: None,
}

"""Sums and products of an activation with constants, as a network's own normalisation has them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from quanos.integer.kinds import Array, real

Constants = Mapping[fx.Node, Tensor]

ADD, SUB, MUL, DIV = range(4)
KINDS: dict[Any, int] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add"), ADD),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub"), SUB),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul"), MUL),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, "div"), DIV),
}
"""Functions, and methods of tensors by their names."""

FIRST: dict[int, Callable[[Array], tuple[Any, Any]]] = {
    ADD: lambda c: (1.0, c),
    SUB: lambda c: (1.0, -c),
    MUL: lambda c: (c, 0.0),
    DIV: lambda c: (1 / c, 0.0),
}
"""Scale and offset where the activation comes first."""

SECOND = FIRST | {SUB: lambda c: (-1.0, c)}
"""The same where the constant comes first; dividing by an activation is no such sum."""


def constant(module: torch.nn.Module, node: fx.Node) -> Tensor | None:
    """The tensor, of any shape, that a node of the graph reads out of the network; else None."""
    if node.op != "get_attr":
        return None
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value if isinstance(value, Tensor) else None


def affine(node: fx.Node, constants: Constants) -> dict[str, Array] | None:
    """Scale and offset, (1,) or (C,), of an activation and a constant; None for other nodes."""
    kind = KINDS.get(node.target)
    if kind is None or len(node.args) != 2 or node.kwargs:
        return None
    first, second = (_values(one, constants) for one in node.args)
    if (first is None) == (second is None) or (kind == DIV and second is None):
        return None
    scale, offset = FIRST[kind](second) if second is not None else SECOND[kind](first)
    scale, offset = np.broadcast_arrays(np.atleast_1d(scale), np.atleast_1d(offset))
    return {"scale": scale.astype(float), "offset": offset.astype(float)}


def _values(operand: Any, constants: Constants) -> Array | None:
    """A number, or a tensor with a value for each channel, as an array (1,) or (C,)."""
    if isinstance(operand, int | float):
        return np.array([float(operand)])
    tensor = constants.get(operand) if isinstance(operand, fx.Node) else None
    if tensor is None:
        return None
    if tensor.numel() == 1:
        return real(tensor).reshape(1)
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4) or shape[-2:] != (1, 1) or (len(shape) == 4 and shape[0] != 1):
        raise ValueError(
            f"a constant of shape {shape} cannot be exported; give each channel one value, "
            "(C, 1, 1)."
        )
    return real(tensor).reshape(-1)

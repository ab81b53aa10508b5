"""Follows one forward pass through layers and functions alike, on any device, `meta` too.

What it learns by structure alone: the order of the layers, whether a layer's input can be negative,
which shortcut feeds which layer, and what multiplies outside of layers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from quanos.quantizers.quantizable import UNSUPPORTED, covered

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
CLOSED = (*LAYERS, *UNSUPPORTED)
"""What functions do inside of these is the layer's own business."""

MULTIPLYING = frozenset(
    {
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "bilinear"),
        *("conv_transpose3d", "linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv"),
        *("addmm", "addbmm", "baddbmm", "addmv", "einsum", "tensordot", "dot", "inner", "outer"),
        *("scaled_dot_product_attention", "multi_head_attention_forward"),
    }
)
NEVER_NEGATIVE = frozenset(
    {
        *("relu", "relu_", "relu6", "sigmoid", "sigmoid_", "hardsigmoid", "softmax", "softplus"),
        *("abs", "abs_", "square", "exp", "sqrt", "norm", "rand_like", "zeros_like", "ones_like"),
    }
)
# Not negative where what they are given is not.
KEEPING = frozenset(
    {
        *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "lp_pool2d"),
        *("flatten", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "expand"),
        *("contiguous", "clone", "detach", "to", "float", "type", "half", "bfloat16", "double"),
        *("cat", "concat", "concatenate", "stack", "chunk", "split", "__getitem__", "roll", "flip"),
        *("add", "add_", "__add__", "__radd__", "__iadd__", "mul", "mul_", "__mul__", "__rmul__"),
        *("__imul__", "mean", "sum", "amax", "max", "maximum", "minimum", "dropout", "dropout2d"),
        *("interpolate", "pad", "pixel_shuffle", "channel_shuffle", "view_as", "truediv", "div"),
        *("__truediv__", "alpha_dropout2d", "upsample", "repeat", "movedim"),
    }
)
ADDING = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
CLIPPING = frozenset({"hardtanh", "hardtanh_", "clamp", "clamp_", "clip", "clamp_min"})


@dataclass(frozen=True)
class _Tag:
    """What is known of a tensor: its sign, how many layers lie before it, whose output it is."""

    negative: bool = False
    depth: int = 0
    sources: frozenset[str] = frozenset()


IMAGE = _Tag()
UNKNOWN = _Tag(negative=True)
"""Parameters, buffers, and what functions of others give."""


@dataclass
class Trace:
    """What one forward pass told; layers in the order of their first run.

    `signed`: whether a layer's input can be negative; an image in [0, 1] cannot. `outside`: what
    multiplies without being a layer: function, module, parameters used.
    """

    signed: dict[str, bool] = field(default_factory=dict)
    outside: list[tuple[str, str, frozenset[str]]] = field(default_factory=list)
    _met: dict[str, str] = field(default_factory=dict)
    _consumed: set[str] = field(default_factory=set)

    @property
    def order(self) -> list[str]:
        """The layers in forward order."""
        return list(self.signed)

    def outside_of(self, kept: Collection[str]) -> list[str]:
        """Functions that multiply outside of layers, and neither in nor with what is in `kept`."""
        found = [
            f"{name} in the code of {place or 'the model'}"
            for name, place, used in self.outside
            if not covered(place, kept) and not used & set(kept)
        ]
        return list(dict.fromkeys(found))

    @property
    def feeds(self) -> dict[str, str]:
        """Shortcut layer -> the layer to whose output its own is added, and on to nowhere else.

        Of two layers whose outputs meet in an addition, the shortcut has fewer layers before it.
        """
        return {name: to for name, to in self._met.items() if name not in self._consumed}


@contextmanager
def tracing(model: nn.Module) -> Iterator[Trace]:
    """Inside, forward passes of `model` fill the trace; its input counts as an image in [0, 1]."""
    trace = Trace()
    follower = _Follower(trace, {id(p): name for name, p in model.named_parameters()})
    hooks: list[Any] = []
    for name, module in model.named_modules():
        hooks.append(
            module.register_forward_pre_hook(
                lambda m, args, name=name: follower.enter(name, m, args)
            )
        )
        hooks.append(
            module.register_forward_hook(
                lambda m, args, out, name=name: follower.leave(name, m, args, out)
            )
        )
    try:
        with follower:
            yield trace
    finally:
        for hook in hooks:
            hook.remove()


class _Follower(TorchFunctionMode):
    """Gives every tensor of a forward pass its tag."""

    def __init__(self, trace: Trace, parameters: dict[int, str]) -> None:
        super().__init__()
        self.trace = trace
        self.parameters = parameters
        self.stack: list[str] = []
        self.layer = 0

    def enter(self, name: str, module: nn.Module, args: Any) -> None:
        if not name:
            _mark(args, IMAGE)
        self.stack.append(name)
        if isinstance(module, LAYERS):
            tag = _joined(args)
            self.trace.signed[name] = self.trace.signed.get(name, False) or tag.negative
            self.trace._consumed |= tag.sources
        self.layer += isinstance(module, CLOSED)

    def leave(self, name: str, module: nn.Module, args: Any, out: Any) -> None:
        self.stack.pop()
        self.layer -= isinstance(module, CLOSED)
        if isinstance(module, LAYERS):
            _mark(out, _Tag(True, _joined(args).depth + 1, frozenset({name})))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        tag = None if self.layer else self._result(name, args, kwargs)
        out = func(*args, **kwargs)
        if tag is not None:
            _mark(out, tag)
        return out

    def _result(self, name: str, args: Any, kwargs: dict[str, Any]) -> _Tag:
        """The tag of what function `name` gives."""
        if name in MULTIPLYING:
            place = self.stack[-1] if self.stack else ""
            used = frozenset(self.parameters.get(id(leaf), "") for leaf in tree_leaves(args))
            self.trace.outside.append((name, place, used - {""}))
        tag = _joined((args, kwargs))
        sources = tag.sources
        if name in ADDING:
            self._meet([_tag(leaf) for leaf in tree_leaves(args) if isinstance(leaf, Tensor)])
            sources = frozenset()
        return _Tag(_can_be_negative(name, args, kwargs, tag.negative), tag.depth, sources)

    def _meet(self, tags: list[_Tag]) -> None:
        if len(tags) == 2 and all(len(tag.sources) == 1 for tag in tags):
            short, long = sorted(tags, key=lambda tag: tag.depth)
            if short.depth < long.depth:
                self.trace._met[next(iter(short.sources))] = next(iter(long.sources))


def _can_be_negative(name: str, args: Any, kwargs: dict[str, Any], negative: bool) -> bool:
    if name in NEVER_NEGATIVE:
        return False
    if name in CLIPPING:
        low = kwargs.get("min_val", kwargs.get("min", args[1] if len(args) > 1 else None))
        return negative and not (isinstance(low, int | float) and low >= 0)
    numbers = [n for n in tree_leaves((args, kwargs)) if isinstance(n, int | float)]
    if name == "pad" and (kwargs.get("value") or 0) < 0:
        return True
    if name in ADDING or "mul" in name or "div" in name:
        return negative or any(number < 0 for number in numbers)
    return negative or name not in KEEPING


def _joined(values: Any) -> _Tag:
    """What is known of several tensors together."""
    tags = [_tag(leaf) for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return _Tag(
        any(tag.negative for tag in tags),
        max((tag.depth for tag in tags), default=0),
        frozenset[str]().union(*(tag.sources for tag in tags)),
    )


def _tag(tensor: Tensor) -> _Tag:
    tag: _Tag = getattr(tensor, "quanos_tag", UNKNOWN)
    return tag


def _mark(values: Any, tag: _Tag) -> None:
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            leaf.quanos_tag = tag  # type: ignore[attr-defined]


def trace(model: nn.Module, images: Tensor) -> Trace:
    """What a forward pass of `images` (B, C, H, W) tells; the model stays as it is."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), tracing(model) as told:
            model(images)
    finally:
        for module, mode in modes:
            module.training = mode
    return told

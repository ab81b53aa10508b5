"""Where a layer's activation is in a forward pass: after its activation function, whatever stands
between, and in the reach of whoever measures or changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from quanos.layers import quantized_layers

ACTIVATION_FUNCTIONS = frozenset(
    {
        *(functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
        *(functional.relu6, functional.hardtanh, functional.leaky_relu, functional.silu),
        *(functional.gelu, functional.hardswish, functional.elu, torch.sigmoid, torch.tanh),
    }
)

Record = Callable[[str, Tensor], Tensor | None]


@contextmanager
def watching(model: nn.Module, record: Record) -> Iterator[None]:
    """Inside, `record(name, activation)` is called for every quantized layer of a forward pass.

    A layer's activation is what the first activation function makes of its output, whatever stands
    between (batch norm, a residual sum); where none comes before the next quantized layer or the
    end, it is that layer's input or the layer's own output. A tensor that `record` returns takes
    the activation's place in the forward pass.
    """
    layers = quantized_layers(model)
    flow = _Flow(record)
    hooks = []
    for name, layer in layers.items():
        hooks.append(layer.register_forward_pre_hook(lambda _, inputs: tuple(flow.settle(inputs))))
        hooks.append(
            layer.register_forward_hook(lambda _, __, out, name=name: flow.mark(name, out))
        )
    hooks.append(model.register_forward_hook(lambda _, __, out: flow.settle([out])[0]))
    try:
        with flow:
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _Flow(TorchFunctionMode):
    """Follows each layer's output through the operations after it, functional ones included."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    def mark(self, name: str, output: Tensor) -> None:
        """From here on, `output` and what is made of it wait for `name`'s activation function."""
        output.waiting = frozenset({name})  # type: ignore[attr-defined]

    def settle(self, values: Iterable[Any]) -> list[Any]:
        """These values are the activations that their layers were waiting for; what replaces them.

        A value of something else than a tensor passes.
        """
        return [self._settled(value) for value in values]

    def _settled(self, value: Any) -> Any:
        for name in sorted(_waiting(value)):
            other = self.record(name, value)
            value = value if other is None else other
        if isinstance(value, Tensor):
            value.waiting = frozenset()  # type: ignore[attr-defined]
        return value

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        waiting = frozenset[str]().union(*(_waiting(leaf) for leaf in tree_leaves((args, kwargs))))
        if waiting:
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    leaf.waiting = waiting  # type: ignore[attr-defined]
            if func in ACTIVATION_FUNCTIONS:
                return self._settled(out)
        return out


def _waiting(value: Any) -> frozenset[str]:
    """The layers whose activation function has not come yet on the way to this value."""
    return getattr(value, "waiting", frozenset()) if isinstance(value, Tensor) else frozenset()

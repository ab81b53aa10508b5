"""What a forward pass asks of each layer: MACs, inputs, weights, and whether inputs have a sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quanos.integer.tracing import Trace, tracing
from quanos.quantizers.switches import unquantized


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """What one forward pass of one image asks of a layer.

    `inputs` is N^2 I, `weights` I O k^2 / groups (bias aside), `macs` M^2 I k^2 O / groups; a layer
    that runs several times has the sums. `output` is its output's shape without the batch;
    `signed` says whether its input can be negative.
    """

    name: str
    inputs: int
    weights: int
    macs: int
    output: tuple[int, ...]
    runs: int = 1
    signed: bool = False

    @property
    def accesses(self) -> int:
        """N_A: each input and each weight is fetched once a run."""
        return self.inputs + self.weights * self.runs


def layer_shapes(model: nn.Module, input_shape: Sequence[int]) -> tuple[LayerShape, ...]:
    """The counted layers of `model` in forward order, traced with one blank image (C, H, W).

    Counted are Conv1d, Conv2d, Conv3d and Linear, subclasses too; the classifier is not. Whether an
    input can be negative follows from the functions before it; images in [0, 1] cannot. The model
    stays as it is. Raises ValueError where the model cannot take such an image or has no layers.
    """
    seen: dict[str, LayerShape] = {}
    last = ""

    def record(name: str, layer: nn.Module, output: Tensor, source: Tensor) -> None:
        nonlocal last
        last = name
        seen[name] = _add_run(seen.get(name), name, layer, source, output)

    with _traced(model, record) as told:
        try:
            model(_blank(model, input_shape))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            shape = " x ".join(map(str, input_shape))
            raise ValueError(f"the model cannot take an image of {shape}: {reason}") from None
    if last and isinstance(model.get_submodule(last), nn.Linear):
        del seen[last]
    if not seen:
        raise ValueError("the model has no convolution and no hidden Linear; nothing to count.")
    return tuple(replace(shape, signed=told.signed[name]) for name, shape in seen.items())


def _add_run(
    before: LayerShape | None, name: str, layer: nn.Module, source: Tensor, output: Tensor
) -> LayerShape:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    weights = weight.numel()
    # Each output value takes k^2 I / groups MACs: as many as one output channel has weights.
    macs = output[0].numel() * (weights // weight.shape[0])
    return LayerShape(
        name=name,
        inputs=source[0].numel() + (before.inputs if before else 0),
        weights=weights,
        macs=macs + (before.macs if before else 0),
        output=tuple(output.shape[1:]),
        runs=1 + (before.runs if before else 0),
    )


@contextmanager
def _traced(model: nn.Module, record: Callable[..., None]) -> Iterator[Trace]:
    """Inside, `record(name, layer, output, source)` sees every counted layer; evaluation mode."""
    training = {module: module.training for module in model.modules()}
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    hooks = [
        layer.register_forward_hook(
            lambda layer, args, output, name=name: record(name, layer, output, args[0])
        )
        for name, layer in model.named_modules()
        if isinstance(layer, kinds)
    ]
    model.eval()
    try:
        # Blank images must not start a quantizer's statistics.
        with torch.no_grad(), unquantized(model), tracing(model) as told:
            yield told
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode


def _blank(model: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """One image of zeros where the model's parameters are, and of their type."""
    parameter = next(model.parameters(), torch.empty(0))
    return torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)

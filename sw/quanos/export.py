"""A trained network's integers as files, and the proof that they are the trainer's.

integers.safetensors   the program that hardware runs (`quanos.integer.program`)
network.onnx           the same network as QONNX (`quanos.integer.qonnx`)
layers/NN-NAME.npz     operands of real images for a layer's matrix products, in forward order:
                       `a` (groups, M, K), `w` (groups, K, N) and their `sums` (groups, M, N),
                       `bits` of both operands, `a_signed`
layers/head.npz        what follows the last of them, where that is ReLU, the mean over pixels and a
                       classifier in floating point: `scale` and `offset` (N,) of its sums, `weight`
                       and `bias` of the classifier, the trainer's `logits` (images, classes)
export.json            what was written, and how far trainer and integers agree
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quanos.integer.graph import Operation
from quanos.integer.interpreter import Integers, columns, interpret, weight_matrices
from quanos.integer.program import Program
from quanos.layers import quantized_layers
from quanos.storage.files import writing

BATCH = 100


@dataclass(frozen=True, kw_only=True)
class LayerAgreement:
    """Activation codes of a layer: how many were compared, how many differ, by how much at most."""

    name: str
    bits: int
    codes: int
    different: int
    largest: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The interpreter against the trainer's fake-quantized network on the same images."""

    images: int
    same_class: int
    largest_logit_error: float
    layers: tuple[LayerAgreement, ...]

    @property
    def exact(self) -> bool:
        """Whether every activation code of every layer is equal."""
        return not any(layer.different for layer in self.layers)


def compare(model: nn.Module, program: Program, images: Tensor) -> Agreement:
    """Run trainer and interpreter on images (N, C, H, W) and count where they differ.

    The trainer computes in float32: its sums of 16-bit products round, so that a value which falls
    next to the border between two codes may get the other one. Such codes are counted, not hidden.
    """
    counts: dict[str, NDArray[np.int64]] = {}
    same, worst = 0, 0.0
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        with watched(model) as seen, torch.no_grad():
            expected = model(part).numpy()
        logits = interpret(program, part.numpy(), lambda o, a, _: _count(counts, o, a, seen))
        same += int((logits.argmax(1) == expected.argmax(1)).sum())
        worst = max(worst, float(np.abs(logits - expected).max()))
    layers = tuple(
        LayerAgreement(
            name=layer.name, bits=layer.attributes["bits"],
            codes=int(counts[layer.name][0]), different=int(counts[layer.name][1]),
            largest=int(counts[layer.name][2]),
        )
        for layer in program.layers
    )  # fmt: skip
    return Agreement(images=len(images), same_class=same, largest_logit_error=worst, layers=layers)


def _count(
    counts: dict[str, NDArray[np.int64]], operation: Operation, codes: Integers, seen: Any
) -> None:
    calls = seen[operation.name.partition("#")[0]]
    apart = np.abs(codes - calls.pop(0))
    row = counts.setdefault(operation.name, np.zeros(3, np.int64))
    row[:2] += apart.size, np.count_nonzero(apart)
    row[2] = max(row[2], apart.max(initial=0))


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, list[Integers]]]:
    """Inside, every forward pass notes each layer's activation codes, call by call.

    Codes are int64 in the shape of the layer's input, (B, I, H, W) or (B, I).
    """
    seen: dict[str, list[Integers]] = {name: [] for name in quantized_layers(model)}

    def hook(name: str) -> Any:
        def note(layer: Any, inputs: tuple[Tensor, ...]) -> None:
            seen[name].append(layer.a_quantizer.codes(inputs[0]).numpy().astype(np.int64))

        return note

    handles = [
        layer.register_forward_pre_hook(hook(name))
        for name, layer in quantized_layers(model).items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def write_operands(program: Program, images: NDArray[Any], folder: Path) -> list[Path]:
    """Write the operands of every layer for `images` (N, C, H, W); returns the files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []

    def write(operation: Operation, codes: Integers, sums: Integers) -> None:
        a, w = columns(operation, codes), weight_matrices(operation)
        path = folder / f"{len(files):02}-{operation.name}.npz"
        arrays = {
            "a": _narrow(a), "w": _narrow(w), "sums": _narrow(_as_product(sums, len(w))),
            "bits": np.int64(operation.attributes["bits"]),
            "a_signed": np.int64(operation.attributes["low"] < 0), "images": np.int64(len(images)),
        }  # fmt: skip
        _written(path, **arrays)
        files.append(path)

    interpret(program, images, write)
    return files


def _narrow(values: Integers) -> NDArray[Any]:
    """The values in the smallest type that holds them: files compress better."""
    low, high = values.min(initial=0), values.max(initial=0)
    types = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64)
    fits = (t for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(next(fits))


def write_head(program: Program, model: nn.Module, images: Tensor, path: Path) -> bool:
    """Write what follows the last layer, and the trainer's logits of `images` (N, C, H, W).

    Returns whether the network ends as the file's form has it; nothing is written otherwise.
    """
    at = program.operations.index(program.layers[-1])
    layer, *rest = program.operations[at:]
    relu = {"low": 0, "high": None}
    if [o.kind for o in rest] != ["clip", "mean", "float"] or rest[0].attributes != relu:
        return False
    with torch.no_grad():
        logits = model(images).numpy()
    arrays, one = layer.arrays, 2.0**-program.fraction
    _written(
        path,
        scale=arrays["out_mantissa"] * one * 2.0 ** -arrays["out_shift"],
        offset=arrays["offset"] * one,
        weight=rest[2].arrays["weight"], bias=rest[2].arrays["bias"], logits=logits,
    )  # fmt: skip
    return True


def _written(path: Path, **arrays: Any) -> None:
    """Write a `.npz` beside `path`, then rename."""
    with writing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _as_product(sums: Integers, groups: int) -> Integers:
    """Sums (B, O, H, W) or (B, O) as the matrices (groups, M, N) that products give."""
    if sums.ndim == 2:
        return sums[None]
    batch, outputs, height, width = sums.shape
    split = sums.reshape(batch, groups, outputs // groups, height, width)
    return split.transpose(1, 0, 3, 4, 2).reshape(groups, batch * height * width, -1)


def describe(program: Program, agreement: Agreement | None) -> dict[str, Any]:
    """What export.json holds: layers with shapes and sizes, and the agreement where it was checked.

    `sum_bits` is the width of a layer's largest possible sum, sign included.
    """
    layers = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "bits": layer.attributes["bits"],
            "a_signed": layer.attributes["low"] < 0,
            "weights": int(layer.arrays["codes"].size),
            "shape": list(layer.arrays["codes"].shape),
            "sum_bits": _sum_bits(layer),
        }
        for layer in program.layers
    ]
    found = asdict(agreement) | {"exact": agreement.exact} if agreement else None
    return {
        "fraction": program.fraction,
        "input_shape": list(program.input_shape),
        "layers": layers,
        "agreement": found,
    }


def _sum_bits(layer: Operation) -> int:
    weights = np.abs(layer.arrays["codes"].astype(np.int64))
    most = int(weights.reshape(len(weights), -1).sum(1).max()) * int(layer.attributes["top"])
    return most.bit_length() + 1

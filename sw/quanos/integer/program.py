"""A network in integers alone: the form that hardware runs, and its file.

Between layers a value is a fixed-point number, a whole multiple of 2**-`fraction`. A layer that
multiplies quantizes it to codes of its own precision, sums products of codes, and brings the sums
back to fixed point; both steps are `quanos.integer.requantize.rescale`, a multiplication by a
32-bit mantissa and a right shift with ties to even. The classifier that the trainer leaves in
floating point stays so.

The file is safetensors (no pickle): every array is `operation/array`, and the metadata's key
`quanos` holds {schema, fraction, input_shape, operations: [{name, kind, inputs, attributes}]}.
Arrays of `conv` and `linear`: `codes`; `in_mantissa`, `in_shift` (fixed point to activation codes);
`out_mantissa`, `out_shift`, `offset` per output channel (sums to fixed point).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from quanos.integer.graph import Operation
from quanos.integer.requantize import MANTISSA, MAX_SHIFT, multiplier
from quanos.storage import files

SCHEMA = "quanos.integers/1"
FRACTION = 28
"""Fraction bits of fixed-point values: below the rounding error of the trainer's float32."""

MULTIPLIERS = {
    "conv": (("in_mantissa", "in_shift"), ("out_mantissa", "out_shift")),
    "linear": (("in_mantissa", "in_shift"), ("out_mantissa", "out_shift")),
    "affine": (("mantissa", "shift"),),
    "mean": (),
    "avg_pool": (),
}
"""Pairs of arrays, by kind, that are mantissas and their shifts."""

ARRAYS: dict[str, tuple[str, ...]] = {
    "conv": ("codes", "in_mantissa", "in_shift", "out_mantissa", "out_shift", "offset"),
    "linear": ("codes", "in_mantissa", "in_shift", "out_mantissa", "out_shift", "offset"),
    "affine": ("mantissa", "shift", "offset"),
    "float": ("weight", "bias"),
    **dict.fromkeys(("input", "clip", "max_pool", "avg_pool", "mean", "add", "cat", "flatten"), ()),
}
_CODES = ("bits", "a_step", "w_step", "low", "top", "binary")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "conv": (*_CODES, "stride", "padding", "dilation", "groups"),
    "linear": _CODES,
    "clip": ("low", "high"),
    "max_pool": ("kernel", "stride", "padding"),
    "avg_pool": ("kernel", "stride", "padding"),
    "mean": ("keep",),
    **dict.fromkeys(("input", "affine", "add", "cat", "flatten", "float"), ()),
}


class ExportError(ValueError):
    """A file of integers that is damaged, foreign or inconsistent."""


@dataclass(frozen=True)
class Program:
    """Operations in order, the last one the output; images (C, H, W) in [0, 1] go in."""

    operations: tuple[Operation, ...]
    input_shape: tuple[int, int, int]
    fraction: int = FRACTION

    @property
    def layers(self) -> list[Operation]:
        """The operations whose MACs run on the hardware."""
        return [o for o in self.operations if o.kind in ("conv", "linear")]


def lower(
    operations: Sequence[Operation], input_shape: Sequence[int], fraction: int = FRACTION
) -> Program:
    """The integer form of a traced network. Raises ValueError for scales that have none."""
    channels, height, width = input_shape
    for operation in operations[:-1]:
        if operation.kind == "float":
            raise ValueError(
                f"{operation.name} stays in floating point before the last layer; quantize it too."
            )
    lowered = tuple(_lower(operation, fraction) for operation in operations)
    return Program(lowered, (channels, height, width), fraction)


def _lower(operation: Operation, fraction: int) -> Operation:
    one, arrays = 2.0**fraction, operation.arrays
    attributes = dict(operation.attributes)
    if operation.kind in ("conv", "linear"):
        new = {"codes": _narrow(arrays["codes"], attributes["bits"])}
        new |= _pair("in_", 1 / (attributes["a_step"] * one))
        new |= _pair("out_", arrays["scale"] * one) | {"offset": _fixed(arrays["offset"], one)}
    elif operation.kind == "affine":
        new = _pair("", arrays["scale"]) | {"offset": _fixed(arrays["offset"], one)}
    elif operation.kind == "clip":
        new = {}
        for side in ("low", "high"):
            limit = attributes[side]
            attributes[side] = None if limit is None else round(limit * one)
    else:
        new = dict(arrays)
    return Operation(operation.name, operation.kind, operation.inputs, attributes, new)


def _pair(prefix: str, scale: Any) -> dict[str, NDArray[Any]]:
    mantissa, shift = multiplier(scale)
    return {f"{prefix}mantissa": mantissa, f"{prefix}shift": shift}


def _fixed(values: NDArray[Any], one: float) -> NDArray[np.int64]:
    return np.rint(values * one).astype(np.int64)


def _narrow(codes: NDArray[Any], bits: int) -> NDArray[Any]:
    """Codes in the smallest type that holds them, as the file has them."""
    return codes.astype(np.int8 if bits <= 8 else np.int16)


def save(path: Path, program: Program, about: Mapping[str, Any] | None = None) -> None:
    """Write the program beside `path`, then rename; `about` is kept in the metadata."""
    head = {
        "schema": SCHEMA,
        "fraction": program.fraction,
        "input_shape": list(program.input_shape),
        "operations": [
            {"name": o.name, "kind": o.kind, "inputs": o.inputs, "attributes": dict(o.attributes)}
            for o in program.operations
        ],
        "about": dict(about or {}),
    }
    arrays = {
        f"{o.name}/{name}": np.ascontiguousarray(array)
        for o in program.operations
        for name, array in o.arrays.items()
    }
    files.write_bytes(path, to_bytes(arrays, metadata={"quanos": json.dumps(head)}))


def load(path: Path) -> Program:
    """The program of a file.

    Raises ExportError for a file that is missing, truncated or foreign, and for one whose
    operations, codes or scales cannot be: it says which.
    """
    try:
        with safe_open(path, framework="np") as file:
            head = json.loads((file.metadata() or {}).get("quanos", "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ExportError(
            f"{path} is missing or damaged ({error}); write it anew with quanos export."
        ) from None
    if not isinstance(head, dict) or head.get("schema") != SCHEMA:
        raise ExportError(f"{path} is no export of this version ({SCHEMA}).")
    try:
        return _program(head, arrays)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ExportError(f"{path} is not consistent: {reason.rstrip('.')}.") from None


def _program(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Program:
    operations: list[Operation] = []
    for entry in head["operations"]:
        kind, name = entry["kind"], entry["name"]
        if kind not in ARRAYS:
            raise ValueError(f"{name} is of the unknown kind {kind!r}")
        own = {key: arrays[f"{name}/{key}"] for key in ARRAYS[kind]}
        attributes = {key: entry["attributes"][key] for key in ATTRIBUTES[kind]}
        operation = Operation(name, kind, tuple(entry["inputs"]), attributes, own)
        _check(operation, {o.name for o in operations})
        operations.append(operation)
    if not operations or operations[0].kind != "input":
        raise ValueError("it does not begin with its input")
    channels, height, width = (int(size) for size in head["input_shape"])
    return Program(tuple(operations), (channels, height, width), int(head["fraction"]))


def _check(operation: Operation, before: set[str]) -> None:
    """ValueError for inputs, codes or scales that cannot be."""
    name, arrays, attributes = operation.name, operation.arrays, operation.attributes
    if unknown := [i for i in operation.inputs if i not in before]:
        raise ValueError(f"{name} reads {unknown[0]}, which does not come before it")
    for mantissa, shift in MULTIPLIERS.get(operation.kind, ()):
        m, s = np.abs(arrays[mantissa]), arrays[shift]
        whole = (m >= 1 << (MANTISSA - 1)) & (m < 1 << MANTISSA)
        if not ((whole | (m == 0)) & (s >= 0) & (s <= MAX_SHIFT)).all():
            raise ValueError(
                f"{name} has a scale whose mantissa is not 0 or from 2**{MANTISSA - 1} to "
                f"2**{MANTISSA} - 1, or whose shift is not 0 to {MAX_SHIFT}"
            )
    if operation.kind in ("conv", "linear"):
        _check_layer(name, attributes, arrays)


def _check_layer(
    name: str, attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    bits, codes = attributes["bits"], arrays["codes"]
    if not isinstance(bits, int) or not 1 <= bits <= 16:
        raise ValueError(f"{name} has {bits} bits, not 1 to 16")
    top = max((1 << bits - 1) - 1, 1)
    if codes.dtype.kind != "i" or (np.abs(codes.astype(np.int64)) > top).any():
        raise ValueError(f"{name} has weight codes outside -{top} to {top}, the {bits}-bit range")
    if bits == 1 and (codes == 0).any():
        raise ValueError(f"{name} has a one-bit weight that is neither -1 nor +1")
    for key in ("out_mantissa", "out_shift", "offset"):
        if arrays[key].shape != codes.shape[:1]:
            raise ValueError(f"{name} has {arrays[key].size} {key} for {len(codes)} channels")

"""Runs a network's integers in NumPy: the reference that hardware is held against.

Sums of products are exact: they are computed by floating-point matrix products (BLAS) of integers
that stay below 2**53, and refused where they would not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from quanos.integer.graph import Operation
from quanos.integer.program import Program
from quanos.integer.requantize import multiplier, rescale

Integers = NDArray[np.int64]
Watch = Callable[[Operation, Integers, Integers], None]
"""Called for every layer with its operation, activation codes and sums of products."""


def interpret(
    program: Program, images: NDArray[Any], watch: Watch | None = None
) -> NDArray[np.float32]:
    """Logits (B, classes) of images (B, C, H, W) in [0, 1].

    `watch` sees every layer's activation codes, in the shape of its input, and its sums
    (B, O, H', W') or (B, O). Raises ValueError for images of another shape.
    """
    if images.ndim != 4 or images.shape[1:] != program.input_shape:
        raise ValueError(
            f"images must have shape (B, {', '.join(map(str, program.input_shape))}), "
            f"not {images.shape}."
        )
    values: dict[str, Any] = {}
    left = {name: sum(name in o.inputs for o in program.operations) for name in _names(program)}
    for operation in program.operations:
        inputs = [values[name] for name in operation.inputs]
        if operation.kind == "input":
            inputs = [np.rint(images.astype(np.float64) * 2.0**program.fraction).astype(np.int64)]
        values[operation.name] = _KINDS[operation.kind](operation, inputs, program, watch)
        for name in operation.inputs:  # what nobody reads any more is let go
            left[name] -= 1
            if not left[name]:
                values.pop(name, None)
    out = values[program.operations[-1].name]
    real = out if out.dtype.kind == "f" else out / 2.0**program.fraction
    return np.asarray(real, dtype=np.float32)


def _names(program: Program) -> list[str]:
    return [operation.name for operation in program.operations]


def activation_codes(operation: Operation, values: Integers) -> Integers:
    """Codes of a layer's fixed-point input, in its shape."""
    attributes, arrays = operation.attributes, operation.arrays
    if attributes["binary"]:
        return np.where(values < 0, -1, 1)
    codes = rescale(values, arrays["in_mantissa"], arrays["in_shift"])
    return np.clip(codes, attributes["low"], attributes["top"])


def columns(operation: Operation, codes: Integers) -> Integers:
    """Activation codes as the matrices of a layer's products: (groups, M, K).

    M counts output pixels, image by image and row by row; K goes over input channels of the group,
    then the kernel's rows and columns, as the weights' codes (O, I / groups, kh, kw) do.
    """
    if operation.kind == "linear":
        return codes.reshape(1, -1, codes.shape[-1])
    attributes = operation.attributes
    top, bottom, left, right = attributes["padding"]
    around = ((0, 0), (0, 0), (top, bottom), (left, right))
    # Zero has a code of its own but where there are -1 and 1 alone (decision 0005).
    padded = np.pad(codes, around, constant_values=int(attributes["binary"]))
    kernel = operation.arrays["codes"].shape[2:]
    (dy, dx), (sy, sx) = attributes["dilation"], attributes["stride"]
    span = (dy * (kernel[0] - 1) + 1, dx * (kernel[1] - 1) + 1)
    windows = sliding_window_view(padded, span, axis=(2, 3))[:, :, ::sy, ::sx, ::dy, ::dx]
    batch, channels, height, width = windows.shape[:4]
    groups = attributes["groups"]
    split = windows.reshape(batch, groups, channels // groups, height, width, *kernel)
    return split.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, batch * height * width, -1)


def weight_matrices(operation: Operation) -> Integers:
    """Weight codes as the matrices of a layer's products: (groups, K, N)."""
    codes = operation.arrays["codes"].astype(np.int64)
    groups = operation.attributes.get("groups", 1)
    return codes.reshape(groups, len(codes) // groups, -1).swapaxes(1, 2)


def sums_of_products(operation: Operation, codes: Integers) -> Integers:
    """The exact sums of a layer, (B, O, H', W') or (B, O), from its activation codes.

    Raises ValueError where a sum may exceed what a double holds exactly.
    """
    a, w = columns(operation, codes), weight_matrices(operation)
    most = a.shape[2] * max(int(np.abs(a).max(initial=0)), 1) * max(int(np.abs(w).max()), 1)
    if most >= 2**53:
        raise ValueError(f"{operation.name} has sums that may exceed 2**53 (up to {most}).")
    product = np.matmul(a.astype(np.float64), w.astype(np.float64)).astype(np.int64)
    if operation.kind == "linear":
        return np.asarray(product[0].reshape(*codes.shape[:-1], -1))
    groups, _, outputs = product.shape
    height, width = output_plane(operation, codes.shape[2:])
    shaped = product.reshape(groups, -1, height, width, outputs)
    plane = (groups * outputs, height, width)
    return np.asarray(shaped.transpose(1, 0, 4, 2, 3).reshape(-1, *plane))


def output_plane(operation: Operation, plane: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a convolution's output for an input plane."""
    attributes, kernel = operation.attributes, operation.arrays["codes"].shape[2:]
    pads = attributes["padding"]
    size = [
        (plane[i] + pads[2 * i] + pads[2 * i + 1] - attributes["dilation"][i] * (kernel[i] - 1) - 1)
        // attributes["stride"][i]
        + 1
        for i in range(2)
    ]
    return size[0], size[1]


def _layer(
    operation: Operation, inputs: list[Integers], program: Program, watch: Watch | None
) -> Integers:
    codes = activation_codes(operation, inputs[0])
    sums = sums_of_products(operation, codes)
    if watch:
        watch(operation, codes, sums)
    arrays = operation.arrays
    mantissa, shift, offset = (
        _along_channels(arrays[key], sums) for key in ("out_mantissa", "out_shift", "offset")
    )
    return np.asarray(rescale(sums, mantissa, shift) + offset)


def _along_channels(values: NDArray[Any], like: Integers) -> NDArray[Any]:
    return values.reshape(-1, *(1,) * (like.ndim - 2)) if like.ndim == 4 else values


def _affine(
    operation: Operation, inputs: list[Integers], program: Program, watch: Watch | None
) -> Integers:
    mantissa, shift, offset = (
        _along_channels(operation.arrays[key], inputs[0]) for key in ("mantissa", "shift", "offset")
    )
    return np.asarray(rescale(inputs[0], mantissa, shift) + offset)


def _clip(operation: Operation, inputs: list[Integers], *_: Any) -> Integers:
    low, high = operation.attributes["low"], operation.attributes["high"]
    return np.clip(inputs[0], low, high)


def _windows(operation: Operation, values: Integers, fill: int) -> Integers:
    attributes = operation.attributes
    (py, px), (sy, sx) = attributes["padding"], attributes["stride"]
    padded = np.pad(values, ((0, 0), (0, 0), (py, py), (px, px)), constant_values=fill)
    return sliding_window_view(padded, tuple(attributes["kernel"]), axis=(2, 3))[:, :, ::sy, ::sx]


def _max_pool(operation: Operation, inputs: list[Integers], *_: Any) -> Integers:
    lowest = int(np.iinfo(np.int64).min)
    return np.asarray(_windows(operation, inputs[0], lowest).max((4, 5)))


def _avg_pool(operation: Operation, inputs: list[Integers], *_: Any) -> Integers:
    windows = _windows(operation, inputs[0], 0)
    return _mean_of(windows.sum((4, 5)), windows.shape[4] * windows.shape[5])


def _mean(operation: Operation, inputs: list[Integers], *_: Any) -> Integers:
    values = inputs[0]
    total = values.sum((2, 3), keepdims=operation.attributes["keep"])
    return _mean_of(total, values.shape[2] * values.shape[3])


def _mean_of(total: Integers, count: int) -> Integers:
    return rescale(total, *multiplier(1 / count))


def _float(operation: Operation, inputs: list[Integers], program: Program, *_: Any) -> NDArray[Any]:
    features = (inputs[0] / 2.0**program.fraction).astype(np.float32)
    weight, bias = operation.arrays["weight"], operation.arrays["bias"]
    return np.asarray(features @ weight.T + bias)


_KINDS: dict[str, Callable[..., Any]] = {
    "input": lambda operation, inputs, *_: inputs[0],
    "affine": _affine,
    "conv": _layer,
    "linear": _layer,
    "clip": _clip,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "mean": _mean,
    "add": lambda operation, inputs, *_: inputs[0] + inputs[1],
    "cat": lambda operation, inputs, *_: np.concatenate(inputs, axis=1),
    "flatten": lambda operation, inputs, *_: inputs[0].reshape(len(inputs[0]), -1),
    "float": _float,
}

"""Words of lanes: codes into operand words, accumulators out of the words of a port."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.rtl.spec.mode import BINARY


def operand_words(
    what: str, codes: ArrayLike, bits: int, span: tuple[int, int], width: int, lanes: int
) -> NDArray[np.int64]:
    """Words of `width` bits, shape (...), of codes of shape (..., lanes), lane 0 lowest.

    A code of `bits` bits stands at the top of its lane, zeros below it; of a one-bit operand (+1,
    -1) only the sign does. Raises ValueError for codes outside `span`, naming the first.
    """
    values, binary = np.asarray(codes, dtype=np.int64), span == BINARY
    if values.shape[-1:] != (lanes,):
        raise ValueError(
            f"{what} codes need a last axis of {lanes} lanes, not shape {values.shape}."
        )
    bad = (values < span[0]) | (values > span[1]) | (binary & (values == 0))
    if bad.any():
        allowed = "-1 and 1" if binary else f"{span[0]}..{span[1]}"
        raise ValueError(f"{what} code {values[bad][0]} is not one of the mode's codes, {allowed}.")
    lane = width // lanes
    signs = (values < 0).astype(np.int64) << (lane - 1)
    fields = signs if binary else (values << (lane - bits)) & ((1 << lane) - 1)
    return np.bitwise_or.reduce(fields << (np.arange(lanes, dtype=np.int64) * lane), axis=-1)


def lane_total(values: NDArray[Any], first: int, count: int, base: int, guard_bits: int) -> Any:
    """Bits of an accumulator that spans segments `first` to `first + count - 1` of each word.

    A segment is `base` bits of sum below its guard bits; the accumulator is the sums side by side
    and the guard bits of its last segment.
    """
    stride = base + guard_bits
    guard = (values >> ((first + count) * stride - guard_bits)) & ((1 << guard_bits) - 1)
    parts = [(values >> ((first + n) * stride)) & ((1 << base) - 1) for n in range(count)]
    return sum((part << (n * base) for n, part in enumerate(parts)), guard << (count * base))


def wrapped(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Values as two's complement of so many bits."""
    half = 1 << (bits - 1)
    return (values + half) % (2 * half) - half


def padded(values: NDArray[Any], shape: tuple[int, int], code: int) -> NDArray[Any]:
    """A matrix with `code` in the rows and columns that it lacks of `shape`."""
    rows, columns = (size - had for size, had in zip(shape, values.shape, strict=True))
    return np.pad(values, ((0, rows), (0, columns)), constant_values=code)

"""Scales as integer multiply and shift, the way hardware requantizes.

A real scale s is held as a 32-bit signed mantissa m, 2**30 <= |m| < 2**31, and a right shift S:
s = m * 2**-S within a relative error of 2**-31 (m = 0 for s = 0). `rescale` computes
`round(x * m / 2**S)` exactly, ties to even (decision 0001).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]

MANTISSA = 31
"""Bits of a mantissa's magnitude."""

MAX_SHIFT = MANTISSA + 62
_LIMB = (1 << MANTISSA) - 1


def multiplier(scale: ArrayLike) -> tuple[Integers, Integers]:
    """Mantissas and shifts of real scales, in the shape of `scale`.

    Scales under 2**-62 become zero. Raises ValueError for a scale that is not finite, or of
    2**31 and more.

    >>> m, shift = multiplier(0.75)
    >>> int(m), int(shift), int(m) / 2 ** int(shift)
    (1610612736, 31, 0.75)
    """
    real = np.asarray(scale, dtype=np.float64)
    if not np.isfinite(real).all() or (np.abs(real) >= 2.0**MANTISSA).any():
        raise ValueError(
            "a scale must be finite and less than 2**31; check the network for dead or exploding "
            "batch norms."
        )
    fraction, exponent = np.frexp(real)  # |fraction| in [0.5, 1)
    mantissa = np.rint(fraction * 2.0**MANTISSA).astype(np.int64)
    over = np.abs(mantissa) == 1 << MANTISSA  # rounded up to the next power of two
    mantissa = np.where(over, mantissa // 2, mantissa)
    shift = MANTISSA - (exponent.astype(np.int64) + over)
    gone = (shift > MAX_SHIFT) | (mantissa == 0)
    return np.where(gone, 0, mantissa), np.where(gone, 0, shift)


def rescale(x: ArrayLike, mantissa: ArrayLike, shift: ArrayLike) -> Integers:
    """`round(x * mantissa / 2**shift)`, ties to even; exact for |x| below 2**62.

    The arguments broadcast to the result's shape. The product has up to 93 bits and is kept in two
    limbs: the upper one, signed, counts 2**31.

    >>> rescale([5, 6, 7, -5], 1 << 30, 31).tolist()   # halves
    [2, 3, 4, -2]
    """
    x, m, s = (np.asarray(value, dtype=np.int64) for value in (x, mantissa, shift))
    low = (x & _LIMB) * m
    high, low = (x >> MANTISSA) * m + (low >> MANTISSA), low & _LIMB
    far = np.maximum(s - MANTISSA, 0)  # shift of the upper limb
    near = np.minimum(s, MANTISSA)  # shift of the lower one
    floor = (high >> far << (MANTISSA - near)) + (low >> near)
    lost_high, lost_low = high & ((1 << far) - 1), low & ((1 << near) - 1)
    up = _rounds_up(floor, lost_high, lost_low, far, near)
    return np.asarray(floor + up)


def _rounds_up(floor: Any, lost_high: Any, lost_low: Any, far: Any, near: Any) -> Any:
    """Whether what the shift lost is over a half, or a half and `floor` odd."""
    half_high = np.where(far > 0, 1 << np.maximum(far - 1, 0), 0)
    half_low = np.where((far == 0) & (near > 0), 1 << np.maximum(near - 1, 0), 0)
    any_half = (far > 0) | (near > 0)
    tie = any_half & (lost_high == half_high) & (lost_low == half_low)
    over = (lost_high > half_high) | ((lost_high == half_high) & (lost_low > half_low))
    return ((any_half & over) | (tie & (floor & 1 == 1))).astype(np.int64)

"""Look-up tables of the non-linear delay model (NLDM): a value by input slew and output load."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flows.console import FlowError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lut:
    """A table over (slew, load): `values[i, j]` at `index_1[i]` ps and `index_2[j]` fF.

    A table of one variable has a single point on the other axis; a scalar has one on both.
    Setup and hold tables use the same form: `index_1` is the constrained pin's slew and `index_2`
    the clock's, both in ps.
    """

    index_1: Floats
    index_2: Floats
    values: Floats

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.index_1), len(self.index_2)):
            raise FlowError(
                f"a table has {self.values.shape} values for {len(self.index_1)} x "
                f"{len(self.index_2)} indices."
            )
        if not all(np.all(np.isfinite(x)) for x in (self.index_1, self.index_2, self.values)):
            raise FlowError("a table's indices and values must be finite.")
        if any(np.any(x[1:] <= x[:-1]) for x in (self.index_1, self.index_2)):
            raise FlowError("a table's indices must rise.")

    @classmethod
    def of(cls, index_1: ArrayLike, index_2: ArrayLike, values: ArrayLike) -> Self:
        """From anything that converts to arrays of float64."""
        axes = (np.asarray(index_1, float).reshape(-1), np.asarray(index_2, float).reshape(-1))
        return cls(*axes, np.asarray(values, float).reshape(len(axes[0]), len(axes[1])))

    def __add__(self, other: Lut) -> Lut:
        """The sum, exact everywhere: its points are those of both tables."""
        slews = _points(self.index_1, other.index_1)
        loads = _points(self.index_2, other.index_2)
        grid = slews[:, None], loads[None, :]
        return Lut(slews, loads, np.asarray(self(*grid) + other(*grid)))

    @cached_property
    def _lists(self) -> tuple[list[float], list[float], list[list[float]]]:
        return self.index_1.tolist(), self.index_2.tolist(), self.values.tolist()

    def at(self, slew_ps: float, load_ff: float) -> float:
        """The same as calling, for one point: ten times faster than arrays of one element."""
        slews, loads, rows = self._lists
        i, u = _place_one(slews, slew_ps)
        j, v = _place_one(loads, load_ff)
        row = rows[i]
        value = row[j] if v == 0.0 else row[j] + v * (row[j + 1] - row[j])
        if u == 0.0:
            return value
        row = rows[i + 1]
        above = row[j] if v == 0.0 else row[j] + v * (row[j + 1] - row[j])
        return value + u * (above - value)

    def __call__(self, slew_ps: ArrayLike, load_ff: ArrayLike) -> Any:
        """Bilinear between the points, and on along the last interval beyond them (as OpenSTA)."""
        i, u = _place(self.index_1, slew_ps)
        j, v = _place(self.index_2, load_ff)
        i1, j1 = np.minimum(i + 1, len(self.index_1) - 1), np.minimum(j + 1, len(self.index_2) - 1)
        low = self.values[i, j] * (1 - u) + self.values[i1, j] * u
        high = self.values[i, j1] * (1 - u) + self.values[i1, j1] * u
        return low * (1 - v) + high * v


def _points(one: Floats, other: Floats) -> Floats:
    """Both axes' points; an axis of one point, on which its table does not depend, gives none."""
    if len(one) == 1 or len(other) == 1:
        return one if len(other) == 1 else other
    return np.union1d(one, other)


def _place(index: Floats, x: ArrayLike) -> tuple[NDArray[np.intp], Floats]:
    """The interval of each x and how far along it x lies (outside 0..1 beyond the table)."""
    x = np.asarray(x, float)
    if len(index) == 1:
        return np.zeros(x.shape, np.intp), np.zeros(x.shape)
    i = np.clip(np.searchsorted(index, x, side="right") - 1, 0, len(index) - 2)
    return i, (x - index[i]) / (index[i + 1] - index[i])


def _place_one(index: list[float], x: float) -> tuple[int, float]:
    last = len(index) - 2
    if last < 0:
        return 0, 0.0
    i = min(max(bisect_right(index, x) - 1, 0), last)
    return i, (x - index[i]) / (index[i + 1] - index[i])

"""A systolic array: the circuit that is asked for, how it tiles a product, and its words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.rtl.spec.mac import MacSpec
from hw.rtl.spec.mode import Mode, check_whole
from hw.rtl.spec.words import padded

MAX_SIDE = 32  # elements along a side of the array
MAX_K = 2**16
MAX_DEPTH = 2**12
MAX_SIZE = 2**31  # of M and of N, which the array takes tile by tile


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A part of a matrix product that the array computes with one set of stationary weights.

    Slices of M, K and N; `clear` where the tile is the first along K, `emit` where it is the last.
    """

    m: slice
    k: slice
    n: slice
    clear: bool
    emit: bool
    rows: int

    @property
    def beats(self) -> int:
        """Beats of activations."""
        return self.m.stop - self.m.start


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """A weight-stationary systolic array of `rows` x `columns` processing elements.

    It computes activations (M, K) times weights (K, N). The MAC's parameters are those of
    `MacSpec`, whose guard bits follow from `k_max`, the longest sum that cannot overflow. `depth`
    is the number of rows of M whose sums the array keeps while it goes through the tiles along K.

    Lanes apart (`dvafs`) are independent dot products: lane l of column c is another column of N,
    and all lanes get the same activation. Lanes together (`dvafs_st`) lie along K.

    Raises ValueError, before anything is elaborated, for what cannot be built.
    """

    scheme: str = "fixed"
    w_width: int = 16
    a_width: int = 16
    min_lane: int = 4
    rows: int = 8
    columns: int = 8
    k_max: int = 4608  # 512 channels x 3 x 3
    depth: int = 64
    encoding: str = "baugh-wooley"

    def __post_init__(self) -> None:
        check_whole("rows", self.rows, 1, MAX_SIDE)
        check_whole("columns", self.columns, 1, MAX_SIDE)
        check_whole("k_max", self.k_max, 1, MAX_K)
        check_whole("depth", self.depth, 1, MAX_DEPTH)
        _ = self.mac  # makes its own checks

    @cached_property
    def mac(self) -> MacSpec:
        """Multiplier and accumulators of an element: ceil(log2(k_max)) guard bits, one at least."""
        return MacSpec(
            scheme=self.scheme,
            w_width=self.w_width,
            a_width=self.a_width,
            min_lane=self.min_lane,
            guard_bits=max((self.k_max - 1).bit_length(), 1),
            encoding=self.encoding,
        )

    @property
    def name(self) -> str:
        """Name of the Verilog top, e.g. array_dg_16_8x8."""
        return f"{self.mac.name.replace('mac', 'array', 1)}_{self.rows}x{self.columns}"

    @property
    def latency(self) -> int:
        """Clock edges from a beat of activations to its sums: those of a MAC, both skews, one
        to add the sums of tiles."""
        return self.mac.latency + (self.rows - 1) + (self.columns - 1) + 1

    def lanes_along(self, mode: Mode) -> tuple[int, int]:
        """Values of K that a row takes in a beat, and columns of N that a column gives."""
        return (mode.lanes, 1) if self.scheme == "dvafs_st" else (1, mode.lanes)

    def tiles(self, m: int, k: int, n: int, mode: Mode) -> Iterator[Tile]:
        """The tiles of an (m, k) times (k, n) product, in order: along M, then N, then K."""
        for name, value, high in (("m", m, MAX_SIZE), ("k", k, self.k_max), ("n", n, MAX_SIZE)):
            check_whole(name, value, 1, high)
        per_row, per_column = self.lanes_along(mode)
        for i in _slices(m, self.depth):
            for j in _slices(n, self.columns * per_column):
                for x in _slices(k, self.rows * per_row):
                    used = -(-(x.stop - x.start) // per_row)
                    yield Tile(m=i, k=x, n=j, clear=x.start == 0, emit=x.stop == k, rows=used)

    def cycles(self, m: int, k: int, n: int, mode: Mode) -> int:
        """Clock cycles from the first beat of weights to the last beat of sums, both included,
        where no stream ever waits for its other side.

        A tile starts when its weights are loaded, a row a cycle from the cycle after the start of
        the tile before, and when that tile's activations are through.
        """
        start, before = 0, 0
        for tile in self.tiles(m, k, n, mode):
            start += max(before, tile.rows + 1) if before else tile.rows
            before = tile.beats
        return start + before + self.latency

    def compute(self, w_codes: ArrayLike, a_codes: ArrayLike, mode: Mode) -> NDArray[Any]:
        """Activations (M, K) times weights (K, N): Python integers (M, N) in the hardware's scale.

        Divide by 2**mac.shift(mode) for sums of code products. Raises ValueError for shapes that do
        not fit each other or a K above `k_max`.
        """
        w, a = np.asarray(w_codes, dtype=object), np.asarray(a_codes, dtype=object)
        if w.ndim != 2 or a.ndim != 2 or a.shape[1] != w.shape[0]:
            raise ValueError(
                f"activations must have shape (M, K) and weights (K, N), "
                f"not {a.shape} and {w.shape}."
            )
        check_whole("k", w.shape[0], 1, self.k_max)
        return (a @ w) << self.mac.shift(mode)

    def pack(
        self, w_codes: ArrayLike, a_codes: ArrayLike, tile: Tile, mode: Mode
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Words of a tile's beats: weights (tile.rows, columns) and activations (beats, rows).

        `w_codes` and `a_codes` are the whole matrices. Raises ValueError as `words` does.
        """
        w, a = np.asarray(w_codes)[tile.k, tile.n], np.asarray(a_codes)[tile.m, tile.k]
        w_words, a_words = self.words(w, a, mode)
        # Rows without a weight multiply by zero whatever their activation.
        return w_words, padded(a_words, (tile.beats, self.rows), 0)

    def words(
        self, w_codes: ArrayLike, a_codes: ArrayLike, mode: Mode
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Words of whole matrices, of which a tile is a part: weights (rows, columns) and
        activations (M, rows), for as many rows as K takes and N's columns in whole tiles.

        Raises ValueError for codes outside the mode's range, and where one-bit lanes together do
        not fill a word along K.
        """
        per_row, per_column = self.lanes_along(mode)
        w, a = np.asarray(w_codes), np.asarray(a_codes)
        # Codes that no product of the result contains; a binary operand has no zero.
        w_pad, a_pad = map(int, mode.binary)
        if w_pad and a_pad and len(w) % per_row:
            raise ValueError(
                f"K must be a multiple of {per_row} where +1 and -1 meet in lanes that are summed "
                f"together, not {len(w)}; choose a K that fills the lanes."
            )
        rows, columns = -(-len(w) // per_row), self.columns * per_column
        columns *= -(-w.shape[1] // columns)
        w = padded(w, (rows * per_row, columns), w_pad)
        a = padded(a, (len(a), rows * per_row), a_pad)
        w = w.reshape(rows, per_row, -1, per_column).swapaxes(1, 2)
        a = np.repeat(a.reshape(len(a), rows, per_row), per_column, axis=-1)
        # `MacSpec.pack` takes pairs; weights and activations differ in number.
        count = max(w.size, a.size) // mode.lanes
        w_words, a_words = self.mac.pack(
            np.resize(w, (count, mode.lanes)), np.resize(a, (count, mode.lanes)), mode
        )
        w_words = w_words[: w.size // mode.lanes].reshape(rows, -1)
        return w_words, a_words[: a.size // mode.lanes].reshape(len(a), rows)

    def unpack(self, words: ArrayLike, tile: Tile, mode: Mode) -> NDArray[Any]:
        """Results of a tile that emits, (beats, its columns of N), of its `sums` beats' words,
        shape (beats, columns)."""
        sums = self.mac.unpack(words, mode)
        return sums.reshape(len(sums), -1)[:, : tile.n.stop - tile.n.start]


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))

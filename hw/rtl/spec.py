"""One object builds a MAC and computes its golden result.

A MAC takes a weight word and an activation word per cycle, multiplies lane by lane and accumulates.
`MacSpec` names the circuit, `Mode` the precision in which it runs; `compute` is the reference that
simulation and netlists are held against, in plain integers.

Number format (decision 0001): a lane of L bits holds a k-bit code at its most significant bits,
`operand = code << (L - k)`, the bits below at zero, so that a lane's product is the product of the
codes shifted left by `2L - w_bits - a_bits`. One-bit operands (+1, -1) run as the two-bit codes
01 and 11: the sign bit is given, and the mode forces the next bit to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCHEMES = ("fixed", "dg", "dvafs", "dvafs_st")
ENCODINGS = ("baugh-wooley", "booth")
MAX_WIDTH = 32
MAX_SIDE = 32  # elements along a side of the array
MAX_K = 2**16
MAX_DEPTH = 2**12
# Accumulators of up to so many bits are computed in int64, which wraps around modulo a multiple of
# theirs; wider ones in Python's integers.
EXACT_BITS = 62


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Precision at which a MAC runs: bits of the operands, signedness of activations, lanes."""

    w_bits: int
    a_bits: int
    a_signed: bool = False
    lanes: int = 1

    def w_range(self) -> tuple[int, int]:
        """Smallest and largest weight code that the hardware takes (two's complement)."""
        return _signed_range(self.w_bits)

    def a_range(self) -> tuple[int, int]:
        """Smallest and largest activation code."""
        return _signed_range(self.a_bits) if self.a_signed else (0, 2**self.a_bits - 1)


def _signed_range(bits: int) -> tuple[int, int]:
    return (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")


@dataclass(frozen=True, kw_only=True)
class MacSpec:
    """A MAC: its scheme, operand widths, smallest subword and guard bits of its accumulators.

    `fixed` is built for exactly `w_width` x `a_width` bits. `dg` holds the LSBs of both operands at
    zero. `dvafs` splits the array into lanes of `w_width`, half of it, ... `min_lane` bits with an
    accumulator each; `dvafs_st` adds the lanes' products together. `guard_bits` are the bits of an
    accumulator above its product; it wraps around modulo its width. `encoding` is that of the
    partial products, of whole words `booth` as well.

    Raises ValueError, before anything is elaborated, for what cannot be built.
    """

    scheme: str = "fixed"
    w_width: int = 16
    a_width: int = 16
    min_lane: int = 4
    guard_bits: int = 8
    encoding: str = "baugh-wooley"

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, not {self.scheme!r}.")
        low = 1 if self.scheme == "fixed" else 2
        _check_int("w_width", self.w_width, low, MAX_WIDTH)
        _check_int("a_width", self.a_width, low, MAX_WIDTH)
        _check_int("guard_bits", self.guard_bits, 1, 32)
        if self.encoding not in ENCODINGS:
            raise ValueError(
                f"encoding must be one of {', '.join(ENCODINGS)}, not {self.encoding!r}."
            )
        if self.subword and self.encoding == "booth":
            raise ValueError(
                f"Booth's digits reach over the ends of lanes; scheme {self.scheme} takes the "
                f"encoding baugh-wooley only."
            )
        if self.subword:
            self._check_lanes()

    def _check_lanes(self) -> None:
        _check_int("min_lane", self.min_lane, 2, MAX_WIDTH)
        if self.w_width != self.a_width:
            raise ValueError("a subword-parallel MAC needs w_width and a_width to be equal.")
        if self.min_lane > self.w_width:
            raise ValueError(
                f"min_lane {self.min_lane} is larger than the word of {self.w_width} bits; "
                f"choose a smaller subword."
            )
        ratio, rest = divmod(self.w_width, self.min_lane)
        if rest or ratio & (ratio - 1):
            raise ValueError(
                f"the word of {self.w_width} bits does not split by halves into subwords of "
                f"{self.min_lane} bits; w_width / min_lane must be a power of two."
            )

    @property
    def subword(self) -> bool:
        """True where the operands split into lanes."""
        return self.scheme.startswith("dvafs")

    @property
    def scalable(self) -> bool:
        """True where the precision is chosen at run time."""
        return self.scheme != "fixed"

    @property
    def name(self) -> str:
        """Name of the Verilog top, e.g. mac_dg_16, mac_dvafs_16 or mac_fixed_w5a5."""
        booth = "_booth" if self.encoding == "booth" else ""
        if self.scheme == "fixed":
            return f"mac_fixed_w{self.w_width}a{self.a_width}{booth}"
        size = (
            f"{self.w_width}" if self.w_width == self.a_width else f"w{self.w_width}a{self.a_width}"
        )
        lane = f"_lane{self.min_lane}" if self.subword and self.min_lane != 4 else ""
        return f"mac_{self.scheme}_{size}{lane}{booth}"

    @cached_property
    def lane_counts(self) -> tuple[int, ...]:
        """Numbers of lanes that the word splits into, one first."""
        if not self.subword:
            return (1,)
        return tuple(1 << n for n in range((self.w_width // self.min_lane).bit_length()))

    @property
    def max_lanes(self) -> int:
        """The largest number of lanes."""
        return self.lane_counts[-1]

    @property
    def longest_sum(self) -> int:
        """How many products of any operands an accumulator adds without overflow."""
        return 1 << self.guard_bits

    @property
    def latency(self) -> int:
        """Clock edges from operands at the ports to the accumulator: gate, product, sum."""
        return 3

    def mode(self, w_bits: int, a_bits: int, a_signed: bool = False) -> Mode:
        """The mode for these precisions: the narrowest subword that holds both operands.

        Raises ValueError for bits that the circuit does not have.
        """
        if not self.scalable:
            if (w_bits, a_bits) != (self.w_width, self.a_width):
                raise ValueError(
                    f"{self.name} runs at {self.w_width} x {self.a_width} bits only, "
                    f"not at {w_bits} x {a_bits}."
                )
            return Mode(w_bits=w_bits, a_bits=a_bits, a_signed=a_signed)
        _check_int("w_bits", w_bits, 1, self.w_width)
        _check_int("a_bits", a_bits, 1, self.a_width)
        lanes = max(
            n
            for n in self.lane_counts
            if self.w_width // n >= w_bits and self.a_width // n >= a_bits
        )
        return Mode(w_bits=w_bits, a_bits=a_bits, a_signed=a_signed, lanes=lanes)

    def modes(self) -> tuple[Mode, ...]:
        """Every mode with as many bits for weights as for activations, in both signednesses."""
        if not self.scalable:
            pairs = [(self.w_width, self.a_width)]
        else:
            pairs = [(k, k) for k in range(1, min(self.w_width, self.a_width) + 1)]
        return tuple(self.mode(w, a, s) for w, a in pairs for s in (False, True))

    def lane_widths(self, lanes: int = 1) -> tuple[int, int]:
        """Bits of a lane of the weight and of the activation inside the array (at least 2)."""
        return max(self.w_width // lanes, 2), max(self.a_width // lanes, 2)

    def acc_bits(self, lanes: int = 1) -> int:
        """Width of one accumulator when the word is split into `lanes`."""
        w, a = self.lane_widths(1 if self.scheme == "dvafs_st" else lanes)
        return w + a + self.guard_bits

    def acc_lanes(self, mode: Mode) -> int:
        """How many accumulators hold results in `mode`."""
        return 1 if self.scheme == "dvafs_st" else mode.lanes

    def shift(self, mode: Mode) -> int:
        """Binary places by which an accumulator holds its sum of code products shifted left."""
        w, a = self.lane_widths(mode.lanes)
        used = max(mode.w_bits, 2) + max(mode.a_bits, 2 if mode.a_signed else 1)
        offset = (mode.lanes - 1) * w if self.scheme == "dvafs_st" else 0
        return w + a - used + offset

    def controls(self, mode: Mode) -> dict[str, int]:
        """Values of the static control ports in `mode`."""
        ports = {"a_signed": int(mode.a_signed)}
        if self.scalable:
            ports |= {"w_bits": mode.w_bits - 1, "a_bits": mode.a_bits - 1}
        if self.subword:
            ports["lanes"] = mode.lanes.bit_length() - 1
        return ports

    def pack(
        self, w_codes: ArrayLike, a_codes: ArrayLike, mode: Mode
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Operand words, shape (...), of codes of shape (..., lanes), lane 0 in the lowest bits.

        Raises ValueError for codes outside the mode's range, naming the first.
        """
        if self.scheme == "dvafs_st":
            # Lane n of the weight meets lane N-1-n of the activation: the array's anti-diagonal.
            a_codes = np.flip(np.asarray(a_codes), axis=-1)
        w_binary, a_binary = mode.w_bits == 1, mode.a_bits == 1 and mode.a_signed
        return (
            _words(
                "weight", w_codes, mode.w_bits, w_binary, mode.w_range(), self.w_width, mode.lanes
            ),
            _words(
                "activation",
                a_codes,
                mode.a_bits,
                a_binary,
                mode.a_range(),
                self.a_width,
                mode.lanes,
            ),
        )

    def compute(
        self, w_codes: ArrayLike, a_codes: ArrayLike, mode: Mode, clear: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Accumulators after each pair of a sequence, in the hardware's scale.

        `w_codes` and `a_codes` have shape (T, lanes), `clear` (T,) is true where a new sum starts
        (by default at the first pair). Returns integers, shape (T, accumulators), wrapped around
        modulo the accumulator's width; divide by 2**shift(mode) for a sum of code products. They
        are int64 up to `EXACT_BITS` bits and Python's above.
        """
        kind = np.int64 if self.acc_bits(mode.lanes) <= EXACT_BITS else object
        w, a = np.asarray(w_codes, dtype=kind), np.asarray(a_codes, dtype=kind)
        products = (w * a) << self.shift(mode)
        if self.scheme == "dvafs_st":
            products = products.sum(axis=-1, keepdims=True)
        starts = np.arange(len(products)) == 0 if clear is None else np.asarray(clear, dtype=bool)
        sums = np.cumsum(products, axis=0)
        before = np.concatenate([np.zeros_like(sums[:1]), sums[:-1]])
        latest = np.maximum.accumulate(np.where(starts, np.arange(len(sums)), 0))
        return _wrapped(sums - before[latest], self.acc_bits(mode.lanes))

    def unpack(self, words: ArrayLike, mode: Mode) -> NDArray[Any]:
        """Accumulators of `acc` port words: integers as `compute` gives them, (..., accumulators).

        The port is a row of segments, lowest first, each `2 * min_lane` bits of sum and then its
        guard bits; a lane's accumulator is its segments' sums and the guard bits of its last one.
        """
        narrow = self.acc_width <= 64 and self.acc_bits(mode.lanes) <= EXACT_BITS
        values = np.asarray(words, dtype=np.uint64 if narrow else object)
        count = self.acc_lanes(mode)
        segments = self.max_lanes if self.scheme == "dvafs" else 1
        base = sum(self.lane_widths(segments))
        stride, per_lane = base + self.guard_bits, segments // count
        lanes = []
        for lane in range(count):
            first = lane * per_lane
            parts = [
                (values >> ((first + n) * stride)) & ((1 << base) - 1) for n in range(per_lane)
            ]
            guard = (values >> ((first + per_lane) * stride - self.guard_bits)) & (
                (1 << self.guard_bits) - 1
            )
            total = sum(
                (part << (n * base) for n, part in enumerate(parts)), guard << (per_lane * base)
            )
            total = np.asarray(total, dtype=np.int64 if narrow else object)
            lanes.append(_wrapped(total, self.acc_bits(mode.lanes)))
        return np.stack(lanes, axis=-1)

    @property
    def acc_width(self) -> int:
        """Bits of the `acc` port."""
        segments = self.max_lanes if self.scheme == "dvafs" else 1
        return segments * (sum(self.lane_widths(segments)) + self.guard_bits)


def _wrapped(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Values as two's complement of so many bits."""
    half = 1 << (bits - 1)
    return (values + half) % (2 * half) - half


def _words(
    what: str,
    codes: ArrayLike,
    bits: int,
    binary: bool,
    span: tuple[int, int],
    width: int,
    lanes: int,
) -> NDArray[np.int64]:
    values = np.asarray(codes, dtype=np.int64)
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
        _check_int("rows", self.rows, 1, MAX_SIDE)
        _check_int("columns", self.columns, 1, MAX_SIDE)
        _check_int("k_max", self.k_max, 1, MAX_K)
        _check_int("depth", self.depth, 1, MAX_DEPTH)
        assert self.mac  # its own checks

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
        """Clock edges from a beat of activations to its sums: three in an element, both skews,
        one to add the sums of tiles."""
        return 3 + (self.rows - 1) + (self.columns - 1) + 1

    def lanes_along(self, mode: Mode) -> tuple[int, int]:
        """Values of K that a row takes in a beat, and columns of N that a column gives."""
        return (mode.lanes, 1) if self.scheme == "dvafs_st" else (1, mode.lanes)

    def tiles(self, m: int, k: int, n: int, mode: Mode) -> Iterator[Tile]:
        """The tiles of an (m, k) times (k, n) product, in order: along M, then N, then K."""
        for name, value, high in (("m", m, 2**31), ("k", k, self.k_max), ("n", n, 2**31)):
            _check_int(name, value, 1, high)
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
        _check_int("k", w.shape[0], 1, self.k_max)
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
        return w_words, _padded(a_words, (tile.beats, self.rows), 0)

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
        w_pad = int(mode.w_bits == 1)
        a_pad = int(mode.a_bits == 1 and mode.a_signed)
        if w_pad and a_pad and len(w) % per_row:
            raise ValueError(
                f"K must be a multiple of {per_row} where +1 and -1 meet in lanes that are summed "
                f"together, not {len(w)}; choose a K that fills the lanes."
            )
        rows, columns = -(-len(w) // per_row), self.columns * per_column
        columns *= -(-w.shape[1] // columns)
        w = _padded(w, (rows * per_row, columns), w_pad)
        a = _padded(a, (len(a), rows * per_row), a_pad)
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


def _padded(values: NDArray[Any], shape: tuple[int, int], code: int) -> NDArray[Any]:
    rows, columns = (size - had for size, had in zip(shape, values.shape, strict=True))
    return np.pad(values, ((0, rows), (0, columns)), constant_values=code)

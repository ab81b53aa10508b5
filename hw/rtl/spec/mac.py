"""A MAC: the circuit that is asked for, and in plain integers what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.rtl.spec.mode import Mode, check_whole
from hw.rtl.spec.words import lane_total, operand_words, wrapped

SCHEMES = ("fixed", "dg", "dvafs", "dvafs_st")
ENCODINGS = ("baugh-wooley", "booth")
MAX_WIDTH = 32
# Accumulators of up to so many bits are computed in int64, which wraps around modulo a multiple of
# theirs; wider ones in Python's integers.
EXACT_BITS = 62


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
        check_whole("w_width", self.w_width, low, MAX_WIDTH)
        check_whole("a_width", self.a_width, low, MAX_WIDTH)
        check_whole("guard_bits", self.guard_bits, 1, 32)
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
        check_whole("min_lane", self.min_lane, 2, MAX_WIDTH)
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
        check_whole("w_bits", w_bits, 1, self.w_width)
        check_whole("a_bits", a_bits, 1, self.a_width)
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

    @property
    def control_widths(self) -> dict[str, int]:
        """Bits of the control ports, which stand still within a mode; none where nothing is chosen.

        `w_bits` and `a_bits` are one less than the precision, `lanes` is log2 of the lanes.
        """
        ports = {"a_signed": 1}
        if self.scalable:
            ports |= {"w_bits": _index_bits(self.w_width), "a_bits": _index_bits(self.a_width)}
        if self.subword:
            ports["lanes"] = _index_bits(len(self.lane_counts))
        return ports

    def controls(self, mode: Mode) -> dict[str, int]:
        """Values of the ports of `control_widths` in `mode`."""
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
        w_span, a_span = mode.w_range(), mode.a_range()
        return (
            operand_words("weight", w_codes, mode.w_bits, w_span, self.w_width, mode.lanes),
            operand_words("activation", a_codes, mode.a_bits, a_span, self.a_width, mode.lanes),
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
        return wrapped(sums - before[latest], self.acc_bits(mode.lanes))

    def unpack(self, words: ArrayLike, mode: Mode) -> NDArray[Any]:
        """Accumulators of `acc` port words: integers as `compute` gives them, (..., accumulators).

        The port is a row of segments, lowest first, each `2 * min_lane` bits of sum and then its
        guard bits; a lane's accumulator is its segments' sums and the guard bits of its last one.
        """
        bits = self.acc_bits(mode.lanes)
        narrow = self.acc_width <= 64 and bits <= EXACT_BITS
        values = np.asarray(words, dtype=np.uint64 if narrow else object)
        count, base = self.acc_lanes(mode), sum(self.lane_widths(self.segments))
        per_lane = self.segments // count
        totals = (
            lane_total(values, lane * per_lane, per_lane, base, self.guard_bits)
            for lane in range(count)
        )
        kind = np.int64 if narrow else object
        return np.stack([wrapped(np.asarray(t, dtype=kind), bits) for t in totals], axis=-1)

    @property
    def segments(self) -> int:
        """Segments of the `acc` port: as many as there can be accumulators."""
        return self.max_lanes if self.scheme == "dvafs" else 1

    @property
    def acc_width(self) -> int:
        """Bits of the `acc` port."""
        return self.segments * (sum(self.lane_widths(self.segments)) + self.guard_bits)


def _index_bits(count: int) -> int:
    """Bits of a number below `count`."""
    return (count - 1).bit_length()

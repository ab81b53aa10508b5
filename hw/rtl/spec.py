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

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCHEMES = ("fixed", "dg", "dvafs", "dvafs_st")
MAX_WIDTH = 32


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
    accumulator above its product; it wraps around modulo its width.

    Raises ValueError, before anything is elaborated, for what cannot be built.
    """

    scheme: str = "fixed"
    w_width: int = 16
    a_width: int = 16
    min_lane: int = 4
    guard_bits: int = 8

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, not {self.scheme!r}.")
        low = 1 if self.scheme == "fixed" else 2
        _check_int("w_width", self.w_width, low, MAX_WIDTH)
        _check_int("a_width", self.a_width, low, MAX_WIDTH)
        _check_int("guard_bits", self.guard_bits, 1, 32)
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
        if self.scheme == "fixed":
            return f"mac_fixed_w{self.w_width}a{self.a_width}"
        size = (
            f"{self.w_width}" if self.w_width == self.a_width else f"w{self.w_width}a{self.a_width}"
        )
        lane = f"_lane{self.min_lane}" if self.subword and self.min_lane != 4 else ""
        return f"mac_{self.scheme}_{size}{lane}"

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
        (by default at the first pair). Returns Python integers, shape (T, accumulators), wrapped
        around modulo the accumulator's width; divide by 2**shift(mode) for a sum of code products.
        """
        w, a = np.asarray(w_codes, dtype=object), np.asarray(a_codes, dtype=object)
        products = (w * a) << self.shift(mode)
        if self.scheme == "dvafs_st":
            products = products.sum(axis=-1, keepdims=True)
        starts = np.arange(len(products)) == 0 if clear is None else np.asarray(clear, dtype=bool)
        sums = np.cumsum(products, axis=0)
        before = np.concatenate([np.zeros_like(sums[:1]), sums[:-1]])
        latest = np.maximum.accumulate(np.where(starts, np.arange(len(sums)), 0))
        half = 1 << (self.acc_bits(mode.lanes) - 1)
        return (sums - before[latest] + half) % (2 * half) - half

    def unpack(self, words: ArrayLike, mode: Mode) -> NDArray[Any]:
        """Accumulators, Python integers of shape (..., accumulators), of `acc` port words.

        The port is a row of segments, lowest first, each `2 * min_lane` bits of sum and then its
        guard bits; a lane's accumulator is its segments' sums and the guard bits of its last one.
        """
        values = np.asarray(words, dtype=object)
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
            half = 1 << (self.acc_bits(mode.lanes) - 1)
            lanes.append((total + half) % (2 * half) - half)
        return np.stack(lanes, axis=-1)

    @property
    def acc_width(self) -> int:
        """Bits of the `acc` port."""
        segments = self.max_lanes if self.scheme == "dvafs" else 1
        return segments * (sum(self.lane_widths(segments)) + self.guard_bits)


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

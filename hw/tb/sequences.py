"""Sequences of operands that a bench drives: exhaustive, random, from corners, held at extremes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.spec import MacSpec, Mode

# Bits of both operands together up to which every pair is tried: 65,536 pairs where both have as
# many bits, fewer in the many modes where they do not.
EXHAUSTIVE_BITS = 16
EXHAUSTIVE_BITS_UNEQUAL = 12
RUN_LENGTH = 1024  # longest accumulation without a clear


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Codes of shape (T, lanes) for one mode, with `clear` and `en` of shape (T,)."""

    mode: Mode
    pattern: str
    w: NDArray[np.int64]
    a: NDArray[np.int64]
    clear: NDArray[np.bool_]
    en: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.w)

    def golden(self, spec: MacSpec) -> NDArray:
        """Accumulators after each cycle; a cycle without `en` adds nothing."""
        on = self.en[:, None]
        return spec.compute(self.w * on, self.a * on, self.mode, self.clear)


def all_modes(spec: MacSpec) -> tuple[Mode, ...]:
    """Every pair of precisions in both signednesses, equal and unequal."""
    if not spec.scalable:
        return spec.modes()
    return tuple(
        spec.mode(w, a, signed)
        for w in range(1, spec.w_width + 1)
        for a in range(1, spec.a_width + 1)
        for signed in (False, True)
    )


def codes(span: tuple[int, int], binary: bool) -> NDArray[np.int64]:
    """Every code of an operand, least first."""
    return np.array([-1, 1]) if binary else np.arange(span[0], span[1] + 1)


def operands(mode: Mode) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every weight code and every activation code of the mode."""
    return (
        codes(mode.w_range(), mode.w_bits == 1),
        codes(mode.a_range(), mode.a_signed and mode.a_bits == 1),
    )


def corners(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ends, the middle, alternating bits: codes at which carries and signs go wrong first."""
    low, high = values[0], values[-1]
    stripes = 0x55555555 & high
    near = {low, low + 1, -1, 0, 1, high - 1, high, stripes, high ^ stripes}
    return np.array(sorted(near & set(values.tolist())))


def starts(rng: np.random.Generator, length: int) -> NDArray[np.bool_]:
    """Where sums start anew: accumulations of 1, about 16 and RUN_LENGTH pairs, the first pair."""
    clear = np.zeros(length, dtype=bool)
    position = 0
    while position < length:
        clear[position] = True
        position += int(rng.choice([1, rng.integers(2, 32), RUN_LENGTH], p=[0.3, 0.6, 0.1]))
    return clear


def sequences(spec: MacSpec, mode: Mode, vectors: int, seed: int) -> Iterator[Sequence]:
    """The mode's sequences, the same for the same seed; a quarter of `vectors` for unequal bits."""
    rng = np.random.default_rng([seed, mode.w_bits, mode.a_bits, int(mode.a_signed)])
    equal = mode in spec.modes()
    w, a = operands(mode)
    size = (vectors if equal else -(-vectors // 4), mode.lanes)
    yield _sequence(rng, mode, "random", rng.choice(w, size), rng.choice(a, size))
    size = (max(size[0] // 4, 16), mode.lanes)
    yield _sequence(
        rng, mode, "corners", rng.choice(corners(w), size), rng.choice(corners(a), size)
    )
    if mode.w_bits + mode.a_bits <= (EXHAUSTIVE_BITS if equal else EXHAUSTIVE_BITS_UNEQUAL):
        yield _exhaustive(rng, mode, w, a)
    if equal:
        yield from _extremes(spec, mode, w, a)


def _sequence(rng, mode: Mode, pattern: str, w, a) -> Sequence:
    en = rng.random(len(w)) < 0.9
    return Sequence(mode=mode, pattern=pattern, w=w, a=a, clear=starts(rng, len(w)), en=en)


def _exhaustive(rng, mode: Mode, w, a) -> Sequence:
    """Every pair of codes in every lane, in an order of the lane's own."""
    pairs = np.stack([rng.permutation(len(w) * len(a)) for _ in range(mode.lanes)], axis=-1)
    clear, en = starts(rng, len(pairs)), np.ones(len(pairs), dtype=bool)
    return Sequence(
        mode=mode, pattern="exhaustive", w=w[pairs // len(a)], a=a[pairs % len(a)],
        clear=clear, en=en,
    )  # fmt: skip


def _extremes(spec: MacSpec, mode: Mode, w, a) -> Iterator[Sequence]:
    """The largest product again and again, far enough to wrap the accumulator around."""
    length = min(2 ** (spec.guard_bits + 1) + 64, RUN_LENGTH)
    for code in (w[0], w[-1]):
        shape = (length, mode.lanes)
        yield Sequence(
            mode=mode, pattern="extremes", w=np.full(shape, code), a=np.full(shape, a[-1]),
            clear=np.arange(length) == 0, en=np.ones(length, dtype=bool),
        )  # fmt: skip

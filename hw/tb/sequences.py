"""Sequences of operands that a bench drives: corners, random, exhaustive, held at extremes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hw.rtl.spec import MacSpec, Mode

EXHAUSTIVE_BITS = 8  # of either operand, up to which every pair is tried
RUN_LENGTH = 1024  # pairs of the longest accumulation
NARROW_SHARE = 100  # of the random pairs of a wide mode, one in so many is tried in any other
# What a cycle does to the sum, numbered en' + 2 * clear.
ACTIONS = ("add", "hold", "clear", "clear and hold")
# Every action after every action, once around, from a clear.
ACTION_CYCLE = (2, 0, 3, 1, 1, 2, 1, 3, 2, 2, 3, 3, 0, 0, 1, 0)


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Codes of shape (T, lanes) for one mode, with `clear` and `en` of shape (T,).

    With `garbage` the operands are replaced by random words wherever `en` is low.
    """

    mode: Mode
    pattern: str
    w: NDArray[np.int64]
    a: NDArray[np.int64]
    clear: NDArray[np.bool_]
    en: NDArray[np.bool_]
    garbage: bool = True

    def __len__(self) -> int:
        return len(self.w)

    def head(self, count: int) -> Sequence:
        """The first `count` cycles."""
        names = ("w", "a", "clear", "en")
        return replace(self, **{name: getattr(self, name)[:count] for name in names})

    def golden(self, spec: MacSpec) -> NDArray:
        """Accumulators after each cycle; a cycle without `en` adds nothing."""
        on = self.en[:, None]
        return spec.compute(self.w * on, self.a * on, self.mode, self.clear)

    def actions(self) -> NDArray[np.int64]:
        """Number of each cycle's action."""
        return ~self.en + 2 * self.clear.astype(np.int64)


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


def exhaustive(mode: Mode) -> bool:
    """Whether every pair of codes is tried."""
    return max(mode.w_bits, mode.a_bits) <= EXHAUSTIVE_BITS


CORNERS = ("min", "max", "zero", "one", "minus one", "alternating 01", "alternating 10")


@dataclass(frozen=True)
class Codes:
    """The codes of an operand: `low`..`high`, or only the two ends where it is `binary`."""

    low: int
    high: int
    binary: bool

    def all(self) -> NDArray[np.int64]:
        """Every code, least first."""
        return np.array([-1, 1]) if self.binary else np.arange(self.low, self.high + 1)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> NDArray[np.int64]:
        """Random codes, one in eight a corner or its neighbour."""
        if self.binary:
            return rng.choice(self.all(), size)
        near = {*self.corners().values(), self.low + 1, self.high - 1}
        near = np.array([code for code in sorted(near) if self.low <= code <= self.high])
        uniform = rng.integers(self.low, self.high, size, endpoint=True)
        return np.where(rng.random(size) < 0.125, rng.choice(near, size), uniform)

    def corners(self) -> dict[str, int]:
        """Codes at which carries and signs go wrong first, by name; those that the operand has."""
        stripes = 0x55555555 & self.high
        other = ~stripes if self.low < 0 else self.high ^ stripes
        ends = (self.low, self.high)
        named = dict(zip(CORNERS, (*ends, 0, 1, -1, stripes, other), strict=True))
        return {
            name: code
            for name, code in named.items()
            if (code in ends if self.binary else self.low <= code <= self.high)
        }


def code_sets(mode: Mode) -> tuple[Codes, Codes]:
    """The weight's and the activation's codes."""
    w_binary, a_binary = mode.binary
    return Codes(*mode.w_range(), w_binary), Codes(*mode.a_range(), a_binary)


def operands(mode: Mode) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every weight code and every activation code of the mode."""
    w, a = code_sets(mode)
    return w.all(), a.all()


def starts(rng: np.random.Generator, length: int) -> NDArray[np.bool_]:
    """Where sums start anew: accumulations of RUN_LENGTH pairs first, then of 1, 2..31 and many."""
    clear = np.zeros(length, dtype=bool)
    position, step = 0, RUN_LENGTH
    while position < length:
        clear[position] = True
        position += step
        step = int(rng.choice([1, rng.integers(2, 32), RUN_LENGTH], p=[0.3, 0.6, 0.1]))
    return clear


def sequences(mode: Mode, vectors: int, seed: int) -> Iterator[Sequence]:
    """The mode's sequences, the same for the same seed: `random_pairs` are random."""
    rng = np.random.default_rng([seed, mode.w_bits, mode.a_bits, int(mode.a_signed)])
    yield _corners(rng, mode)
    yield _random(rng, mode, random_pairs(mode, vectors))
    if exhaustive(mode):
        yield _exhaustive(rng, mode)
    yield from _extremes(mode)


def random_pairs(mode: Mode, vectors: int) -> int:
    """Random pairs of a mode: `vectors` in modes of equal bits that are too wide to try all pairs,
    and the NARROW_SHARE-th part, 16 at least, in every other one."""
    wide = mode.w_bits == mode.a_bits and not exhaustive(mode)
    return vectors if wide else max(vectors // NARROW_SHARE, 16)


def count_vectors(mode: Mode, vectors: int) -> int:
    """How many vectors `sequences` has; the random ones are counted without being drawn."""
    drawn = sum(map(len, sequences(mode, 1, 0)))
    return drawn - random_pairs(mode, 1) + random_pairs(mode, vectors)


def _corners(rng, mode: Mode) -> Sequence:
    """Every pair of corners in every lane under every action after every action."""
    w, a = (np.array(sorted(set(codes.corners().values()))) for codes in code_sets(mode))
    pairs, cycle = len(w) * len(a), len(ACTION_CYCLE)
    order = np.tile(np.arange(pairs), (mode.lanes, cycle, 1))
    order = rng.permuted(order, axis=-1).transpose(2, 1, 0).reshape(-1, mode.lanes)
    order = np.concatenate([order[:1], order])
    action = np.resize(ACTION_CYCLE, len(order))
    return Sequence(
        mode=mode, pattern="corners", w=w[order // len(a)], a=a[order % len(a)],
        clear=action >= 2, en=action % 2 == 0, garbage=False,
    )  # fmt: skip


def _random(rng, mode: Mode, length: int) -> Sequence:
    w, a = (codes.draw(rng, (length, mode.lanes)) for codes in code_sets(mode))
    en = rng.random(length) < 0.9
    return Sequence(mode=mode, pattern="random", w=w, a=a, clear=starts(rng, length), en=en)


def _exhaustive(rng, mode: Mode) -> Sequence:
    """Every pair of codes in every lane, in an order of the lane's own."""
    w, a = operands(mode)
    pairs = np.stack([rng.permutation(len(w) * len(a)) for _ in range(mode.lanes)], axis=-1)
    clear, en = starts(rng, len(pairs)), np.ones(len(pairs), dtype=bool)
    return Sequence(
        mode=mode, pattern="exhaustive", w=w[pairs // len(a)], a=a[pairs % len(a)],
        clear=clear, en=en,
    )  # fmt: skip


def _extremes(mode: Mode) -> Iterator[Sequence]:
    """The largest product RUN_LENGTH times, which wraps an accumulator of few guard bits around."""
    weights, activations = code_sets(mode)
    shape = (RUN_LENGTH, mode.lanes)
    for code in (weights.low, weights.high):
        yield Sequence(
            mode=mode, pattern="extremes", w=np.full(shape, code),
            a=np.full(shape, activations.high), clear=np.arange(RUN_LENGTH) == 0,
            en=np.ones(RUN_LENGTH, dtype=bool),
        )  # fmt: skip

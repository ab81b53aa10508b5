"""Matrix products that a bench sends through an array, one after the other without draining it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hw.rtl.spec import ArraySpec, Mode, Tile
from hw.tb.coverage import Cross
from hw.tb.sequences import all_modes, code_sets, operands

STALLS = ("none", "random", "alternating", "bursts", "long")
SIGNEDNESS = ("unsigned", "signed")
STREAMS = ("weights", "activations", "sums")
# How a product's first tile differs from the tile before.
SWITCHES = ("same weights", "other weights", "other signedness", "other bits")


@dataclass(frozen=True, kw_only=True)
class Product:
    """Codes of activations `a` (M, K) and weights `w` (K, N), and how each stream stalls."""

    mode: Mode
    w: NDArray[np.int64]
    a: NDArray[np.int64]
    stalls: Mapping[str, str]
    switch: str = ""

    def __str__(self) -> str:
        m, k, n = self.shape
        sign = " signed" if self.mode.a_signed else ""
        stalls = ", ".join(f"{stream} {pattern}" for stream, pattern in self.stalls.items())
        return (
            f"{m} x {k} times {k} x {n}, {self.mode.w_bits} x {self.mode.a_bits} bits{sign}, "
            f"{self.mode.lanes} lane(s), stalls: {stalls}"
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(m, k, n)."""
        return len(self.a), len(self.w), self.w.shape[1]

    def tiles(self, spec: ArraySpec) -> list[Tile]:
        """The product's tiles on an array."""
        return list(spec.tiles(*self.shape, self.mode))


def mode_class(spec: ArraySpec, mode: Mode) -> str:
    """Lanes, and whether operands are of one bit, fill their lanes or are gated inside them."""
    widths = spec.w_width // mode.lanes, spec.a_width // mode.lanes
    bits = mode.w_bits, mode.a_bits
    kind = "one-bit" if 1 in bits else "whole" if bits == widths else "gated"
    return f"{mode.lanes}x {kind}"


def mode_classes(spec: ArraySpec) -> dict[tuple[str, bool], list[Mode]]:
    """The modes of each class and signedness of activations."""
    classes: dict[tuple[str, bool], list[Mode]] = {}
    for mode in all_modes(spec.mac):
        classes.setdefault((mode_class(spec, mode), mode.a_signed), []).append(mode)
    return classes


def switches(spec: ArraySpec) -> tuple[str, ...]:
    """The switches between tiles that the array can see."""
    return SWITCHES if spec.mac.scalable else SWITCHES[:-1]


@dataclass(frozen=True)
class Goal:
    """A way of entering a product that the plan must contain."""

    kind: str
    a_signed: bool
    switch: str
    stalls: tuple[str, ...]


def goals(spec: ArraySpec, rng: np.random.Generator) -> list[Goal]:
    """Every class of modes, entered by every switch, with every stall pattern on every stream."""
    found = []
    for (kind, signed), switch in product(mode_classes(spec), switches(spec)):
        orders = [rng.permutation(STALLS).tolist() for _ in STREAMS]
        found += [Goal(kind, signed, switch, stalls) for stalls in zip(*orders, strict=True)]
    return found


class Plan:
    """Random products that reach every goal, each product following the one before as it says."""

    def __init__(self, spec: ArraySpec, seed: int):
        self.spec, self.rng = spec, np.random.default_rng(seed)
        self.classes = mode_classes(spec)
        self.before: Product | None = None

    def products(self) -> Iterator[Product]:
        """The products, in order."""
        left = goals(self.spec, self.rng)
        yield self._next(Goal(left[0].kind, left[0].a_signed, "", ("none",) * len(STREAMS)))
        while left:
            ways = [goal for goal in left if self._modes(goal)]
            # A switch to other bits leads anywhere: keep them for when nothing else is left here.
            near = [goal for goal in ways if goal.switch != SWITCHES[-1]] or ways
            if near:
                goal = near[self.rng.integers(len(near))]
                left.remove(goal)
            else:
                goal = self._detour(left[0])
            yield self._next(goal)

    def _detour(self, goal: Goal) -> Goal:
        """A way towards where `goal` can follow, or away from here where that is not possible."""
        signed = goal.a_signed ^ (goal.switch == "other signedness")
        switch = SWITCHES[-1] if self.spec.mac.scalable else "other signedness"
        ways = [Goal(kind, s, switch, goal.stalls) for kind, s in self.classes]
        ways = [way for way in ways if self._modes(way)]
        wanted = [way for way in ways if (way.kind, way.a_signed) == (goal.kind, signed)]
        return (wanted or ways)[0]

    def _modes(self, goal: Goal) -> list[Mode]:
        """Modes of the goal's class that its switch can enter from the product before."""
        choices = self.classes[goal.kind, goal.a_signed]
        if self.before is None:
            return choices
        return [mode for mode in choices if goal.switch.endswith(_switch(self.before.mode, mode))]

    def _next(self, goal: Goal) -> Product:
        modes = self._modes(goal)
        mode = modes[self.rng.integers(len(modes))]
        if goal.switch == SWITCHES[0] and self.before is not None:
            w = _last_tile(self.spec, self.before)
        else:
            w = self._codes(mode, 0, self._shape(mode))
        a = self._codes(mode, 1, (self._rows(), len(w)))
        stalls = dict(zip(STREAMS, goal.stalls, strict=True))
        self.before = Product(mode=mode, w=w, a=a, stalls=stalls, switch=goal.switch)
        return self.before

    def _rows(self) -> int:
        depth = self.spec.depth
        return _size(self.rng, 2 * depth, (1, depth, depth + 1))

    def _shape(self, mode: Mode) -> tuple[int, int]:
        """(k, n), of up to three tiles along K and two along N."""
        along_k, along_n = self.spec.lanes_along(mode)
        k, n = self.spec.rows * along_k, self.spec.columns * along_n
        k = _size(self.rng, min(3 * k, self.spec.k_max), (1, k, k + 1))
        # Lanes that are summed together must be full where +1 and -1 meet.
        k = -(-k // along_k) * along_k if all(mode.binary) else k
        return k, _size(self.rng, 2 * n, (1, n, n + 1))

    def _codes(self, mode: Mode, which: int, shape: tuple[int, int]) -> NDArray[np.int64]:
        codes = code_sets(mode)[which]
        corners = sorted({*codes.corners().values()})
        return self.rng.choice(corners if self.rng.random() < 0.3 else codes.all(), shape)


def _size(rng: np.random.Generator, high: int, edges: Sequence[int]) -> int:
    """A size up to `high`, half of the time one of the edges."""
    edges = [edge for edge in edges if edge <= high]
    return int(rng.choice(edges) if rng.random() < 0.5 else rng.integers(1, high + 1))


def _switch(before: Mode, mode: Mode) -> str:
    if (before.w_bits, before.a_bits) != (mode.w_bits, mode.a_bits):
        return "other bits"
    return "other signedness" if before.a_signed != mode.a_signed else "weights"


def _last_tile(spec: ArraySpec, before: Product) -> NDArray[np.int64]:
    tile = before.tiles(spec)[-1]
    return before.w[tile.k, tile.n]


def longest(spec: ArraySpec) -> list[Product]:
    """Sums of k_max products in the widest mode: the largest of either sign, and by signed
    activations."""
    found = []
    for signed, first, second in ((False, 0, -1), (False, -1, -1), (True, 0, 0)):
        mode = spec.mac.mode(spec.w_width, spec.a_width, signed)
        w, a = operands(mode)
        found.append(
            Product(
                mode=mode,
                w=np.full((spec.k_max, min(2, spec.columns)), w[first]),
                a=np.full((1, spec.k_max), a[second]),
                stalls=dict.fromkeys(STREAMS, "none"),
            )
        )
    return found


def without_stalls(spec: ArraySpec, count: int, seed: int) -> list[Product]:
    """Products of random shapes whose cycles are counted."""
    plan = Plan(spec, seed)
    modes, found = all_modes(spec.mac), []
    for _ in range(count):
        mode = modes[plan.rng.integers(len(modes))]
        k, n = plan._shape(mode)
        w, a = plan._codes(mode, 0, (k, n)), plan._codes(mode, 1, (plan._rows(), k))
        found.append(Product(mode=mode, w=w, a=a, stalls=dict.fromkeys(STREAMS, "none")))
    return found


def crosses(spec: ArraySpec) -> list[Cross]:
    """What must be covered: for each stream, how products in each mode are entered and stall."""
    classes = mode_classes(spec)
    points = {
        "mode": list(dict.fromkeys(kind for kind, _ in classes)),
        "activations": SIGNEDNESS,
        "entered by": switches(spec),
        "stalls": STALLS,
    }
    return [Cross(stream, points) for stream in STREAMS]


def cover(spec: ArraySpec, products: Sequence[Product], found: Sequence[Cross]) -> None:
    """Sample the products that follow another one."""
    for sent in products:
        if sent.switch:
            bins = mode_class(spec, sent.mode), SIGNEDNESS[sent.mode.a_signed], sent.switch
            for cross, stream in zip(found, STREAMS, strict=True):
                cross.see(*bins, sent.stalls[stream])

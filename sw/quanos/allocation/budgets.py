"""One mechanism that meets any budget: which layer gets the next bit, until nothing fits.

A policy says under which pressure a layer gives a bit up, as one number per bit. Under a budget all
layers start at one bit, and the bit that would be held under the highest pressure is bought first;
a layer whose next bit does not fit is left as it is, and the others go on. The result is never
above the budget, and no layer can have one bit more. Without chance and without a search: the same
measurement and budget give the same bits.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_BITS = 16
Bits = dict[str, int]
Pressures = Mapping[str, Sequence[float]]
"""Layer -> pressure up to which it holds its 2nd, 3rd, ... bit, falling; the last one is its most
bits."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much precision may be spent.

    `k0` is the precision that sensitivity zero gets (16 in the paper, or 32 with rounds). Without a
    limit, `start` gives each layer's own in later rounds; with one, every round spends the whole
    limit anew, from k0. At most one limit: `mean_bits` over layers, or
    `energy_mj` per image, where `costs_mj` has each layer's energy at 1..16 bits (see
    `quanos.energy.energy_costs`). `seed` is for policy random; `exact` asks policies of least loss
    for an exact search in place of the greedy one.
    """

    k0: int = 16
    start: Mapping[str, int] | None = None
    mean_bits: float | None = None
    energy_mj: float | None = None
    costs_mj: Mapping[str, Sequence[float]] | None = None
    seed: int = 0
    exact: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k0 <= 32:
            raise ValueError(f"k0 must be a whole number from 1 to 32, not {self.k0}.")
        if self.mean_bits is not None and not 1 <= self.mean_bits <= MAX_BITS:
            raise ValueError(f"mean_bits must be from 1 to {MAX_BITS}, not {self.mean_bits:g}.")
        if self.mean_bits is not None and self.energy_mj is not None:
            raise ValueError("a budget is in mean bits or in millijoules, not in both; give one.")
        if self.energy_mj is not None and self.costs_mj is None:
            raise ValueError("a budget in millijoules needs each layer's energy (costs_mj).")

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.mean_bits is not None or self.energy_mj is not None

    @property
    def limit(self) -> float:
        """The limit of the sum of `cost`: bits over all layers, or mJ; a hair above, for floats."""
        limit = self.mean_bits if self.mean_bits is not None else self.energy_mj
        return float("inf") if limit is None else limit * (1 + 1e-12)

    def cost(self, name: str, bits: int, layers: int) -> float:
        """What a layer costs at `bits`, as its share of the limit, one of `layers` layers.

        Raises ValueError for a layer that the budget in millijoules has no energy of.
        """
        if self.energy_mj is None or self.costs_mj is None:
            return bits / layers
        if name not in self.costs_mj:
            raise ValueError(f"the budget has no energy of layer {name}.")
        return self.costs_mj[name][bits - 1]

    def total(self, bits: Mapping[str, int]) -> float:
        """What these bits cost, in the unit of the limit."""
        return sum(self.cost(name, k, len(bits)) for name, k in bits.items())

    def allows(self, bits: Mapping[str, int]) -> bool:
        """Whether the limit has room for these bits, up to the rounding of sums."""
        return self.total(bits) <= self.limit * (1 + 1e-9)

    def from_bits(self, name: str) -> int:
        """The bits that a layer's sensitivity takes from."""
        return self.start[name] if self.start and not self.limited else self.k0

    def most(self, name: str) -> int:
        """The most bits that a layer can get."""
        return min(self.from_bits(name), MAX_BITS)


def spend(pressures: Pressures, budget: Budget) -> Bits:
    """The bits that the budget's limit buys, in the order of pressures.

    Equal pressures go to the layer with fewer bits, then to the first. Raises ValueError where one
    bit everywhere is above the limit.
    """
    bits = dict.fromkeys(pressures, 1)
    spent = budget.total(bits)
    places = {name: place for place, name in enumerate(pressures)}
    queue = [(-row[0], 1, places[name], name) for name, row in pressures.items() if row]
    heapq.heapify(queue)
    waiting: list[tuple[float, int, int, str]] = []  # bits that did not fit
    while queue:
        entry = _, k, _, name = heapq.heappop(queue)
        price = budget.cost(name, k + 1, len(bits)) - budget.cost(name, k, len(bits))
        if spent + price > budget.limit and price > 0:
            waiting.append(entry)
            continue
        bits[name], spent = k + 1, spent + price
        if k < len(pressures[name]):
            heapq.heappush(queue, (-pressures[name][k], k + 1, places[name], name))
        if price < 0:  # a width that is cheaper than the one below makes room again
            queue, waiting = [*queue, *waiting], []
            heapq.heapify(queue)
    return within(bits, budget)


def within(bits: Bits, budget: Budget) -> Bits:
    """The bits, if the budget has room for them; ValueError, with what they cost, otherwise."""
    if not budget.allows(bits):
        unit = "mean bits" if budget.energy_mj is None else "mJ"
        raise ValueError(
            f"a budget of {budget.limit:.4g} {unit} is too small: the least this network can cost "
            f"is {budget.total(bits):.4g} {unit}."
        )
    return bits


def slopes(losses: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Pressures of a layer whose loss is known at 1, 2, ... bits: loss saved per cost of each bit.

    Taken from the lower convex hull of loss over cost, so that they fall, as pressures must: a bit
    that helps only together with the next has the mean of both.

    >>> slopes([8, 4, 2, 1], [1, 2, 3, 4]), slopes([8, 8, 2], [1, 2, 3])
    ([4.0, 2.0, 1.0], [3.0, 3.0])
    """
    hull = [0]
    for point in range(1, len(losses)):
        while len(hull) > 1 and _slope(hull[-2], hull[-1], losses, costs) <= _slope(
            hull[-1], point, losses, costs
        ):
            hull.pop()
        hull.append(point)
    return [
        _slope(low, high, losses, costs) for low, high in pairwise(hull) for _ in range(low, high)
    ]


def _slope(low: int, high: int, losses: Sequence[float], costs: Sequence[float]) -> float:
    saved, price = losses[low] - losses[high], costs[high] - costs[low]
    if price <= 0:  # a bit that costs nothing is bought first, if it does no harm
        return float("inf") if saved >= 0 else saved
    return saved / price


def mean(bits: Mapping[str, int]) -> float:
    """Mean bits over layers, every layer counted once, as the paper counts."""
    return sum(bits.values()) / len(bits)

"""Policies: what was measured of every layer, and a budget, become bits per layer.

Every policy has one call shape: `policy(measurement, budget) -> {layer: bits}`, where a measurement
is one number per layer in forward order. `uniform` and `random` use its layer names alone.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_BITS = 16


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much precision may be spent.

    `k0` is the precision that sensitivity zero gets (16 in the paper, or 32 with rounds); in later
    rounds `start` gives each layer's own. `mean_bits`, where given, is an upper limit of the mean
    over layers. `seed` is for `random`.
    """

    k0: int = 16
    start: Mapping[str, int] | None = None
    mean_bits: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.k0 <= 32:
            raise ValueError(f"k0 must be a whole number from 1 to 32, not {self.k0}.")
        if self.mean_bits is not None and not 1 <= self.mean_bits <= MAX_BITS:
            raise ValueError(f"mean_bits must be from 1 to {MAX_BITS}, not {self.mean_bits:g}.")


Bits = dict[str, int]
Measurement = Mapping[str, float]
Policy = Callable[[Measurement, Budget], Bits]


def eq3(sensitivity: float, k0: int) -> int:
    """k = k0 - round(ANS k0), ties to even, kept within 1..min(k0, 16) (Eq. 3 of the paper).

    >>> eq3(0.44, 16), eq3(0.88, 16), eq3(1.3, 16)
    (9, 2, 1)
    """
    return max(1, min(k0 - round(sensitivity * k0), k0, MAX_BITS))


def ans(measurement: Measurement, budget: Budget) -> Bits:
    """Eq. 3: high adversarial noise sensitivity, low precision.

    Where that exceeds the budget's mean, all sensitivities are scaled up by the same smallest
    factor that keeps it.
    """
    return _scaled(measurement, budget)


def uniform(measurement: Measurement, budget: Budget) -> Bits:
    """The same bits everywhere: the budget's mean, rounded, or k0 without one."""
    bits = budget.k0 if budget.mean_bits is None else round(budget.mean_bits)
    return dict.fromkeys(measurement, max(1, min(bits, MAX_BITS)))


def random(measurement: Measurement, budget: Budget) -> Bits:
    """Eq. 3 on sensitivities drawn from [0, 1): what chance makes of the same budget."""
    draw = _random.Random(budget.seed)
    return _scaled({name: draw.random() for name in measurement}, budget)


def _scaled(sensitivity: Measurement, budget: Budget) -> Bits:
    start = budget.start or dict.fromkeys(sensitivity, budget.k0)

    def bits(factor: float) -> Bits:
        return {name: eq3(factor * value, start[name]) for name, value in sensitivity.items()}

    limit = budget.mean_bits
    if limit is None or mean(bits(1)) <= limit:
        return bits(1)
    low, high = 1.0, 2.0
    while mean(bits(high)) > limit:
        if high > 1e9:
            raise ValueError(f"no sensitivity is above zero, so {limit:g} mean bits are too few.")
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(bits(middle)) > limit else (low, middle)
    return bits(high)


def mean(bits: Mapping[str, int]) -> float:
    """Mean bits over layers, every layer counted once, as the paper counts."""
    return sum(bits.values()) / len(bits)


POLICIES: dict[str, Policy] = {"ans": ans, "uniform": uniform, "random": random}


def assign(policy: str, measurement: Measurement, budget: Budget) -> Bits:
    """Bits per layer by the policy of that name. Raises ValueError for an unknown one."""
    if policy not in POLICIES:
        raise ValueError(f"policy {policy!r} is unknown; there are {', '.join(POLICIES)}.")
    if not measurement:
        raise ValueError("the measurement holds no layer; there is nothing to assign.")
    for name, value in measurement.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"the measurement of {name} must be finite and not negative: {value}.")
    return POLICIES[policy](measurement, budget)

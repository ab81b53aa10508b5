"""Policies: what was measured of every layer, and a budget, become bits per layer.

Every policy has one call shape: `policy(measurement, budget) -> {layer: bits}`. It says how layers
compare; `quanos.allocation.budgets` says what a limit buys.

| policy | measurement | bits without a limit |
|---|---|---|
| `ans` | ans | Eq. 3: k0 - round(ANS k0) |
| `activation-density` | activation-density | k = round(k0 AD) (arXiv 2101.04354) |
| `hessian` | hessian | needs a limit: loss by trace and weight error (HAWQ-V2, arXiv 1911.03852) |
| `lipschitz` | lipschitz | needs a limit: a reconstruction after Song et al. (arXiv 2110.12308) |
| `uniform` | any | k0 everywhere |
| `random` | any | Eq. 3 on numbers drawn by chance |
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Mapping

from quanos.allocation.budgets import MAX_BITS, Bits, Budget, mean, slopes, spend, within
from quanos.sensing.measurement import Measurement

__all__ = ["KIND", "MAX_BITS", "POLICIES", "Bits", "Budget", "Policy", "assign", "eq3", "mean"]

Policy = Callable[[Measurement, Budget], Bits]


def eq3(sensitivity: float, k0: int) -> int:
    """k = k0 - round(ANS k0), ties to even, kept within 1..min(k0, 16) (Eq. 3 of the paper).

    >>> eq3(0.44, 16), eq3(0.88, 16), eq3(1.3, 16)
    (9, 2, 1)
    """
    return max(1, min(k0 - round(sensitivity * k0), k0, MAX_BITS))


def ans(measurement: Measurement, budget: Budget) -> Bits:
    """Eq. 3: high adversarial noise sensitivity, low precision.

    Under a limit all sensitivities are scaled by one factor until the limit is met.
    """
    return _by_sensitivity(measurement.layers, budget)


def random(measurement: Measurement, budget: Budget) -> Bits:
    """Eq. 3 on sensitivities drawn from [0, 1): what chance makes of the same budget."""
    draw = _random.Random(budget.seed)
    return _by_sensitivity({name: draw.random() for name in measurement.layers}, budget)


def _by_sensitivity(sensitivity: Mapping[str, float], budget: Budget) -> Bits:
    starts = {name: budget.from_bits(name) for name in sensitivity}
    if not budget.limited:
        return {name: eq3(value, starts[name]) for name, value in sensitivity.items()}

    def factor(name: str, bits: int) -> float:
        """The factor of the sensitivity up to which Eq. 3 leaves the layer `bits` bits."""
        change = sensitivity[name] * starts[name]
        return (starts[name] - bits + 0.5) / change if change else float("inf")

    return spend(_pressures(sensitivity, budget, factor), budget)


def activation_density(measurement: Measurement, budget: Budget) -> Bits:
    """k = round(k0 AD): a layer of which few activations are alive gets few bits.

    Under a limit all densities are scaled by one factor until the limit is met.
    """
    density = measurement.layers
    starts = {name: budget.from_bits(name) for name in density}
    if not budget.limited:
        return {n: max(1, min(round(starts[n] * d), MAX_BITS)) for n, d in density.items()}
    return spend(
        _pressures(density, budget, lambda name, k: starts[name] * density[name] / (k - 0.5)),
        budget,
    )


def _pressures(
    layers: Mapping[str, float], budget: Budget, of: Callable[[str, int], float]
) -> dict[str, list[float]]:
    return {name: [of(name, k) for k in range(2, budget.most(name) + 1)] for name in layers}


def least_loss(measurement: Measurement, budget: Budget) -> Bits:
    """The next bit goes where it saves most loss per cost: least loss in all under the limit.

    With `budget.exact` the total loss is the least that there is (`quanos.allocation.knapsack`).
    Raises ValueError without a limit: more bits are never worse by such a measurement.
    """
    if not budget.limited:
        raise ValueError(
            f"policy {measurement.kind} needs a budget; give mean bits or millijoules."
        )
    if budget.exact:
        from quanos.allocation.knapsack import solve

        return solve(measurement.losses, budget)
    layers = len(measurement.layers)
    pressures = {}
    for name, losses in measurement.losses.items():
        widths = range(1, budget.most(name) + 1)
        costs = [budget.cost(name, k, layers) for k in widths]
        pressures[name] = slopes(losses[: len(costs)], costs)
    return spend(pressures, budget)


def uniform(measurement: Measurement, budget: Budget) -> Bits:
    """The same bits everywhere: the most that the limit has room for, k0 without one."""
    layers = measurement.layers
    for bits in range(MAX_BITS if budget.limited else min(budget.k0, MAX_BITS), 1, -1):
        if budget.total(dict.fromkeys(layers, bits)) <= budget.limit:
            return dict.fromkeys(layers, bits)
    return within(dict.fromkeys(layers, 1), budget)


POLICIES: dict[str, Policy] = {
    "ans": ans,
    "lipschitz": least_loss,
    "activation-density": activation_density,
    "hessian": least_loss,
    "uniform": uniform,
    "random": random,
}
KIND: dict[str, str | None] = {name: name for name in POLICIES} | {"uniform": None, "random": None}
"""The kind of measurement that a policy takes; None: any, of which it sees the layers' names."""


def assign(policy: str, measurement: Measurement | Mapping[str, float], budget: Budget) -> Bits:
    """Bits per layer by the policy of that name.

    A bare {layer: number} counts as a measurement of the kind that the policy takes. Raises
    ValueError for an unknown policy, a measurement of another kind, or a budget that is too small.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy {policy!r} is unknown; there are {', '.join(POLICIES)}.")
    if budget.exact and POLICIES[policy] is not least_loss:
        raise ValueError(
            f"policy {policy} has no losses to minimise; an exact search is for hessian, lipschitz."
        )
    kind = KIND[policy]
    if not isinstance(measurement, Measurement):
        measurement = Measurement(kind=kind or "ans", layers=measurement)
    if kind not in (None, measurement.kind):
        raise ValueError(
            f"policy {policy} needs a measurement of {kind}, and this one is of "
            f"{measurement.kind}; measure with quanos sense --measure {kind}."
        )
    return POLICIES[policy](measurement, budget)

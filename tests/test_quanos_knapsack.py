"""The exact search for bits, against trying everything."""

from itertools import product

import numpy as np
import pytest

from quanos.budgets import Budget
from quanos.knapsack import solve
from quanos.measurement import Measurement
from quanos.policies import assign


def problem(seed: int, layers: int, widths: int) -> tuple[dict[str, list[float]], Budget]:
    """Falling losses and rising, uneven costs, as layers of different sizes have."""
    rng = np.random.default_rng(seed)
    names = [f"layer{i}" for i in range(layers)]
    losses = {n: (rng.uniform(0.1, 10) * rng.uniform(0.2, 0.7) ** np.arange(widths)).tolist()
              for n in names}  # fmt: skip
    costs = {n: np.cumsum(rng.uniform(0.1, 2, widths)).tolist() for n in names}
    limit = sum(c[0] for c in costs.values()) + rng.uniform(0.5, 2.5) * layers
    budget = Budget(k0=widths, energy_mj=limit, costs_mj=costs, exact=True)
    return losses, budget


@pytest.mark.parametrize("seed", range(12))
def test_nothing_loses_less(seed: int) -> None:
    losses, budget = problem(seed, layers=4, widths=5)
    best = min(
        sum(losses[name][k - 1] for name, k in zip(losses, choice, strict=True))
        for choice in product(range(1, 6), repeat=4)
        if budget.total(dict(zip(losses, choice, strict=True))) <= budget.limit
    )
    bits = solve(losses, budget)
    assert budget.total(bits) <= budget.limit
    assert sum(losses[name][k - 1] for name, k in bits.items()) == pytest.approx(best, rel=1e-6)


def test_exact_is_never_worse_than_greedy_and_sometimes_better() -> None:
    better = 0
    for seed in range(20):
        losses, budget = problem(seed, layers=8, widths=16)
        rows = {name: tuple(row) for name, row in losses.items()}
        measured = Measurement(kind="hessian", layers=dict.fromkeys(losses, 1.0), losses=rows)
        greedy = Budget(energy_mj=budget.energy_mj, costs_mj=budget.costs_mj)
        loss = [
            sum(losses[n][k - 1] for n, k in assign("hessian", measured, b).items())
            for b in (budget, greedy)
        ]
        assert loss[0] <= loss[1] * (1 + 1e-6)
        better += loss[0] < 0.999 * loss[1]
    assert better >= 3


def test_a_budget_that_is_too_small_is_refused() -> None:
    losses, budget = problem(0, layers=3, widths=4)
    assert budget.costs_mj is not None
    small = Budget(energy_mj=0.01, costs_mj=budget.costs_mj, exact=True)
    with pytest.raises(ValueError, match="is too small"):
        solve(losses, small)


def test_policies_without_losses_have_no_exact_search() -> None:
    budget = Budget(mean_bits=4, exact=True)
    with pytest.raises(ValueError, match="policy ans has no losses"):
        assign("ans", {"a": 0.1, "b": 0.2}, budget)

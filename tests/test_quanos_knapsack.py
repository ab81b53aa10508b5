"""The exact search for bits, against trying everything."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quanos.allocation.budgets import Budget
from quanos.allocation.knapsack import solve
from quanos.policies import assign
from quanos.sensing.measurement import Measurement


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


WIDTHS = 4
numbers = st.floats(0, 10, allow_subnormal=False)
rows = st.lists(numbers, min_size=WIDTHS, max_size=WIDTHS)
layers = st.lists(st.tuples(rows, rows), min_size=1, max_size=4)


@settings(max_examples=60)  # each starts the solver
@given(
    layers,
    st.lists(st.integers(1, WIDTHS), min_size=4, max_size=4),
    st.sampled_from([1.0, 1 - 1e-7, 1 + 1e-7, 0.9, 1.5]),
    st.booleans(),
)
def test_whatever_losses_and_costs_nothing_within_the_budget_loses_less(
    given_layers, some, factor, in_bits
) -> None:
    """Against every choice there is; budgets lie at, and a hair beside, the cost of some choice.

    Losses may rise and widths be cheaper than narrower ones, as no measurement promises otherwise.
    """
    losses = {str(n): row for n, (row, _) in enumerate(given_layers)}
    costs = {str(n): [1e-3 + c for c in row] for n, (_, row) in enumerate(given_layers)}
    chosen = dict(zip(losses, some, strict=False))
    free = Budget(k0=WIDTHS, exact=True, mean_bits=WIDTHS if in_bits else None, costs_mj=costs,
                  energy_mj=None if in_bits else 1.0)  # fmt: skip
    limit = factor * free.total(chosen)
    limit = min(max(limit, 1.0), 16.0) if in_bits else limit
    budget = replace(free, **{"mean_bits" if in_bits else "energy_mj": limit})
    every = [dict(zip(losses, k, strict=True)) for k in product(range(1, 5), repeat=len(losses))]
    allowed = [bits for bits in every if budget.total(bits) <= budget.limit * (1 + 1e-9)]
    if not allowed:
        with pytest.raises(ValueError, match="is too small"):
            solve(losses, budget)
        return
    bits = solve(losses, budget)
    assert bits in allowed
    found, best = (min(total(losses, one) for one in some) for some in ([bits], allowed))
    highest = max(max(row) for row in losses.values())
    assert found == pytest.approx(best, rel=1e-6, abs=4e-6 * highest)


def total(losses: dict[str, list[float]], bits: dict[str, int]) -> float:
    return sum(losses[name][k - 1] for name, k in bits.items())


def test_exact_is_never_worse_than_greedy_and_sometimes_better() -> None:
    better = 0
    for seed in range(20):
        losses, budget = problem(seed, layers=8, widths=16)
        rows = {name: tuple(row) for name, row in losses.items()}
        measured = Measurement(kind="hessian", layers=dict.fromkeys(losses, 1.0), losses=rows)
        greedy = Budget(energy_mj=budget.energy_mj, costs_mj=budget.costs_mj)
        loss = [total(losses, assign("hessian", measured, b)) for b in (budget, greedy)]
        assert loss[0] <= loss[1] * (1 + 1e-6)
        better += loss[0] < 0.999 * loss[1]
    assert better >= 3


def test_a_budget_that_is_too_small_is_refused() -> None:
    losses, budget = problem(0, layers=3, widths=4)
    assert budget.costs_mj is not None
    small = Budget(energy_mj=0.01, costs_mj=budget.costs_mj, exact=True)
    with pytest.raises(ValueError, match="is too small"):
        solve(losses, small)


def test_a_width_that_is_cheaper_than_the_one_below_is_found() -> None:
    """As with signed operands, whose second bit costs less than nothing in the measured table."""
    costs = {"a": [5.0, 3.0, 6.0], "b": [1.0, 2.0, 3.0]}
    losses = {"a": [9.0, 4.0, 1.0], "b": [3.0, 2.0, 1.0]}
    rows = {name: tuple(row) + (0.5,) * 13 for name, row in losses.items()}
    measured = Measurement(kind="hessian", layers={"a": 1.0, "b": 1.0}, losses=rows)
    for exact in (False, True):
        budget = Budget(k0=3, energy_mj=4.5, costs_mj=costs, exact=exact)
        assert assign("hessian", measured, budget) == {"a": 2, "b": 1}
    with pytest.raises(ValueError, match="the least this network can cost is 4 mJ"):
        solve(losses, replace(budget, energy_mj=3.9))


def test_policies_without_losses_have_no_exact_search() -> None:
    budget = Budget(mean_bits=4, exact=True)
    with pytest.raises(ValueError, match="policy ans has no losses"):
        assign("ans", {"a": 0.1, "b": 0.2}, budget)

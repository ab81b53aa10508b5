"""The exact search for bits: least loss under a budget, as a multiple-choice knapsack.

Each layer takes one width out of 1..16; the sum of losses is least while the sum of costs stays
under the limit. HiGHS (through SciPy) solves it as an integer programme, to a gap of zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from quanos.allocation.budgets import Bits, Budget, within


def solve(losses: Mapping[str, Sequence[float]], budget: Budget) -> Bits:
    """The bits of least total loss; `losses` are each layer's at 1, 2, ... bits.

    Raises ValueError where the cheapest widths are above the limit, or the solver gives up.
    """
    names = list(losses)
    widths = {name: range(1, min(budget.most(name), len(losses[name])) + 1) for name in names}
    least = {n: min((budget.cost(n, k, len(names)), k) for k in widths[n])[1] for n in names}
    within(least, budget)  # signed operands can make two bits cheaper than one
    choices = [(name, k) for name in names for k in widths[name]]
    loss = np.array([losses[name][k - 1] for name, k in choices])
    cost = np.array([budget.cost(name, k, len(names)) for name, k in choices])
    one_each = np.array([[float(name == choice) for choice, _ in choices] for name in names])
    constraints = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(cost[None] / budget.limit, -np.inf, 1),
    ]
    while True:
        found = milp(
            loss
            / max(float(np.abs(loss).max()), 1e-300),  # scaled: the solver's tolerances are not
            integrality=np.ones(len(choices)),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            raise ValueError(f"the exact search found no bits ({found.message}); search greedily.")
        taken = found.x > 0.5
        bits = {name: k for (name, k), one in zip(choices, taken, strict=True) if one}
        if budget.allows(bits):
            return bits
        # The solver lets a sum pass that is a millionth above its limit: not these bits, then.
        constraints.append(LinearConstraint(taken.astype(float), -np.inf, len(names) - 1))

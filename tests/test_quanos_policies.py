"""Policies: Eq. 3 to the letter, and budgets that hold for whatever was measured."""

import json
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quanos.policies import KIND, MAX_BITS, POLICIES, Budget, assign, eq3, mean
from quanos.sensing.measurement import KINDS, WITH_LOSSES, Measurement, load

measurements = st.dictionaries(
    st.text(min_size=1, max_size=3), st.floats(0.001, 3), min_size=1, max_size=20
)


@pytest.mark.parametrize(
    ("sensitivity", "k0", "bits"),
    [
        (0.0, 16, 16),
        (0.4375, 16, 9),
        (0.03125, 16, 16),  # 0.5 rounds to the even 0
        (0.09375, 16, 14),  # 1.5 rounds to the even 2
        (0.15625, 16, 14),  # 2.5 rounds to the even 2
        (0.9375, 16, 1),
        (1.0, 16, 1),
        (7.0, 16, 1),
        (0.25, 8, 6),
        (0.25, 32, 16),  # k0 = 32 is clamped to what the hardware has
    ],
)
def test_eq3(sensitivity, k0, bits) -> None:
    assert eq3(sensitivity, k0) == bits


def measured(policy: str, layers: dict[str, float]) -> Measurement:
    """A measurement that the policy takes; losses fall by about four a bit, from each number."""
    kind = KIND[policy] or "ans"
    losses = {
        name: tuple(value * 4.0**-k * (1 + 0.9 * (k % 3)) for k in range(1, 17))
        for name, value in layers.items()
    }
    return Measurement(kind=kind, layers=layers, losses=losses if kind in WITH_LOSSES else {})


def in_mean_bits(layers: dict[str, float], share: float) -> Budget:
    return Budget(mean_bits=1 + 15 * share)


def in_millijoules(layers: dict[str, float], share: float) -> Budget:
    """Layers of very different sizes, and a second width that is cheaper than the first."""
    costs = {
        name: [10.0**place * (k + (1.5 if k == 1 else 0)) for k in range(1, 17)]
        for place, name in enumerate(layers)
    }
    least, most = (sum(f(row) for row in costs.values()) for f in (min, max))
    limit = least + (most - least) * share
    return Budget(energy_mj=limit, costs_mj=costs)


@given(
    layers=measurements,
    policy=st.sampled_from(sorted(POLICIES)),
    make=st.sampled_from([in_mean_bits, in_millijoules]),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_a_budget_is_met_as_near_as_integers_allow(layers, policy, make, share, seed) -> None:
    budget = replace(make(layers, share), seed=seed)
    bits = assign(policy, measured(policy, layers), budget)
    assert list(bits) == list(layers)
    assert all(1 <= k <= MAX_BITS for k in bits.values())
    assert budget.total(bits) <= budget.limit * (1 + 1e-9)
    assert bits == assign(policy, measured(policy, layers), budget)
    more = [{**bits, name: k + 1} for name, k in bits.items() if k < MAX_BITS]
    if policy == "uniform":
        assert len(set(bits.values())) == 1
        more = [{n: k + 1 for n, k in bits.items()}] if more else []
    assert all(budget.total(one) > budget.limit * (1 - 1e-9) for one in more)


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=3), st.integers(2, 12))
def test_hessian_finds_the_least_loss_there_is(traces, total) -> None:
    """All assignments of three layers of up to six bits, against the greedy one."""
    layers = {str(i): trace for i, trace in enumerate(traces)}
    losses = {n: tuple(v * 4.0**-k for k in range(1, 17)) for n, v in layers.items()}
    budget = Budget(k0=6, mean_bits=min(6, max(1, total / len(layers))))
    measurement = Measurement(kind="hessian", layers=layers, losses=losses)
    bits = assign("hessian", measurement, budget)
    every = (dict(zip(layers, k, strict=True)) for k in product(range(1, 7), repeat=len(layers)))
    best = min(
        sum(losses[n][k - 1] for n, k in one.items())
        for one in every
        if budget.total(one) <= budget.limit
    )
    assert sum(losses[n][k - 1] for n, k in bits.items()) == pytest.approx(best)


@pytest.mark.parametrize(
    ("densities", "expected"),
    [({"a": 0.5, "b": 1.0}, {"a": 8, "b": 16}), ({"a": 0.0, "b": 0.03125}, {"a": 1, "b": 1})],
)
def test_activation_density_rounds_k0_times_the_density(densities, expected) -> None:
    assert assign("activation-density", densities, Budget()) == expected
    assert assign("activation-density", densities, Budget(start={"a": 4, "b": 4}))["a"] <= 2


def test_eq3_and_its_limit_agree_where_the_limit_is_eq3s_own_cost() -> None:
    layers = {"a": 0.12, "b": 0.44, "c": 0.71, "d": 0.88}
    free = assign("ans", layers, Budget())
    assert assign("ans", layers, Budget(mean_bits=mean(free))) == free


@given(measurements)
def test_the_more_sensitive_layer_never_gets_more_bits(measurement) -> None:
    bits = assign("ans", measurement, Budget(mean_bits=6))
    ordered = sorted(measurement, key=measurement.__getitem__)
    assert [bits[name] for name in ordered] == sorted(bits.values(), reverse=True)


def test_random_is_the_same_for_a_seed_and_another_for_another() -> None:
    measurement = dict.fromkeys("abcdefgh", 0.5)
    draws = [assign("random", measurement, Budget(seed=seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


LOSSES = {"a": (1.0,) * 16}


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: assign("guess", {"a": 0.1}, Budget()), "there are ans, lipschitz"),
        (lambda: assign("ans", {}, Budget()), "holds no layer"),
        (lambda: assign("ans", {"a": float("nan")}, Budget()), "of a must be finite"),
        (lambda: assign("ans", {"a": -0.1}, Budget()), "of a must be finite"),
        (lambda: Measurement(kind="guess", layers={"a": 1.0}), "there are ans, activation"),
        (lambda: Measurement(kind="hessian", layers={"a": 1.0}), "needs the losses of a"),
        (
            lambda: assign("hessian", Measurement(kind="ans", layers={"a": 1.0}), Budget()),
            "needs a measurement of hessian, and this one is of ans",
        ),
        (
            lambda: assign(
                "hessian", Measurement(kind="hessian", layers={"a": 1.0}, losses=LOSSES), Budget()
            ),
            "hessian needs a budget",
        ),
        (lambda: Budget(mean_bits=4, energy_mj=1, costs_mj={}), "not in both"),
        (lambda: Budget(energy_mj=1), "needs each layer's energy"),
        (lambda: Budget(k0=33), "from 1 to 32"),
        (
            lambda: assign("ans", {"a": 1}, Budget(energy_mj=1, costs_mj={"a": [2.0] * 16})),
            "a budget of 1 mJ is too small: the least this network can cost is 2 mJ",
        ),
        (lambda: assign("ans", {"a": 1}, Budget(energy_mj=1, costs_mj={})), "no energy of layer a"),
    ],
)
def test_what_cannot_be_assigned_is_refused(build, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        build()


def test_a_later_round_starts_from_the_bits_that_are_and_a_limit_from_k0() -> None:
    layers, start = {"a": 0.25, "b": 0.5}, {"a": 8, "b": 4}
    assert assign("ans", layers, Budget(start=start)) == {"a": 6, "b": 2}
    first, later = (Budget(mean_bits=6), Budget(mean_bits=6, start=start))
    assert assign("ans", layers, first) == assign("ans", layers, later)


def test_layers_that_nothing_moves_share_a_limit_evenly() -> None:
    assert assign("ans", dict.fromkeys("abc", 0.0), Budget(mean_bits=4)) == dict.fromkeys("abc", 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_measurement_comes_back_from_its_file(kind, tmp_path) -> None:
    policy = next(name for name, needs in KIND.items() if needs == kind)
    measurement = measured(policy, {"b": 0.5, "a": 0.25}).without({"b": "a"})
    path = tmp_path / "m.json"
    path.write_text(json.dumps(measurement.to_json()))
    assert load(path)[0] == measurement
    path.write_text(json.dumps(measurement.to_json() | {"schema": "other/1"}))
    with pytest.raises(ValueError, match="no measurement of this version"):
        load(path)

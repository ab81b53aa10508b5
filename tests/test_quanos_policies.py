"""Policies: Eq. 3 to the letter, and budgets that hold for whatever was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quanos.policies import MAX_BITS, POLICIES, Budget, assign, eq3, mean

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


@given(measurements, st.sampled_from(sorted(POLICIES)), st.floats(1, MAX_BITS), st.integers(0, 9))
def test_a_budget_is_kept_by_every_policy(measurement, policy, limit, seed) -> None:
    bits = assign(policy, measurement, Budget(mean_bits=limit, seed=seed))
    assert list(bits) == list(measurement)
    assert all(1 <= k <= MAX_BITS for k in bits.values())
    assert mean(bits) <= (round(limit) if policy == "uniform" else limit)


@given(measurements)
def test_the_more_sensitive_layer_never_gets_more_bits(measurement) -> None:
    bits = assign("ans", measurement, Budget(mean_bits=6))
    ordered = sorted(measurement, key=measurement.__getitem__)
    assert [bits[name] for name in ordered] == sorted(bits.values(), reverse=True)


def test_random_is_the_same_for_a_seed_and_another_for_another() -> None:
    measurement = dict.fromkeys("abcdefgh", 0.5)
    draws = [assign("random", measurement, Budget(seed=seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    ("policy", "measurement", "sentence"),
    [
        ("guess", {"a": 0.1}, "there are ans, uniform, random"),
        ("ans", {}, "holds no layer"),
        ("ans", {"a": float("nan")}, "of a must be finite"),
        ("ans", {"a": -0.1}, "of a must be finite"),
    ],
)
def test_what_cannot_be_assigned_is_refused(policy, measurement, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        assign(policy, measurement, Budget())


def test_a_budget_that_nothing_can_meet_is_refused() -> None:
    with pytest.raises(ValueError, match="no sensitivity is above zero"):
        assign("ans", {"a": 0.0}, Budget(mean_bits=4))

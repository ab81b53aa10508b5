"""Integer multiply and shift against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quanos.integer.requantize import MANTISSA, MAX_SHIFT, multiplier, rescale

MAGNITUDE = st.integers(1 << (MANTISSA - 1), (1 << MANTISSA) - 1)


@given(
    x=st.integers(-(1 << 44), 1 << 44),
    magnitude=MAGNITUDE,
    sign=st.sampled_from([-1, 1]),
    shift=st.integers(13, MAX_SHIFT),
)
@example(x=5, magnitude=1 << 30, sign=1, shift=31)  # 2.5, a tie: 2
@example(x=7, magnitude=1 << 30, sign=-1, shift=31)  # -3.5, a tie: -4
@example(x=3 << 33, magnitude=1 << 30, sign=1, shift=64)  # a tie above the lower limb
@example(x=(1 << 44) - 1, magnitude=(1 << 31) - 1, sign=-1, shift=13)
def test_rescale_rounds_the_exact_product_to_even(
    x: int, magnitude: int, sign: int, shift: int
) -> None:
    exact = round(Fraction(x * sign * magnitude, 1 << shift))
    assert int(rescale(x, sign * magnitude, shift)) == exact


@given(scale=st.floats(-(2.0**30), 2.0**30, allow_subnormal=False).filter(lambda s: abs(s) > 1e-18))
def test_a_scale_is_held_within_its_stated_error(scale: float) -> None:
    mantissa, shift = multiplier(scale)
    held = Fraction(int(mantissa), 1 << int(shift))
    assert abs(held - Fraction(scale)) <= abs(Fraction(scale)) / (1 << MANTISSA)
    assert 1 << (MANTISSA - 1) <= abs(int(mantissa)) < 1 << MANTISSA


def test_scales_broadcast_over_channels() -> None:
    mantissa, shift = multiplier([0.5, 2.0, 0.0])
    sums = np.array([[3, 3, 3], [-5, -5, -5]])
    assert rescale(sums, mantissa, shift).tolist() == [[2, 6, 0], [-2, -10, 0]]


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 2.0**31])
def test_scales_that_cannot_be_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=r"finite and less than 2\*\*31"):
        multiplier(scale)

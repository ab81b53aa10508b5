"""Supply scaling: the law, the search for the lowest supply, the corner fit."""

from __future__ import annotations

import pytest
from test_flows_library import full_library

from flows.console import FlowError
from flows.supply import FIT_ERROR, LAW, SupplyLaw, fit_corners


def test_law_by_hand():
    law = SupplyLaw(vt_v=0.5, alpha=2.0)
    assert law.delay_ratio(1.0, 1.0) == 1.0
    assert law.delay_ratio(0.75, 1.0) == pytest.approx(0.75 / 0.0625 / (1.0 / 0.25))
    assert law.energy_ratio(0.8, 1.0) == pytest.approx(0.64)


@pytest.mark.parametrize(
    ("slack", "expected"),
    [(1.0, 1.0), (LAW.delay_ratio(0.9, 1.0), 0.9), (LAW.delay_ratio(0.8, 1.0), 0.8), (9.0, 0.8)],
)
def test_lowest_supply_uses_up_the_slack(slack, expected):
    assert LAW.lowest_supply(1000.0, 1000.0 * slack) == pytest.approx(expected, abs=1e-4)


def test_path_fits_at_the_supply_that_is_found():
    """Rounded to the nearest uV, the supply was too low for every second path."""
    for slack in range(1001, 1400):
        supply = LAW.lowest_supply(1000.0, float(slack))
        assert 1000.0 * LAW.delay_ratio(supply, 1.0) <= slack
    supply = LAW.lowest_supply(1000.0, 1123.0)
    assert 1000.0 * LAW.delay_ratio(supply, 1.0) <= 1123.0
    assert 1000.0 * LAW.delay_ratio(supply - 1e-4, 1.0) > 1123.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"path_ps": 1001.0, "clock_ps": 1000.0}, "does not fit"),
        ({"path_ps": 1.0, "clock_ps": 1.0, "v_min": 0.4}, "must lie above"),
        ({"path_ps": 1.0, "clock_ps": 1.0, "v_min": 1.1}, "must lie above"),
    ],
)
def test_bad_questions_are_refused(arguments, says):
    with pytest.raises(FlowError, match=says):
        LAW.lowest_supply(**arguments)


@pytest.mark.parametrize("vt_v", [0.35, 0.45, 0.55])
def test_corners_fit_but_do_not_tell_the_threshold(vt_v):
    corners = [full_library(name) for name in ("slow", "typ", "fast")]
    fit = fit_corners(*corners, SupplyLaw(vt_v=vt_v))
    assert fit.error <= FIT_ERROR + 5e-4
    assert fit.measured[0] > 3

"""Coverage of the MACs' bench: full with every sequence, and it names what a missing one leaves."""

import re

import numpy as np
import pytest

from hw.rtl.spec import MacSpec
from hw.tb.coverage import Cross, Summary, table
from hw.tb.designs import Outcome
from hw.tb.mac_coverage import MacCoverage
from hw.tb.sequences import ACTION_CYCLE, RUN_LENGTH, all_modes, code_sets, sequences

SPECS = [
    MacSpec(w_width=1, a_width=1),
    MacSpec(w_width=3, a_width=9),
    MacSpec(scheme="dg", w_width=3, a_width=3),
    MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2),
    MacSpec(scheme="dvafs_st", w_width=4, a_width=4, min_lane=2),
]


def summaries(spec: MacSpec, dropped: str = "") -> dict[str, Summary]:
    coverage = MacCoverage(spec)
    for mode in all_modes(spec):
        for sequence in sequences(mode, 2000, seed=3):
            if sequence.pattern != dropped:
                coverage.sample(sequence)
    return {summary.name: summary for summary in coverage.summaries()}


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_every_sequence_together_fills_the_coverage(spec):
    assert all(summary.full for summary in summaries(spec).values())


@pytest.mark.parametrize(
    ("dropped", "cross", "named"),
    [
        ("corners", "corners", r"mode 1 x 1 bits, lane 0, w min, a min, after add, action hold"),
        ("exhaustive", "pairs", r"mode 1 x 3 bits, lane 0, w code from the least \d, a code \d"),
    ],
)
def test_a_dropped_sequence_leaves_named_bins(dropped, cross, named):
    found = summaries(SPECS[2], dropped)
    error = next(
        e for e in Outcome(name="mac", coverage=tuple(found.values())).errors if cross in e
    )
    assert error.startswith(f"mac: coverage of {cross} is {found[cross].hit} of")
    assert re.search(named, error)


def test_long_sums_are_asked_for():
    coverage, spec = MacCoverage(SPECS[0]), SPECS[0]
    mode = spec.modes()[0]
    for sequence in sequences(mode, 100, seed=1):
        coverage.sample(sequence.head(RUN_LENGTH - 1))
    missing = coverage.lengths.summary().missing
    assert f"mode 1 x 1 bits, of {RUN_LENGTH}" in missing


def test_a_held_cycle_of_garbage_shows_no_corner():
    """Where the driver replaces operands by random words, no corner stands at the ports."""
    spec = SPECS[2]
    coverage, mode = MacCoverage(spec), spec.mode(3, 3)
    for sequence in sequences(mode, 5000, seed=3):
        if sequence.pattern == "random":
            coverage.sample(sequence)
    held = coverage.corners.hit[..., 1::2]  # hold, clear and hold
    assert coverage.corners.hit.any()
    assert not held.any()


def test_actions_follow_each_other_in_every_order():
    pairs = set(zip(ACTION_CYCLE, np.roll(ACTION_CYCLE, -1).tolist(), strict=True))
    assert len(pairs) == 16


@pytest.mark.parametrize(
    ("bits", "signed", "corners"),
    [
        (1, True, {"min": -1, "max": 1, "one": 1, "minus one": -1, "alternating 01": 1}),
        (1, False, {"min": 0, "max": 1, "zero": 0, "one": 1, "alternating 01": 1,
                    "alternating 10": 0}),
        (4, True, {"min": -8, "max": 7, "zero": 0, "one": 1, "minus one": -1, "alternating 01": 5,
                   "alternating 10": -6}),
        (4, False, {"min": 0, "max": 15, "zero": 0, "one": 1, "alternating 01": 5,
                    "alternating 10": 10}),
    ],
)  # fmt: skip
def test_corners_by_name(bits, signed, corners):
    mode = MacSpec(scheme="dg").mode(4, bits, signed)
    assert code_sets(mode)[1].corners() == corners


def test_a_cross_excludes_and_counts():
    cross = Cross("g", {"x": ["a", "b"], "y": ["c", "d"]})
    cross.exclude(0, slice(None))
    cross.sample([1, 1], [0, 0])
    assert cross.summary() == Summary(name="g", bins=2, hit=1, missing=("x b, y d",))
    assert "1/2" in table({"mac": [cross.summary()]})
    assert cross.summary().sentence("mac") == (
        "mac: coverage of g is 1 of 2 bins; missing (x b, y d)."
    )
    cross.see("b", "d")
    assert cross.summary().full


@pytest.mark.parametrize("names", [("a",), ("a", "c", "c"), ("c", "c"), ("b", "a")])
def test_a_combination_that_a_cross_does_not_have_is_refused(names):
    cross = Cross("g", {"x": ["a", "b"], "y": ["c", "d"]})
    with pytest.raises(ValueError, match="g has no combination"):
        cross.see(*names)
    assert not cross.hit.any()

"""The bounded proof of the array's control holds, and refutes every way of breaking it here."""

import json
import sys

import pytest
from amaranth.hdl import Module, Signal

import hw.rtl.properties
from flows import console, control
from hw.rtl.properties import BAD, emit_properties
from hw.rtl.spec import ArraySpec
from hw.rtl.systolic_array import SystolicArray

SPEC = ArraySpec(rows=1, columns=1, w_width=2, a_width=2, k_max=2, depth=2)


def withdrawn(m, array, inner):
    """An offered beat of sums goes away in the next cycle."""
    stalled = Signal()
    m.d.sync += stalled.eq(array.sums.valid & ~array.sums.ready)
    m.d.comb += array.sums.valid.eq(inner.sums.valid & ~stalled)


def lost(m, array, inner):
    """The output takes every beat for taken."""
    m.d.comb += inner.sums.ready.eq(1)


def doubled(m, array, inner):
    """A beat that has passed is offered once more where the next does not follow at once."""
    again = Signal()
    m.d.sync += again.eq(array.sums.valid & array.sums.ready & ~again)
    m.d.comb += array.sums.valid.eq(inner.sums.valid | again)


def old_weights(m, array, inner):
    """A tile computes with the weights of the tile before."""
    old = Signal(2)
    with m.If(array.weights.valid & array.weights.ready):
        m.d.sync += old.eq(array.weights.p.words[0])
    m.d.comb += inner.weights.p.words[0].eq(old)


def shut(m, array, inner):
    """Nothing is ever taken."""
    m.d.comb += [inner.weights.valid.eq(0), inner.activations.valid.eq(0)]
    m.d.comb += [array.weights.ready.eq(0), array.activations.ready.eq(0)]


def spoilt(fault):
    """An array whose streams are as `fault` makes them."""

    class Spoilt(SystolicArray):
        def elaborate(self, platform):
            m, inner = Module(), SystolicArray(self.spec)
            m.submodules.inner = inner
            for own, its in ((self.weights, inner.weights), (self.activations, inner.activations)):
                m.d.comb += [its.valid.eq(own.valid), its.payload.eq(own.payload)]
                m.d.comb += own.ready.eq(its.ready)
            m.d.comb += [
                self.sums.valid.eq(inner.sums.valid),
                self.sums.payload.eq(inner.sums.payload),
                inner.sums.ready.eq(self.sums.ready),
            ]
            fault(m, self, inner)
            return m

    return Spoilt


def nothing(m, array, inner):
    """The array as it is."""


def verdicts(monkeypatch, fault, depth, properties, limit=60.0):
    monkeypatch.setattr(hw.rtl.properties, "SystolicArray", spoilt(fault))
    return {b.property: b.verdict for b in control.prove(SPEC, depth, limit, properties)}


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (withdrawn, "bad_rule"),
        (lost, "bad_late"),
        (doubled, "bad_invented"),
        (old_weights, "bad_value"),
        (shut, "bad_stuck"),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_a_broken_control_is_refuted(fault, broken, monkeypatch):
    found = verdicts(monkeypatch, fault, 12, [broken])
    assert found == {broken.removeprefix("bad_"): "broken"}


def test_the_control_holds_and_the_run_is_reached(monkeypatch):
    found = verdicts(monkeypatch, nothing, 6, BAD)
    assert found == {name.removeprefix("bad_"): "holds" for name in BAD}
    found = verdicts(monkeypatch, nothing, 10, [control.REACHED])
    assert found == {"reached": "reached"}
    found = verdicts(monkeypatch, nothing, 5, [control.REACHED])
    assert found == {"reached": "unreachable"}


def test_what_takes_too_long_is_undecided(monkeypatch):
    assert verdicts(monkeypatch, nothing, 9, ["bad_rule"], 0.01) == {"rule": "undecided"}


def test_the_command_fails_unless_all_is_proved(monkeypatch, capsys):
    monkeypatch.setattr(control, "arrays", lambda: [(SPEC, 3)])
    monkeypatch.setattr(sys, "argv", ["control", "--json"])
    with pytest.raises(SystemExit) as ended:
        console.run(control.main)
    assert ended.value.code == 1
    bounds = json.loads(capsys.readouterr().out)["bounds"]
    assert [b["verdict"] for b in bounds] == ["holds"] * len(BAD) + ["unreachable"]
    assert {b["depth"] for b in bounds} == {3}


@pytest.mark.parametrize(
    "changes", [{"scheme": "dg"}, {"a_width": 1}, {"scheme": "dvafs", "min_lane": 2}]
)
def test_only_arrays_of_one_precision_are_taken(changes):
    spec = ArraySpec(**{"rows": 1, "columns": 1, "w_width": 2, "a_width": 2} | changes)
    with pytest.raises(ValueError, match="the proof takes arrays of scheme fixed"):
        emit_properties(spec)


def test_without_the_extra_hw_its_package_is_named(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "hw.rtl.properties", raising=False)
    monkeypatch.setitem(sys.modules, "amaranth.back", None)
    monkeypatch.setattr(sys, "argv", ["control"])
    with pytest.raises(SystemExit) as left:
        console.run(control.main)
    said = capsys.readouterr().err
    assert said == "error: package amaranth is missing; install it with pip install quanos[hw].\n"
    assert left.value.code == 2

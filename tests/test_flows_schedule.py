"""What zero-delay simulation makes of registers of all kinds, and in which order."""

import numpy as np
import pytest

from flows.activity import Simulator
from flows.cells.boolean import Function
from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.library import Cell, ClockGate, Library, Pin, Register
from flows.netlist import ONE, ZERO, Instance, Netlist
from flows.simulator import kernel
from flows.simulator.schedule import Kind, Schedule

WARMUP = 3
CLK, E, R, X, Q0, QN0, D0, GATED, QN1, D1, TIE, Y, END = range(2, 15)
NETS = ("0", "1", "clk", "e", "r", "x", "q0", "qn0", "d0", "gated", "qn1", "d1", "tie", "y", "end")


def cell(name, inputs, outputs, kind="comb", **more):
    pins = {p: Pin(p, "input", is_clock=p == "CK") for p in inputs}
    pins |= {p: Pin(p, "output", function=Function(f) if f else None) for p, f in outputs.items()}
    return Cell(name, 1.0, kind, pins, **more)


REGISTER = Register(
    ("IQ", "IQN"), Function("CK"), Function("(D & E) | (IQ & !E)"), clear=Function("!R")
)
GATE = ClockGate("latch_posedge", "CK", "E", "GCK")
CELLS = (
    cell("XOR2", "AB", {"Z": "A ^ B"}),
    cell("TIE1", "", {"Z": "1"}),
    cell("DFFE", ("D", "E", "R", "CK"), {"Q": "IQ", "QN": "IQN"}, "flipflop", register=REGISTER),
    cell("ICG", ("CK", "E"), {"GCK": None}, "clockgate", gate=GATE),
)
LIBRARY = Library("toy", "0" * 64, 1.0, 25.0, {c.name: c for c in CELLS})
# A register that turns over with x while e is 1; behind a clock gate that it opens, one of which
# only the inverse is used, which waits for itself too; a constant cell.
NETLIST = Netlist(
    "toy",
    NETS,
    {"clk": (CLK,), "e": (E,), "r": (R,), "x": (X,)},
    {"y": (Y,), "end": (END,)},
    (
        Instance("d0", "XOR2", {"A": X, "B": QN0, "Z": D0}),
        Instance("f0", "DFFE", {"D": D0, "E": E, "R": R, "CK": CLK, "Q": Q0, "QN": QN0}),
        Instance("icg", "ICG", {"CK": CLK, "E": Q0, "GCK": GATED}),
        Instance("d1", "XOR2", {"A": X, "B": QN1, "Z": D1}),
        Instance("f1", "DFFE", {"D": D1, "E": ONE, "R": ONE, "CK": GATED, "QN": QN1}),
        Instance("tie", "TIE1", {"Z": TIE}),
        Instance("y", "XOR2", {"A": TIE, "B": QN1, "Z": Y}),
        Instance("end", "XOR2", {"A": TIE, "B": ONE, "Z": END}),
    ),
)


def bits(streams, reset=None):
    """Random e and x; r is 1 but in the cycle `reset`."""
    rng = np.random.default_rng(streams)
    shape = (WARMUP + 128, streams)
    held = np.ones(shape, np.uint8)
    if reset is not None:
        held[reset, -1] = 0
    return {E: rng.integers(0, 2, shape, np.uint8), X: rng.integers(0, 2, shape, np.uint8), R: held}


@pytest.mark.skipif(not kernel.available(), reason="no C compiler is installed")
@pytest.mark.parametrize("streams", [1, 70])
def test_counts_are_those_of_numpy(streams, monkeypatch):
    def counted():
        return Simulator(NETLIST, LIBRARY, delays="zero").run(bits(streams), WARMUP)

    compiled = counted()
    monkeypatch.setattr("flows.simulator.kernel.available", lambda: False)
    plain = counted()
    for name in ("toggles", "settled", "ones"):
        assert np.array_equal(getattr(plain, name), getattr(compiled, name)), name
    assert compiled.toggles[0, [QN1, Y]].min() > 0
    assert compiled.ones[0, [ONE, TIE]].tolist() == [128 * streams] * 2


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("reset", [1, WARMUP + 100])
def test_a_reset_that_becomes_active_is_refused(compiled, reset, monkeypatch):
    if not compiled:
        monkeypatch.setattr("flows.simulator.kernel.available", lambda: False)
    with pytest.raises(FlowError, match=r"asynchronous set or reset becomes active, at net \w+"):
        Simulator(NETLIST, LIBRARY, delays="zero").run(bits(70, reset), WARMUP)


@pytest.mark.parametrize("every", [True, False])
def test_every_value_is_made_before_it_is_read(every):
    """In a loop a register may read what is made later: it takes it a cycle earlier."""
    schedule = Schedule(Circuit.of(NETLIST, LIBRARY), every=every)
    made = {ZERO, ONE}
    for part in schedule.parts:
        whole = made | {node.output for node in part}
        for node in part:
            earlier = {Kind.REGISTER: node.inputs[:1], Kind.CLOCK: node.inputs[1:]}
            assert whole.issuperset(node.inputs)
            assert made.issuperset(set(node.inputs) - set(earlier.get(node.kind, ())))
            made.add(node.output)
    loops = [{n.output for n in part} for part in schedule.parts if len(part) > 1]
    nets = len(NETS)
    assert [sorted(v for v in loop if v < nets) for loop in loops] == [[Q0, QN0, D0], [QN1, D1]]
    assert (Y in made) == every

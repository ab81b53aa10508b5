"""Static timing by hand on small netlists, case analysis, and OpenSTA where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from test_flows_library import full_library
from test_flows_netlist import load, module
from test_flows_synth import MAC

from flows.cells.lut import Lut
from flows.console import FlowError
from flows.gates import case
from flows.gates.clocks import clock_nets
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator.delays import instance_delays
from flows.synth import synthesize
from flows.timing import Conditions, analyse

LIBRARY = Library.load()
PORTS = {p: ("input", [bit]) for p, bit in (("a", 2), ("b", 3), ("clk", 4))} | {
    "y": ("output", [5])
}
PIPE = {
    "first": ("DFF_X1", {"CK": 4, "D": 2, "Q": 6}),
    "gate": ("NAND2_X1", {"A1": 6, "A2": 3, "ZN": 7}),
    "second": ("DFF_X1", {"CK": 4, "D": 7, "Q": 5}),
}


@pytest.fixture(scope="module")
def mac(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mac")
    (folder / "mac.v").write_text(MAC)
    library = full_library()
    synthesize([folder / "mac.v"], "mac", folder, library)
    return folder, library, Netlist.load(folder / "mac.netlist.json", library)


def arc(cell, output, related, k=0):
    return LIBRARY.cells[cell].arcs_between[output, related][k]


@pytest.mark.parametrize("input_slew_ps", [1.0, 15.0, 120.0])
def test_register_to_register_by_hand(tmp_path, input_slew_ps):
    netlist = load(tmp_path, module(PIPE, PORTS))
    conditions = Conditions(input_slew_ps=input_slew_ps, clock_slew_ps=30.0)
    nand, dff = LIBRARY.cells["NAND2_X1"].pins, LIBRARY.cells["DFF_X1"].pins
    expected = []
    for edge, other in (("rise", "fall"), ("fall", "rise")):  # of the NAND's input, of its output
        launch, through = arc("DFF_X1", "Q", "CK"), arc("NAND2_X1", "ZN", "A1")
        load1 = getattr(nand["A1"], f"{edge}_capacitance_ff")
        delay, slew = (t.at(30.0, load1) for t in launch.tables(edge))
        load2 = getattr(dff["D"], f"{other}_capacitance_ff")
        delay2, slew2 = (t.at(slew, load2) for t in through.tables(other))
        from_b = arc("NAND2_X1", "ZN", "A2").tables(other)[1].at(input_slew_ps, load2)
        setup = getattr(LIBRARY.cells["DFF_X1"].constraints[0], other)
        expected.append(delay + delay2 + setup.at(max(slew2, from_b), 30.0))
    timing = analyse(netlist, LIBRARY, None, conditions)
    assert timing.endpoint == "D of second"
    assert timing.critical_path_ps == pytest.approx(max(expected))
    assert [step.instance for step in timing.path] == ["first", "gate"]


def test_a_register_without_setup_times_still_ends_a_path(tmp_path):
    """A small library may leave them out; only outputs counted then."""
    netlist = load(tmp_path, module(PIPE, PORTS))
    bare = replace(LIBRARY.cells["DFF_X1"], constraints=())
    library = replace(LIBRARY, cells=LIBRARY.cells | {"DFF_X1": bare})
    timing, strict = analyse(netlist, library), analyse(netlist, LIBRARY)
    assert timing.endpoint == "D of second"
    assert 0 < timing.critical_path_ps < strict.critical_path_ps


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("name", ["input_slew_ps", "clock_slew_ps", "port_ff", "wire_scale"])
def test_conditions_that_cannot_be_are_refused(name, value):
    with pytest.raises(FlowError, match=f"{name} must be finite and 0 or more, not {value:g}"):
        Conditions(**{name: value})


@pytest.mark.parametrize(
    ("axis", "column"),
    [([0.0, 1e-309], [0.0, 1.0]), ([0.0, 1.0], [-1e308, 1e308])],
    ids=["steep axis", "steep values"],
)
@pytest.mark.parametrize("table", ["cell_rise", "fall_transition"])
def test_a_table_that_overflows_is_named_with_its_cell(tmp_path, axis, column, table):
    """A NaN compares as shorter than any path: it was left out of the longest one."""
    netlist = load(tmp_path, module(PIPE, PORTS))
    gate = LIBRARY.cells["NAND2_X1"]
    steep = Lut.of(axis, [0.0], column)
    arcs = tuple(replace(found, **{table: steep}) for found in gate.arcs)
    library = replace(LIBRARY, cells=LIBRARY.cells | {"NAND2_X1": replace(gate, arcs=arcs)})
    with pytest.raises(FlowError, match="lib: cell NAND2_X1: its tables give no finite delay"):
        analyse(netlist, library)


@pytest.mark.parametrize(
    ("held", "net", "state"),
    [
        ({"b": 0}, "_7_", 1),
        ({"b": 0}, "y", 1),
        ({"b": 1}, "_7_", None),
        ({"a": 1}, "_6_", 1),
        ({"a": 1, "b": 1}, "y", 0),
        ({"clk": 0}, "y", "static"),
        ({}, "y", None),
    ],
)
def test_constants_pass_logic_and_registers(tmp_path, held, net, state):
    netlist = load(tmp_path, module(PIPE, PORTS))
    assert case.states(netlist, LIBRARY, held)[netlist.net_index[net]] == state


def test_register_behind_a_closed_gate_stands_still(tmp_path):
    cells = {
        "gate": ("CLKGATE_X1", {"CK": 4, "E": 3, "GCK": 9}),
        "held": ("DFF_X1", {"CK": 9, "D": 2, "Q": 5}),
    }
    netlist = load(tmp_path, module(cells, PORTS))
    assert clock_nets(netlist, LIBRARY) == {netlist.net_index["clk"], netlist.net_index["_9_"]}
    y = netlist.net_index["y"]
    assert case.states(netlist, LIBRARY, {"b": 0})[y] == "static"
    assert case.states(netlist, LIBRARY, {"b": 1})[y] is None
    assert analyse(netlist, LIBRARY, {"b": 0}).critical_path_ps == 0


def test_held_input_shortens_the_path(mac):
    _, library, netlist = mac
    full = analyse(netlist, library).critical_path_ps
    held = {f"{port}[{k}]": 0 for port in "wa" for k in (0, 1)}
    half = analyse(netlist, library, held).critical_path_ps
    assert 0 < half < 0.9 * full


def test_xor_with_a_held_input_makes_one_edge_of_each(tmp_path):
    cells = {"x": ("XOR2_X1", {"A": 2, "B": 3, "Z": 5})}
    netlist = load(tmp_path, module(cells, PORTS))
    y, a = netlist.net_index["y"], netlist.net_index["a"]
    follows, opposes = (analyse(netlist, LIBRARY, {"b": b}) for b in (0, 1))
    for timing, sense in ((follows, "positive_unate"), (opposes, "negative_unate")):
        own = next(x for x in LIBRARY.cells["XOR2_X1"].arcs_between["Z", "A"] if x.sense == sense)
        assert timing.arrival_ps[y][0] == pytest.approx(own.cell_rise.at(20.0, 2.0))
        assert timing.arrival_ps[a] == [0.0, 0.0]


def test_instance_delays_are_those_of_the_path(tmp_path):
    netlist = load(tmp_path, module(PIPE, PORTS))
    delays = instance_delays(netlist, LIBRARY)
    timing = analyse(netlist, LIBRARY)
    assert set(delays) == {(0, "Q"), (1, "ZN"), (2, "Q")}
    assert set(delays[1, "ZN"]) == {"A1", "A2"}
    slew = timing.slew_ps[netlist.net_index["_6_"]]
    load_ff = LIBRARY.cells["DFF_X1"].pins["D"].rise_capacitance_ff
    expected = arc("NAND2_X1", "ZN", "A1").cell_rise.at(slew[1], load_ff)
    assert delays[1, "ZN"]["A1"][0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("held", "says"),
    [({"q": 0}, "has no input q; it has a, b, clk"), ({"a[3]": 0}, r"no input a\[3\]")],
)
def test_unknown_input_is_named(tmp_path, held, says):
    with pytest.raises(FlowError, match=says):
        analyse(load(tmp_path, module(PIPE, PORTS)), LIBRARY, held)


def run(*arguments):
    command = [sys.executable, "-m", "flows.timing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command(tmp_path):
    load(tmp_path, module(PIPE, PORTS))
    done = run(tmp_path / "netlist.json", "--case", "a=1", "--json")
    answer = json.loads(done.stdout)
    assert answer["critical_path_ps"] > 0
    assert [step["instance"] for step in answer["path"]] == ["second"]  # the first one stands still
    for arguments, says in (
        (["--case", "a=2"], "write PIN=0 or PIN=1"),
        (["--clock-ps", "10"], "more than the clock of 10 ps"),
        (["--liberty", tmp_path / "none.lib"], "No such file"),
    ):
        done = run(tmp_path / "netlist.json", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1

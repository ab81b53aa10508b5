"""Netlists are proved equal to their Verilog, and mutated ones refuted with a counterexample."""

import json
import re
import sys
from dataclasses import replace

import pytest

from flows import console
from flows.equivalence import Pair, main, pairs_in, prove
from flows.gates.circuit import Circuit
from flows.gates.netlist_write import to_json
from flows.library import Library
from flows.netlist import Netlist
from flows.proof import engines
from flows.proof.correspondence import name_registers
from flows.proof.cut import cut_design, cut_netlist, register_names
from flows.proof.engines import DIFFERENT, EQUAL, UNDECIDED
from flows.synth import synthesize
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write

LIBRARY = Library.load(None)
SPECS = [
    MacSpec(w_width=3, a_width=2, guard_bits=1),
    MacSpec(scheme="dg", w_width=4, a_width=4, guard_bits=2),
    MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2, guard_bits=4),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Verilog and netlists of SPECS."""
    place = tmp_path_factory.mktemp("equivalence")
    for spec in SPECS:
        source = write(spec, place / "rtl")
        synthesize([source], spec.name, place / "synth", LIBRARY)
    return place


def pair(folder, spec):
    return Pair(
        (folder / "rtl" / f"{spec.name}.v",), folder / "synth" / f"{spec.name}.netlist.json"
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_netlist_is_proved_equal(folder, spec, engine):
    proof = prove(pair(folder, spec), LIBRARY, engine, 60)
    assert (proof.verdict, proof.detail) == (EQUAL, "")
    assert proof.registers > spec.acc_width


def mutated(folder, spec, before, after, index, place):
    """The pair with cell number `index` of a kind replaced by another with the same pins."""
    known = pair(folder, spec)
    netlist = Netlist.load(known.netlist, LIBRARY)
    cells = list(netlist.instances)
    which = [i for i, cell in enumerate(cells) if cell.cell == before][index]
    cells[which] = replace(cells[which], cell=after)
    path = place / known.netlist.name
    path.write_text(to_json(replace(netlist, instances=tuple(cells)), LIBRARY))
    return Pair(known.sources, path)


MUTATIONS = [
    (SPECS[0], "NAND2_X1", "NOR2_X1", 0),
    (SPECS[1], "AND2_X1", "OR2_X1", 0),
]


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize(("spec", "before", "after", "index"), MUTATIONS)
def test_a_mutated_netlist_is_refuted(folder, tmp_path, engine, spec, before, after, index):
    wrong = mutated(folder, spec, before, after, index, tmp_path)
    proof = prove(wrong, LIBRARY, engine, 60)
    assert proof.verdict == DIFFERENT
    assert re.search(r"(q:)?[a-z_.]+=0x[0-9a-f]+", proof.detail), proof.detail


def test_a_clock_gate_that_never_opens_is_refuted(folder, tmp_path):
    known = pair(folder, SPECS[2])
    netlist = Netlist.load(known.netlist, LIBRARY)
    cells = [
        replace(cell, pins=cell.pins | {"E": 0}) if cell.cell.startswith("CLKGATE") else cell
        for cell in netlist.instances
    ]
    assert cells != list(netlist.instances)
    path = tmp_path / known.netlist.name
    path.write_text(to_json(replace(netlist, instances=tuple(cells)), LIBRARY))
    assert prove(Pair(known.sources, path), LIBRARY, "sweep", 60).verdict == DIFFERENT


def test_a_proof_that_takes_too_long_is_undecided(folder):
    proof = prove(pair(folder, SPECS[0]), LIBRARY, "sat", 0.01)
    assert (proof.verdict, proof.detail) == (UNDECIDED, "not decided in 0.01 s")


def test_registers_without_names_are_found_by_what_they_hold():
    """A toggle and a shift register, in AND gates and inverters; the design names neither."""
    gates = {
        "inverter": {"type": "$_NOT_", "connections": {"A": [4], "Y": [6]}},
        "t": {"type": "$dff", "connections": {"CLK": [2], "D": [6], "Q": [4]}},
        "s": {"type": "$dff", "connections": {"CLK": [2], "D": [3], "Q": [5]}},
    }
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "x": {"direction": "input", "bits": [3]},
        "y": {"direction": "output", "bits": [5]},
    }
    cut = cut_design({"ports": ports, "cells": gates, "netnames": {}}, set())
    assert set(cut["ports"]) == {"x", "y", "q:?4", "d:?4", "q:?5", "d:?5"}
    netlist = {
        "modules": {
            "m": {
                "ports": ports,
                "cells": {
                    "inverter": _cell("INV_X1", {"A": 4, "ZN": 6}),
                    "t": _cell("DFF_X1", {"CK": 2, "D": 6, "Q": 4}),
                    "s": _cell("DFF_X1", {"CK": 2, "D": 3, "Q": 5}),
                },
                "netnames": {
                    name: {"bits": [bit]}
                    for name, bit in {"clk": 2, "x": 3, "toggle": 4, "y": 5, "n": 6}.items()
                },
            }
        }
    }
    circuit = Circuit.of(_load(netlist), LIBRARY)
    assert register_names(circuit) == {"toggle", "y"}
    named, lone = name_registers(cut, circuit)
    assert lone == set()
    assert named["ports"]["q:toggle"]["bits"] == [4]
    assert named["ports"]["d:y"]["bits"] == [3]
    assert "assign \\d:toggle  = " in cut_netlist(circuit, "gate")


def _cell(kind, pins):
    outputs = LIBRARY.cells[kind].outputs
    return {
        "type": kind,
        "port_directions": {p: "output" if p in outputs else "input" for p in pins},
        "connections": {pin: [bit] for pin, bit in pins.items()},
    }


def _load(netlist):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.json"
        path.write_text(json.dumps(netlist))
        return Netlist.load(path, LIBRARY)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["equivalence", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        console.run(main)
    return ended.value.code


def test_the_command_prints_a_table_and_fails_on_a_difference(
    folder, tmp_path, monkeypatch, capsys
):
    places = ("--rtl", folder / "rtl", "--synth", folder / "synth")
    assert run(monkeypatch, *places, "--top", SPECS[0].name, SPECS[1].name) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"{SPECS[0].name} +\d+ +sweep +\d+\.\d  equal\n", printed)
    assert "2 of 2 proved equal for every input in every state, 0 different" in printed
    wrong = mutated(folder, *MUTATIONS[0], tmp_path)
    assert run(monkeypatch, wrong.sources[0], "--netlist", wrong.netlist, "--json") == 1
    proof = json.loads(capsys.readouterr().out)["proofs"][0]
    assert proof["verdict"] == DIFFERENT


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give either --rtl DIR --synth DIR or"),
        (["x.v"], "--netlist FILE belong together"),
        (["--rtl", "a", "--synth", "b"], "no design stands in both a and b; write Verilog"),
        (["--rtl", "a", "--synth", "b", "--limit", "0"], "--limit and --workers must be positive"),
    ],
)
def test_bad_input_is_refused(arguments, sentence, monkeypatch, capsys):
    assert run(monkeypatch, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_an_unknown_design_is_named(folder, monkeypatch, capsys):
    places = ("--rtl", folder / "rtl", "--synth", folder / "synth")
    assert len(pairs_in(folder / "rtl", folder / "synth")) == len(SPECS)
    assert run(monkeypatch, *places, "--top", "mac_x") == 2
    assert "no design mac_x; there are mac_" in capsys.readouterr().err

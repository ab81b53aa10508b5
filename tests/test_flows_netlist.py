"""Netlists: reading Yosys' JSON, the checks, levels, loads, and writing them back."""

from __future__ import annotations

import json

import pytest

from flows.console import FlowError
from flows.gates.netlist_write import tidy, to_json, to_verilog
from flows.library import Library
from flows.netlist import Netlist

LIBRARY = Library.load()


def module(cells, ports=None, nets=None):
    """A module of Yosys' JSON: ports a, b (inputs, bits 2, 3), clk (4), y (output, bit 5)."""
    ports = ports or {"a": ("input", [2]), "b": ("input", [3]), "clk": ("input", [4])} | {
        "y": ("output", [5])
    }
    return {
        "modules": {
            "top": {
                "attributes": {"top": "00000000000000000000000000000001"},
                "ports": {p: {"direction": d, "bits": bits} for p, (d, bits) in ports.items()},
                "cells": {
                    name: {"type": cell, "connections": {p: [bit] for p, bit in pins.items()}}
                    for name, (cell, pins) in cells.items()
                },
                "netnames": {
                    name: {"hide_name": int(name.startswith("$")), "bits": bits}
                    for name, bits in (nets or {"a": [2], "b": [3], "clk": [4], "y": [5]}).items()
                },
            }
        }
    }


NAND = {"g": ("NAND2_X1", {"A1": 2, "A2": 3, "ZN": 5})}
CHAIN = {
    "$3": ("INV_X1", {"A": 8, "ZN": 5}),
    "$1": ("NAND2_X1", {"A1": 2, "A2": 3, "ZN": 7}),
    "$2": ("DFF_X1", {"CK": 4, "D": 7, "Q": 8, "QN": 9}),
}


def load(tmp_path, data) -> Netlist:
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(data) if not isinstance(data, str) else data)
    return Netlist.load(path, LIBRARY)


def test_nets_ports_and_names(tmp_path):
    netlist = load(tmp_path, module(CHAIN))
    assert netlist.nets[:2] == ("0", "1")
    assert {port: netlist.nets[n[0]] for port, n in netlist.inputs.items()} == {
        "a": "a",
        "b": "b",
        "clk": "clk",
    }
    assert [x.name for x in netlist.instances] == ["$3", "$1", "$2"]


def test_levels_follow_the_logic(tmp_path):
    cells = {"c": ("INV_X1", {"A": 8, "ZN": 5}), "b": ("INV_X1", {"A": 7, "ZN": 8})}
    cells["a"] = ("NAND2_X1", {"A1": 2, "A2": 3, "ZN": 7})
    assert load(tmp_path, module(cells)).levels(LIBRARY) == ((2,), (1,), (0,))
    assert load(tmp_path, module(CHAIN)).levels(LIBRARY) == ((0, 1),)


def test_loads_are_the_sinks_pins(tmp_path):
    netlist = load(tmp_path, module(CHAIN))
    pins = LIBRARY.cells
    nand_out = netlist.net_index["_7_"]
    loads = netlist.loads_ff(LIBRARY, port_ff=2.5)
    d = pins["DFF_X1"].pins["D"]
    assert loads[nand_out].tolist() == [d.rise_capacitance_ff, d.fall_capacitance_ff]
    assert loads[netlist.net_index["y"]].tolist() == [2.5, 2.5]
    wired = netlist.loads_ff(LIBRARY, wire_scale=2.0)
    assert wired[nand_out, 0] - loads[nand_out, 0] == pytest.approx(2 * LIBRARY.wire_load(1))


def test_tidy_names_and_both_formats_agree(tmp_path):
    netlist = tidy(load(tmp_path, module(CHAIN)), LIBRARY)
    assert [x.name for x in netlist.instances] == ["n1_reg", "U2", "U3"]
    assert "QN" not in netlist.instances[0].pins
    again = tmp_path / "again.json"
    again.write_text(to_json(netlist, LIBRARY))
    assert Netlist.load(again, LIBRARY).sha256 == tidy(netlist, LIBRARY).sha256
    assert "DFF_X1 n1_reg (.CK(clk), .D(n2), .Q(n1));" in to_verilog(netlist)


def test_tidy_leaves_out_what_no_output_depends_on(tmp_path):
    """17 full adders whose outputs went nowhere took 4 % of the 16-bit MAC's area."""
    dead = {"dead": ("NAND2_X1", {"A1": 2, "A2": 3, "ZN": 30})}
    dead |= {"behind_the_dead": ("DFF_X1", {"CK": 4, "D": 30, "Q": 31})}
    netlist = tidy(load(tmp_path, module({**CHAIN, **dead})), LIBRARY)
    assert netlist.sha256 == tidy(load(tmp_path, module(CHAIN)), LIBRARY).sha256


def test_verilog_of_buses_aliases_and_constants(tmp_path):
    ports = {"a": ("input", [2, 3]), "y": ("output", [5, 5, "1", 2])}
    cells = {"g": ("NAND2_X1", {"A1": 2, "A2": 3, "ZN": 5})}
    names = {"a": [2, 3], "y": [5, 5, "1", 2], "u.inner": [5]}
    netlist = tidy(load(tmp_path, module(cells, ports, names)), LIBRARY)
    text = to_verilog(netlist)
    for line in ("input [1:0] a;", "output [3:0] y;", "assign y[2] = 1'b1;", "assign y[3] = a[0];"):
        assert line in text
    assert ".ZN(y[0])" in text
    assert "assign y[1] = y[0];" in text


def test_hash_is_of_the_content(tmp_path):
    first = load(tmp_path, module(NAND)).sha256
    assert load(tmp_path, module(dict(reversed(NAND.items())))).sha256 == first
    swapped = {"g": ("NOR2_X1", NAND["g"][1])}
    assert load(tmp_path, module(swapped)).sha256 != first


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"g": ("NAND9_X1", {"A1": 2, "A2": 3, "ZN": 5})}, "g is a NAND9_X1, which library"),
        ({"g": ("NAND2_X1", {"A1": 2, "A2": 3, "Q": 5})}, r"g \(NAND2_X1\) has no pin Q"),
        ({"g": ("NAND2_X1", {"A1": 2, "ZN": 5})}, "pin A2 of cell g is not connected"),
        ({"g": ("NAND2_X1", {"A1": 2, "A2": 17, "ZN": 5})}, "_17_ drives pin A2 of cell g but"),
        ({"g": ("NAND2_X1", {"A1": 2, "A2": "x", "ZN": 5})}, "pin A2 of cell g is tied to 'x'"),
        ({**NAND, "h": ("INV_X1", {"A": 2, "ZN": 5})}, "net y is driven by cell g and by cell h"),
        ({**NAND, "h": ("INV_X1", {"A": 3, "ZN": 2})}, "net a is driven by input a and by cell h"),
        ({}, "net y drives output y but nothing drives it"),
        (
            {
                "g": ("NAND2_X1", {"A1": 2, "A2": 9, "ZN": 5}),
                "h": ("INV_X1", {"A": 5, "ZN": 9}),
            },
            "combinational loop through net",
        ),
    ],
)
def test_bad_netlist_is_one_sentence_with_the_name(tmp_path, cells, says):
    path = tmp_path / "netlist.json"
    with pytest.raises(FlowError, match=f"^{path}: top.*{says}"):
        load(tmp_path, module(cells))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json", "no JSON netlist"),
        ("{}", "no netlist of Yosys' write_json"),
        ('{"modules": {}}', "has no module"),
        ('{"modules": {"top": {"ports": 3}}}', "no netlist of Yosys' write_json"),
    ],
)
def test_what_is_no_netlist_is_refused(tmp_path, text, says):
    with pytest.raises(FlowError, match=f"^{tmp_path / 'netlist.json'} .*{says}"):
        load(tmp_path, text)

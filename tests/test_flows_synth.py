"""Synthesis of foreign Verilog: function, files, options, and designs that are refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from flows.console import FlowError
from flows.library import SHIPPED, Library
from flows.netlist import Netlist
from flows.synth import synthesize
from flows.synthesis.synth_jobs import Job
from flows.synthesis.synth_print import show
from flows.synthesis.synth_script import Options
from hw.rtl.spec import ArraySpec
from hw.rtl.verilog import write

LIBRARY = Library.load()
MAC = """
module mac (input clk, input [3:0] w, input [3:0] a, input en, output reg [9:0] acc);
  reg [3:0] wq, aq;
  always @(posedge clk) begin
    if (en) begin wq <= w; aq <= a; end
    acc <= acc + $signed(wq) * $signed(aq);
  end
endmodule
"""


@pytest.fixture
def design(tmp_path):
    def write(text, name="mac.v"):
        path = tmp_path / name
        path.write_text(text)
        return [path]

    return write


def settle(netlist, values, ones):
    """Values of all nets from those of the inputs, zero delay, one bit a word."""
    values = values | {0: 0, 1: ones}
    for level in netlist.levels(LIBRARY):
        for i in level:
            x = netlist.instances[i]
            cell = LIBRARY.cells[x.cell]
            pins = {p: values[x.pins[p]] for p in cell.inputs}
            for p in cell.outputs:
                if p in x.pins:
                    values[x.pins[p]] = cell.pins[p].function.evaluate(pins, ones)
    return values


MULTIPLIER = (
    "module mul (input [4:0] a, input [4:0] b, output [9:0] p); assign p = a * b; endmodule"
)


@pytest.mark.parametrize("options", [{}, {"extract_fa": False}, {"booth": True}, {"clock_ps": 300}])
def test_multiplier_multiplies(design, tmp_path, options):
    result = synthesize(design(MULTIPLIER, "mul.v"), "mul", tmp_path, LIBRARY, Options(**options))
    netlist = Netlist.load(tmp_path / "mul.netlist.json", LIBRARY)
    words = [(a, b) for a in range(32) for b in range(32)]
    ones = (1 << len(words)) - 1
    inputs = {
        net: sum((word[k] >> bit & 1) << i for i, word in enumerate(words))
        for k, port in enumerate("ab")
        for bit, net in enumerate(netlist.inputs[port])
    }
    values = settle(netlist, inputs, ones)
    products = [
        sum((values[net] >> i & 1) << bit for bit, net in enumerate(netlist.outputs["p"]))
        for i in range(len(words))
    ]
    assert products == [a * b for a, b in words]
    assert ("FA_X1" in result.by_cell) == options.get("extract_fa", True)


def test_files_and_figures(design, tmp_path):
    result = synthesize(design(MAC), "mac", tmp_path, LIBRARY)
    report = json.loads((tmp_path / "mac.synth.json").read_text())
    netlist = Netlist.load(tmp_path / "mac.netlist.json", LIBRARY)
    area = sum(LIBRARY.cells[x.cell].area_um2 for x in netlist.instances)
    assert report["cells"] == len(netlist.instances) == sum(report["by_cell"].values())
    assert report["area_um2"] == pytest.approx(area)
    assert report["netlist_sha256"] == netlist.sha256 == result.netlist_sha256
    assert report["critical_path_ps"] > 100
    assert "module mac (" in (tmp_path / "mac.netlist.v").read_text()


def test_enables_become_clock_gates_on_request(design, tmp_path):
    gated = synthesize(design(MAC), "mac", tmp_path / "gated", LIBRARY)
    plain = synthesize(design(MAC), "mac", tmp_path / "plain", LIBRARY, Options(clock_gating=False))
    assert gated.by_cell["CLKGATE_X1"] == 1
    assert "CLKGATE_X1" not in plain.by_cell
    assert gated.by_cell["DFF_X1"] == plain.by_cell["DFF_X1"] == 18


def test_same_sources_same_netlist_and_nothing_done_twice(design, tmp_path):
    first = synthesize(design(MAC), "mac", tmp_path / "1", LIBRARY)
    second = synthesize(design(MAC), "mac", tmp_path / "2", LIBRARY)
    assert first == second
    text = [(tmp_path / k / "mac.netlist.v").read_text() for k in "12"]
    assert text[0] == text[1]
    stamp = (tmp_path / "1" / "mac.netlist.json").stat().st_mtime_ns
    synthesize(design(MAC), "mac", tmp_path / "1", LIBRARY)
    assert (tmp_path / "1" / "mac.netlist.json").stat().st_mtime_ns == stamp
    synthesize(design(MAC + "// changed"), "mac", tmp_path / "1", LIBRARY)
    assert (tmp_path / "1" / "mac.netlist.json").stat().st_mtime_ns > stamp


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("input a, output reg y); always @* if (a) y = 1;", "signal bad.y becomes a latch"),
        ("input a, output y); wire u; assign y = a & u;", "net bad.u is used but nothing drives"),
        ("input a, output y); assign y = ~y & a;", "combinational loop"),
        ("input a, b, output y); assign y = a & b; assign y = a | b;", "more than one driver"),
        ("input a, output y); assign y = a & ~a;", "no cell left"),
        ("input a, output y); other u (a, y);", "none of the files has the module other, which"),
        ("input a, output y);\nassign y = ;", r"bad\.v:2: syntax error"),
        ('input a, output y);\n`include "k.vh"\n', "included file k.vh is not found; name its f"),
        (
            "input c, input r, input a, output reg y); always @(posedge c or posedge r) "
            "if (r) y <= 0; else y <= a;",
            "registers asynchronously, for which the library has no flip-flop; give a larger",
        ),
    ],
)
def test_bad_design_is_one_sentence(design, tmp_path, body, says):
    with pytest.raises(FlowError, match=says) as refusal:
        synthesize(design(f"module bad({body} endmodule", "bad.v"), "bad", tmp_path, LIBRARY)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.glob("bad.*.json"))


INCLUDING = """`include "width.vh"
module inc #(parameter K = 3) (input [K-1:0] a, output [`WIDTH-1:0] y);
  sub u (.a(a[0]), .y(y[0]));
  assign y[`WIDTH-1:1] = ~a[K-1:K-`WIDTH+1];
endmodule
module sub (input a, output y);
`ifdef PLAIN
  buf (y, a);
`else
  not (y, a);
`endif
endmodule"""


@pytest.mark.parametrize(
    ("reading", "cells", "pins"),
    [
        ({}, 2, 5),
        ({"parameters": ("K=6",)}, 2, 8),
        ({"define": ("PLAIN",)}, 1, 5),
        ({"define": ("PLAIN=1", "X"), "parameters": ("K=4'd9",)}, 1, 11),
    ],
)
def test_included_files_macros_and_parameters(design, tmp_path, reading, cells, pins):
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "width.vh").write_text("`define WIDTH 2\n")
    options = Options(include=(str(tmp_path / "inc"),), **reading)
    result = synthesize(design(INCLUDING, "inc.v"), "inc", tmp_path / "out", LIBRARY, options)
    netlist = Netlist.load(tmp_path / "out" / "inc.netlist.json", LIBRARY)
    ports = [*netlist.inputs.values(), *netlist.outputs.values()]
    assert (netlist.top, result.cells, sum(map(len, ports))) == ("inc", cells, pins)


def test_a_changed_included_file_is_synthesised_anew(design, tmp_path):
    """Also one that an included file includes."""
    text = '`include "a.vh"\nmodule t (input a, b, output y); assign y = a `F b; endmodule'
    (tmp_path / "a.vh").write_text('`include "b.vh"\n')
    found = []
    for operator in "&|":
        (tmp_path / "b.vh").write_text(f"`define F {operator}\n")
        done = synthesize(design(text, "t.v"), "t", tmp_path / "out", LIBRARY)
        found.append(done.by_cell)
    assert found == [{"AND2_X1": 1}, {"OR2_X1": 1}]


GROUPED = """cell (GROUPED) { area : 99; pin (A, B) { direction : input; capacitance : 1; }
  pin (Y) { direction : output; function : "A&B"; timing () { related_pin : "A B"; %s } } }"""


def test_a_library_that_groups_pins_is_mapped_to(design, tmp_path):
    """ABC would end itself on it."""
    kinds = "cell_rise", "cell_fall", "rise_transition", "fall_transition"
    tables = "".join(f'{kind} (scalar) {{ values ("5"); }}' for kind in kinds)
    text = SHIPPED.read_text().rstrip().removesuffix("}") + GROUPED % tables + "}"
    (tmp_path / "grouped.lib").write_text(text)
    library = Library.load(tmp_path / "grouped.lib")
    assert library.cells["GROUPED"].inputs == ("A", "B")
    done = [
        synthesize(design(MAC), "mac", tmp_path / folder, x)
        for folder, x in (("1", library), ("2", LIBRARY))
    ]
    assert done[0].by_cell == done[1].by_cell


def run(*arguments):
    command = [sys.executable, "-m", "flows.synth", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_over_a_folder(design, tmp_path):
    design(MULTIPLIER, "mul.v")
    done = run("--rtl", tmp_path, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0
    assert [d["top"] for d in json.loads(done.stdout)["designs"]] == ["mul"]
    assert "synth 1/1: mul" in done.stderr


@pytest.mark.parametrize(("scheme", "gates"), [("dvafs", True), ("dg", False)])
def test_an_array_is_mapped_element_by_element_into_a_flat_netlist(tmp_path, scheme, gates):
    size = {"w_width": 4, "a_width": 4, "min_lane": 2, "k_max": 8, "depth": 2}
    one, four = (ArraySpec(scheme=scheme, rows=r, columns=r, **size) for r in (1, 2))
    for spec in (one, four):
        write(spec, tmp_path)
    done = run("--rtl", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    row = re.search(rf"{four.name}\W+(\d+)\W+([\d.]+)\W+([\d.]+)", done.stdout)
    netlist = Netlist.load(tmp_path / "out" / f"{four.name}.netlist.json", LIBRARY)
    assert int(row[1]) == len(netlist.instances)
    assert float(row[2]) / 4 == pytest.approx(float(row[3]), abs=0.1)
    cells = [x.cell for x in netlist.instances]
    assert set(cells) <= set(LIBRARY.cells)  # no element is left as a module
    assert any(cell.startswith("CLKGATE") for cell in cells) == gates


@pytest.mark.parametrize(
    ("top", "spec", "columns"),
    [
        ("mine", {}, []),
        ("mac_fixed_w16a16", {}, ["area / fixed"]),
        ("wide", {"rows": 2, "columns": 2}, ["um2/element"]),
    ],
)
def test_the_table_has_the_columns_that_say_something(capsys, top, spec, columns):
    result = SimpleNamespace(top=top, cells=1, area_um2=4.0, critical_path_ps=9.0, library="lib")
    show([result], [Job(top, (), spec)])
    out = capsys.readouterr().out
    assert [name for name in ("um2/element", "area / fixed") if name in out] == columns


def test_a_damaged_spec_is_one_sentence(design, tmp_path):
    design(MULTIPLIER, "mul.v")
    (tmp_path / "mul.array.json").write_text("[")
    done = run("--rtl", tmp_path, "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "mul.array.json is not the spec of a design" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.v", "--top", "x", "--out", "OUT"], "No such file"),
        (["--rtl", "OUT", "--out", "OUT"], "holds no .v files"),
        (["--rtl", "OUT", "--out", "OUT", "--liberty", "none.lib"], "No such file"),
        (["none.txt", "--top", "a b", "--out", "OUT"], "no name of a Verilog module"),
        ([__file__, "--top", "x", "--out", "OUT"], "is no design; .v, .sv and .il (RTLIL) are"),
        (["MAC", "--top", "mac", "--out", "OUT", "--parameter", "K=4"], "has no parameter K"),
        (["MAC", "--top", "mac", "--out", "OUT", "--parameter", "K=$x"], "a whole number or a"),
        (["MAC", "--top", "mac", "--out", "OUT", "-D", "A B"], "write NAME or NAME=VALUE"),
        (["MAC", "--top", "mac", "--out", "OUT", "-I", "a b"], "takes no folder with a space"),
    ],
)
def test_command_refuses_in_one_line(tmp_path, arguments, says):
    places = {"OUT": tmp_path, "MAC": tmp_path / "rtl" / "mac.v"}
    places["MAC"].parent.mkdir()
    places["MAC"].write_text(MAC)
    done = run(*[places.get(a, a) for a in arguments])
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout

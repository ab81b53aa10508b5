"""What the flow refuses, through its commands: one sentence that names the culprit, status 2, no
file written."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from test_flows_netlist import CHAIN, module
from test_flows_synth import MAC

from flows.library import SHIPPED, Library
from flows.netlist import Netlist
from flows.simulator.saif import write_saif
from flows.synth import synthesize

LIBRARY = Library.load()


def refused(folder, command, *arguments):
    """The command's one line on standard error; nothing else may be there."""
    before = sorted(folder.rglob("*"))
    words = [sys.executable, "-m", f"flows.{command}", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert sorted(folder.rglob("*")) == before
    *progress, sentence = done.stderr.splitlines()
    assert not [line for line in progress if not re.match(r"[a-z]+ \d+/\d+: ", line)]
    return sentence


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("input a, output y); assign y = ~y & a;", "combinational loop through net y; break it"),
        ("input a, output y); wire u; assign y = a & u;", "net top.u is used but nothing drives"),
        ("input a, b, output y); assign y = a & b; assign y = a | b;", "top.y has more than one"),
        ("input a, output y); assign y = 1'bx;", "net y can be x; give it 0 or 1"),
        (
            "input a, e, output y); assign y = e ? a : 1'bz;",
            "expression at top.v:1.46-1.58 can be z",
        ),
        ("input a, output y); mystery u (a, y);", "mystery"),
        ("input a, output reg y); always @* if (a) y = 1;", "signal top.y becomes a latch"),
        (
            "input [1:0] s, output reg y); always @* case (s) 0: y = 0; 1: y = 1; "
            "default: y = 1'bx; endcase",
            "net y can be x; give it 0 or 1",
        ),
        ("inout a, output y); assign y = a;", "top: port a is an inout"),
    ],
)
def test_a_design(tmp_path, body, says):
    (tmp_path / "top.v").write_text(f"module top({body} endmodule")
    sentence = refused(tmp_path, "synth", "top.v", "--top", "top", "--out", "out")
    assert says in sentence


OPEN = """
module top(input c, input [1:0] s, input a, output reg full, unique_, local_, output stored);
  reg memory [0:3];
  assign stored = memory[s];
  always @(posedge c) if (a) memory[s] <= s[0];
  always @* case (s) 0: full = a; 1: full = ~a; 2: full = 0; 3: full = 1; endcase
  always_comb unique case (s) 0, 2: unique_ = a; 1, 3: unique_ = 0; endcase
  always @* begin : block
    reg t;
    t = s[0];
    local_ = s[1];
    if (a) begin t = t ^ s[1]; local_ = t; end
  end
endmodule
"""


def test_an_x_of_yosys_own_is_no_fault_of_the_design(tmp_path):
    """What a full case, a memory or a local variable leaves open, nothing takes."""
    (tmp_path / "top.v").write_text(OPEN)
    assert synthesize([tmp_path / "top.v"], "top", tmp_path, LIBRARY).cells


def changed(name, **pins):
    """CHAIN (NAND -> register -> inverter) with other pins of one cell."""
    cell, kept = CHAIN[name]
    return {**CHAIN, name: (cell, {**kept, **pins})}


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (changed("$1", A2=5) | {"$3": ("INV_X1", {"A": 7, "ZN": 5})}, "loop through net"),
        ({**CHAIN, "g": ("MAGIC_X1", {"A": 2, "ZN": 20})}, "cell g is a MAGIC_X1, which library"),
        ({**CHAIN, "g": ("$_DLATCH_P_", {"D": 2, "Q": 20})}, "has no cell for g, a $_DLATCH_P_"),
        (changed("$3", A=40), "net _40_ drives pin A of cell $3 but nothing drives it"),
        ({**CHAIN, "g": ("INV_X1", {"A": 2, "ZN": 5})}, "net y is driven by cell $3 and by cell g"),
        (changed("$1", A2="x"), "pin A2 of cell $1 is tied to 'x'; only 0 and 1 are allowed"),
    ],
)
@pytest.mark.parametrize("command", ["activity", "timing", "power"])
def test_a_netlist(tmp_path, command, cells, says):
    (tmp_path / "top.json").write_text(json.dumps(module(cells)))
    options = {
        "activity": ("--vectors", 640, "--out", "top.saif"),
        "timing": (),
        "power": ("--saif", "top.saif", "--clock-ps", 1000),
    }
    assert says in refused(tmp_path, command, "top.json", *options[command])


@pytest.fixture(scope="module")
def mac(tmp_path_factory):
    """A folder with a small MAC: its netlist, its SAIF file, and a library without power tables."""
    folder = tmp_path_factory.mktemp("mac")
    (folder / "mac.v").write_text(MAC)
    synthesize([folder / "mac.v"], "mac", folder, LIBRARY)
    netlist = Netlist.load(folder / "mac.netlist.json", LIBRARY)
    ones = np.ones(len(netlist.nets))
    write_saif(folder / "mac.saif", netlist, 1000, 500 * ones, 500 * ones, 2 * ones)
    (folder / "chain.json").write_text(json.dumps(module(CHAIN)).replace('"a": {', '"x": {'))
    group = r"internal_power\s*\([^)]*\)\s*{(?:[^{}]|{[^{}]*})*}"
    (folder / "cold.lib").write_text(re.sub(group, "", SHIPPED.read_text()))
    np.savez(folder / "codes.npz", w=np.array([1, 16]), a=np.array([1, 2]))
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "power mac.netlist.json --saif mac.saif --clock-ps 1000 --liberty cold.lib",
            "has no internal power tables; power needs a library that has them",
        ),
        (
            "activity mac.netlist.json --stimulus codes.npz --vectors 640 --out x.saif",
            "stimulus array w holds the code 16; port w takes -8 to 15.",
        ),
        (
            "activity mac.netlist.json --stimulus codes.npz --vectors 640 --out x.saif --hold w=1",
            "port w is both held and in codes.npz; leave one out.",
        ),
        (
            "activity chain.json --stimulus gaussian --vectors 640 --out x.saif",
            "draws words for the ports w and a, and top has neither",
        ),
        (
            "power mac.netlist.json --saif mac.saif --clock-ps 500",
            "has a period of 1000 ps in the activity, not 500 ps; give that as --clock-ps",
        ),
        (
            "timing mac.netlist.json --clock-ps 200",
            "ps, more than the clock of 200 ps; give a longer clock.",
        ),
        ("measure --liberty cold.lib --rtl . --synth . --out x.json", "no internal power tables"),
        ("timing mac.netlist.json --case no=1", "mac has no input no; it has "),
    ],
)
def test_a_library_a_stimulus_a_clock(mac, words, says):
    assert says in refused(mac, *words.split())

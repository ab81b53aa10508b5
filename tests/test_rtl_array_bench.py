"""The array's bench: its plan of products, its streams, and that it catches a wrong array."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal

from hw.rtl.spec import ArraySpec
from hw.rtl.verilog import write
from hw.tb.array_harness import ArrayOutcome, main
from hw.tb.array_wrapper import input_width, layout
from hw.tb.products import (
    STALLS,
    Plan,
    Product,
    cover,
    crosses,
    longest,
    mode_class,
    without_stalls,
)
from hw.tb.streams import Driver, Monitor, gaps, pack, takes
from hw.tb.wrapper import padded

SPECS = [
    ArraySpec(rows=1, columns=1, w_width=1, a_width=1, k_max=1, depth=1),
    ArraySpec(rows=2, columns=3, w_width=5, a_width=3, k_max=40, depth=5),
    ArraySpec(scheme="dg", rows=2, columns=1, w_width=4, a_width=6, k_max=40, depth=5),
    ArraySpec(scheme="dvafs", rows=4, columns=4, depth=8),
    ArraySpec(scheme="dvafs_st", rows=3, columns=2, w_width=8, a_width=8, min_lane=2, depth=4),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_the_plan_reaches_every_goal(spec):
    found = crosses(spec)
    cover(spec, list(Plan(spec, 3).products()), found)
    assert [(cross.name, cross.summary().full) for cross in found] == [
        ("weights", True), ("activations", True), ("sums", True),
    ]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_products_follow_each_other_as_they_say(spec):
    products = list(Plan(spec, 5).products())
    for before, after in pairwise(products):
        same_bits = (before.mode.w_bits, before.mode.a_bits) == (
            after.mode.w_bits,
            after.mode.a_bits,
        )
        last = before.tiles(spec)[-1]
        assert same_bits == (after.switch != "other bits")
        if same_bits:
            flipped = before.mode.a_signed != after.mode.a_signed
            assert flipped == (after.switch == "other signedness")
        if after.switch == "same weights":
            assert (after.w == before.w[last.k, last.n]).all()
        assert len(after.w) <= spec.k_max


def test_the_longest_sums_are_full_scale():
    spec = ArraySpec(rows=1, columns=1)
    sums = [int(product.a[0] @ product.w[:, 0]) for product in longest(spec)]
    assert max(sums) == 4608 * (2**15 - 1) * (2**16 - 1)
    assert min(sums) == -4608 * 2**15 * (2**16 - 1)


@pytest.mark.parametrize("pattern", STALLS)
def test_patterns_stall_unless_they_are_none(pattern):
    rng = np.random.default_rng(1)
    waits, taken = gaps(pattern, 200, rng), takes(pattern, 200, rng)
    assert waits.shape == taken.shape == (200,)
    assert (waits >= 0).all()
    assert bool(waits.any()) == bool(taken.any()) == (pattern != "none")


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_the_driver_sends_what_the_spec_packs(spec):
    """Beat for beat the words of `ArraySpec.pack`, once the garbage below the codes is off."""
    driver, sent = Driver(spec, np.random.default_rng(2)), without_stalls(spec, 3, 2)
    for product in sent:
        driver.drive(product)
    rows = {stream: iter(_payloads(driver, stream)) for stream in ("weights", "activations")}
    for product in sent:
        mode = product.mode
        for tile in product.tiles(spec):
            w, a = spec.pack(product.w, product.a, tile, mode)
            used = -(-(tile.n.stop - tile.n.start) // spec.lanes_along(mode)[1])
            masks = [
                sum(((1 << bits) - 1) << ((n + 1) * (width // mode.lanes) - bits)
                    for n in range(mode.lanes))
                for bits, width in ((mode.w_bits, spec.w_width), (mode.a_bits, spec.a_width))
            ]  # fmt: skip
            for n in range(tile.rows):
                beat = next(rows["weights"])
                assert [x & masks[0] for x in beat["words"][:used]] == w[n, :used].tolist()
                assert beat["last"] == (n == tile.rows - 1)
            for n in range(tile.beats):
                beat = next(rows["activations"])
                assert [x & masks[1] for x in beat["words"][: tile.rows]] == a[
                    n, : tile.rows
                ].tolist()
                assert beat["first"] == (n == 0)
                assert (beat["clear"], beat["emit"]) == (tile.clear, tile.emit)
                assert beat["a_signed"] == mode.a_signed


def _payloads(driver, stream):
    """Fields of a stream's beats, decoded by the layout."""
    shape = layout(driver.spec, stream)
    count = driver.spec.columns if stream == "weights" else driver.spec.rows
    for record in np.concatenate(driver.records[stream]):
        bits = int.from_bytes(record.tobytes(), "big")
        assert bits >> padded(input_width(driver.spec, stream)) == 0, "a wait without a stall"
        fields = {
            name: bits >> shape[name].offset & ((1 << shape[name].width) - 1) for name, _ in shape
        }
        width = shape["words"].width // count
        fields["words"] = [
            fields["words"] >> (n * width) & ((1 << width) - 1) for n in range(count)
        ]
        yield fields


def test_the_monitor_reads_what_the_wrapper_writes():
    spec = ArraySpec(rows=1, columns=3, w_width=5, a_width=4, k_max=5)  # 3 words of 12 bits
    words = [[1, 2, 3], [4095, 0, 2048]]
    raw = b"".join(
        np.array([cycle, value & 0xFFFFFFFF, value >> 32], dtype="=u4").tobytes()
        for cycle, row in enumerate(words, 7)
        for value in [sum(word << (12 * n) for n, word in enumerate(row))]
    )
    passed, got = Monitor(spec).beats(raw + b"\0\0\0\0")
    assert (passed.tolist(), got.tolist()) == ([7, 8], words)


def test_mode_classes_tell_full_from_gated_lanes():
    spec = ArraySpec(scheme="dvafs", w_width=8, a_width=8, min_lane=2)
    classes = {
        (w, a): mode_class(spec, spec.mac.mode(w, a)) for w, a in [(8, 8), (3, 4), (4, 4), (1, 2)]
    }
    assert list(classes.values()) == ["1x whole", "2x gated", "2x whole", "4x one-bit"]


def test_a_product_that_is_not_sent_leaves_an_empty_bin():
    spec = SPECS[0]
    products = [*Plan(spec, 3).products()]
    lacking = [p for p in products if p.stalls["sums"] != "long"]
    found = crosses(spec)
    cover(spec, lacking, found)
    outcome = ArrayOutcome(name=spec.name, coverage=tuple(cross.summary() for cross in found))
    assert outcome.verdict == "FAILED"
    assert re.match(
        rf"{spec.name}: coverage of sums is \d+ of \d+ bins; missing \(mode .*stalls long\)",
        outcome.errors[-1],
    )


def test_bench_passes_an_array_and_catches_one_of_less_depth(tmp_path, capsys):
    """One build for both; the second keeps fewer sums than its spec says."""
    right = ArraySpec(w_width=2, a_width=2, rows=1, columns=2, k_max=6, depth=3)
    other = ArraySpec(scheme="dg", w_width=2, a_width=2, rows=2, columns=1, k_max=6, depth=2)
    for spec in (right, other):
        write(spec, tmp_path / "rtl")
    claim = asdict(replace(other, depth=7))
    (tmp_path / "rtl" / f"{other.name}.array.json").write_text(json.dumps(claim))
    assert main(["--arrays", str(tmp_path / "rtl"), "--build", str(tmp_path / "sim")]) == 1
    ran = capsys.readouterr()
    assert "RTL, seed 1: 1 of 2 arrays passed" in ran.out
    assert re.search(rf"{right.name}( +\d+){{7}}  passed", ran.out), ran.out
    assert re.search(rf"{right.name}( +30/30){{3}}", ran.out)
    assert re.search(rf"{other.name}.*  FAILED", ran.out)
    assert re.search(
        rf"error: {other.name}, product \d+ \(\d+ x \d+ times \d+ x \d+, \d x \d bits( signed)?, "
        r"1 lane\(s\), stalls: weights \w+, activations \w+, sums \w+\), tile m \d+\.\.\d+, "
        r"n 0\.\.\d+: -?\d+ instead of -?\d+ at m \d+, n \d+, a = \[.*\], w = \[.*\]; seed 1\.",
        ran.err,
    )


def test_a_control_with_one_value_has_no_bits_in_the_payload():
    """DVAFS as wide as its smallest lane: there is nothing to choose among."""
    spec = ArraySpec(scheme="dvafs", w_width=4, a_width=4, rows=1, columns=2)
    shape = layout(spec, "weights")
    assert shape["lanes"].width == 0
    values = {"words": np.array([[1, 2], [3, 4]]), "last": np.array([0, 1])}
    assert np.array_equal(pack(shape, values | {"lanes": 0}, 2), pack(shape, values, 2))


FIELDS = asdict(ArraySpec(w_width=2, a_width=2, rows=1, columns=1))
PLACES = {
    "EMPTY": "",
    "CUT": "{",
    "NULL": "null",
    "DEEP": "[" * 100_000,
    "NAN": json.dumps(FIELDS | {"rows": float("nan")}),
    "ZERO": json.dumps(FIELDS | {"k_max": 0}),
    "MORE": json.dumps(FIELDS | {"guard_bits": 4}),
    "BARE": json.dumps(FIELDS),
}
"""What stands in x.array.json of a folder of this name; a word in capitals below is a path."""

REFUSED = [
    *((f"--seed {v}", rf"'{v}' is no whole number of at least 0") for v in ("-1", "nan", "1e3")),
    ("--arrays EMPTY", r"EMPTY holds no array; write one with python -m hw.rtl.verilog --rows 2"),
    ("--arrays MISSING", r"MISSING holds no array"),
    ("--arrays CUT", r"x\.array\.json is not the spec of an array \(Expecting"),
    ("--arrays NULL", r"is not the spec of an array \(no JSON object\)"),
    ("--arrays DEEP", r"is not the spec of an array \(maximum recursion depth"),
    ("--arrays NAN", r"x\.array\.json .*rows must be a whole number from 1 to 32, not nan\)"),
    ("--arrays ZERO", r"x\.array\.json .*k_max must be a whole number from 1 to 65536, not 0\)"),
    ("--arrays MORE", r"unexpected keyword argument 'guard_bits'"),
    ("--arrays BARE", r"array_fixed_w2a2_1x1\.v is missing beside its spec"),
    ("--arrays BARE --plan", r"array_fixed_w2a2_1x1\.v is missing beside its spec"),
    (
        "--arrays BARE --netlists EMPTY",
        r"array_fixed_w2a2_1x1\.synth\.json is missing or no report",
    ),
    ("--netlists EMPTY", r"--netlists needs --arrays"),
    ("--build CUT/x.array.json", r"x\.array\.json/arrays: Not a directory; a part of the path"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED, ids=[line for line, _ in REFUSED])
def test_bad_input_is_one_sentence(line, sentence, tmp_path, capsys):
    for name, text in PLACES.items():
        (tmp_path / name).mkdir()
        if text:
            (tmp_path / name / "x.array.json").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    words = [str(tmp_path / word) if word[0].isupper() else word for word in line.split()]
    error = refusal(main, ["--build", str(tmp_path / "sim"), *words], capsys)
    assert re.search(sentence, error), error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_reader_that_has_seen_enough_is_no_error():
    """As in `python -m hw.tb.array_harness --plan | true`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "hw.tb.array_harness", "--plan"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_product_says_what_it_is():
    spec = ArraySpec(rows=1, columns=1)
    mode = spec.mac.mode(16, 16, True)
    stalls = {"weights": "none", "activations": "long", "sums": "random"}
    product = Product(mode=mode, w=np.ones((3, 2)), a=np.ones((4, 3)), stalls=stalls)
    assert str(product) == (
        "4 x 3 times 3 x 2, 16 x 16 bits signed, 1 lane(s), "
        "stalls: weights none, activations long, sums random"
    )

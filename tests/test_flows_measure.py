"""The sweep: the same table whoever computes it, and what the energies must obey."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from test_flows_table import HEADER, ROW

from flows.console import FlowError
from flows.energy import measure_point, measure_print
from flows.energy.points import points
from flows.sweep import sweep
from flows.table import SCHEMES, EnergyTable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("measure")


def words(folder, out, *arguments):
    places = ["--rtl", folder / "rtl", "--synth", folder / "synth", "--out", folder / out]
    options = [*places, "--workers", "1"]  # a cluster takes seconds to start
    return [sys.executable, "-m", "flows.measure", *map(str, [*options, *arguments])]


def environment(folder):
    return {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "0", "HOME": str(folder)}


def command(folder, out, *arguments):
    return subprocess.run(
        words(folder, out, *arguments),
        capture_output=True,
        text=True,
        check=False,
        env=environment(folder),
    )


SMALL = ("--schemes", "fixed", "dg", "dvafs", "--bits", "4", "16", "--stimuli", "uniform")
FEW = ("--vectors", "640", "--seed", "7")


@pytest.fixture(scope="module")
def table(folder):
    done = command(folder, "one.json", *SMALL, *FEW, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "1 = fixed 16 bits" in " ".join(done.stdout.split())  # captions wrap
    return EnergyTable.load(folder / "one.json")


def test_a_local_cluster_makes_the_same_file_to_the_last_digit(folder, table):
    done = command(folder, "two.json", *SMALL, *FEW, "--workers", "2", "--json")
    assert json.loads(done.stdout)["sha256"] == table.sha256
    assert (folder / "two.json").read_bytes() == (folder / "one.json").read_bytes()


def test_done_points_are_kept_and_an_unfinished_sweep_goes_on(folder, table):
    shutil.copytree(folder / "one.json.points", folder / "cut.json.points")
    lost = sorted((folder / "cut.json.points").iterdir())
    lost[0].unlink()
    lost[1].write_text("[{")  # a file that somebody damaged
    done = command(folder, "cut.json", *SMALL, *FEW)
    assert done.stderr.count("measure ") == 2
    assert EnergyTable.load(folder / "cut.json").sha256 == table.sha256


def test_a_sweep_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(folder, table):
    kept = folder / "killed.json.points"
    with subprocess.Popen(
        words(folder, "killed.json", *SMALL, *FEW, "--workers", "2"),
        stderr=subprocess.DEVNULL,
        env=environment(folder),
        start_new_session=True,
    ) as sweep:
        while sweep.poll() is None and not list(kept.glob("[!.]*.json")):
            time.sleep(0.01)
        os.killpg(sweep.pid, signal.SIGKILL)
    assert sweep.returncode == -signal.SIGKILL
    assert not (folder / "killed.json").exists()
    before = len(list(kept.glob("[!.]*.json")))
    done = command(folder, "killed.json", *SMALL, *FEW)
    assert done.stderr.count("measure ") == len(table.rows) / 2 - before
    assert EnergyTable.load(folder / "killed.json").sha256 == table.sha256


@pytest.fixture(scope="module")
def cluster():
    """Two workers of two threads, in this process; an address is all that the command is told."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    options = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, **options) as made:
        yield made


def test_a_dask_cluster_makes_the_same_file_to_the_last_digit(folder, table, cluster):
    address = cluster.scheduler_address
    done = command(folder, "dask.json", *SMALL, *FEW, "--scheduler", address)
    assert done.returncode == 0, done.stderr
    assert (folder / "dask.json").read_bytes() == (folder / "one.json").read_bytes()


def operands(folder, name="layer.npz", **changes):
    """A file of operands of a layer with 4-bit weights and 8-bit activations, half of them zero."""
    rng = np.random.default_rng(5)
    arrays = {
        "w": rng.integers(-7, 8, 3000),
        "a": rng.integers(0, 256, 3000) * (rng.random(3000) < 0.5),
        "w_bits": 4,
        "a_bits": 8,
        **changes,
    }
    np.savez(folder / name, **{key: value for key, value in arrays.items() if value is not None})
    return folder / name


def test_a_layers_own_codes_and_unequal_bits(folder, table):
    stimuli = ("--stimuli", "uniform", operands(folder))
    done = command(folder, "layer.json", *FEW, "--bits", "4x8", *stimuli)
    assert done.returncode == 0, done.stderr
    made = EnergyTable.load(folder / "layer.json")
    assert {row.stimulus for row in made.rows} == {"uniform", "layer"}
    for scheme, lanes in (("fixed", 1), ("dg", 1), ("dvafs", 2), ("dvafs_st", 2)):
        rows = [made.row(scheme, 4, 8, stimulus=name) for name in ("layer", "uniform")]
        assert 0.4 * rows[1].energy_fj < rows[0].energy_fj < 0.95 * rows[1].energy_fj
        assert rows[0].macs_per_cycle == lanes
    assert "mac_fixed_w4a8" in made.header.netlist_sha256
    assert len(made.header.notes["stimulus_layer_sha256"]) == 64


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"w_bits": 3}, "; a mode of 3 x 8 bits takes -4 to 3."),
        ({"a_bits": 7}, "; a mode of 4 x 7 bits takes 0 to 127."),
        ({"a_signed": 1}, "; a mode of 4 x 8 bits takes -128 to 127."),
        ({"a_bits": 17}, "bits 4x17 is not known"),
        ({"a_bits": None}, "both or neither"),
        ({"w_bits": None, "a_bits": None}, "stimulus bad does not say its bits"),
        ({"w": None}, "must hold arrays w and a of one length"),
        ({"w": np.ones(3000)}, "array w must hold integers"),
        ({"extra": np.zeros(3, int)}, "not a_bits, extra, w_bits"),
    ],
)
def test_a_file_that_is_no_stimulus_is_one_sentence_and_no_table(folder, changes, sentence):
    path = operands(folder, "bad.npz", **changes)
    done = command(folder, "nothing.json", *FEW, "--stimuli", path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert sentence in done.stderr
    assert not (folder / "nothing.json").exists()


def test_the_default_has_unequal_bits_where_one_circuit_serves_them():
    chosen = points(["fixed", "dg", "dvafs"], None, ["uniform", "gaussian"], {})
    assert len(chosen) == len(set(chosen)) == 3 * 2 * 16 + 2 * 240
    unequal = [p for p in chosen if p.w_bits != p.a_bits]
    assert {(p.scheme, p.stimulus) for p in unequal} == {("dg", "uniform"), ("dvafs", "uniform")}


def test_another_seed_moves_the_numbers_within_their_intervals(folder, table):
    done = command(folder, "seed.json", *SMALL, "--vectors", "640", "--seed", "8")
    assert done.returncode == 0, done.stderr
    other = EnergyTable.load(folder / "seed.json")
    for row in table.rows:
        twin = other.row(row.scheme, row.w_bits, row.a_bits, supply=row.supply)
        assert twin.energy_fj != row.energy_fj
        assert twin.energy_fj == pytest.approx(row.energy_fj, abs=4 * (row.ci95_fj + twin.ci95_fj))


def test_energies_obey_what_they_must(table):
    for row in table.rows:
        assert 0 < row.glitch_fj < row.energy_fj
        assert row.critical_path_ps <= row.clock_ps
        assert 0.8 <= row.vdd_v <= 1.0
    for scheme, lanes in (("fixed", 1), ("dg", 1), ("dvafs", 4)):
        wide, narrow = table.row(scheme, 16, 16), table.row(scheme, 4, 4)
        assert narrow.energy_fj < 0.5 * wide.energy_fj
        assert (wide.macs_per_cycle, narrow.macs_per_cycle) == (1, lanes)
        scaled = table.row(scheme, 4, 4, supply="scaled")
        assert scaled.energy_fj < narrow.energy_fj
        assert scaled.clock_ps == lanes * narrow.clock_ps
    assert len({row.clock_ps for row in table.rows if row.supply == "nominal"}) == 1
    assert table.row("dvafs", 16, 16).energy_fj > table.row("fixed", 16, 16).energy_fj


def test_the_lowest_supply_is_a_parameter(folder, table):
    """Of a mode with time to spare it is what is asked for; energy goes with its square."""
    options = ("--schemes", "dvafs", "--bits", "4", "--stimuli", "uniform", "--lowest-vdd", "0.9")
    done = command(folder, "high.json", *options, *FEW)
    assert done.returncode == 0, done.stderr
    made = EnergyTable.load(folder / "high.json")
    high, low = (t.row("dvafs", 4, 4, supply="scaled") for t in (made, table))
    assert (high.vdd_v, low.vdd_v) == (0.9, 0.8)
    assert high.switching_fj / low.switching_fj == pytest.approx((0.9 / 0.8) ** 2, rel=1e-3)
    assert made.row("dvafs", 4, 4) == table.row("dvafs", 4, 4)
    assert made.header.notes["lowest_vdd_v"] == 0.9


@pytest.mark.parametrize("count", [10, 16, 40])
def test_half_width_is_students(count):
    # 97.5 % quantiles of Student's t from a printed table (9, 15, 39 degrees of freedom)
    quantile = {10: 2.262, 16: 2.131, 40: 2.023}[count]
    values = [float(i % 7) for i in range(count)]
    expected = quantile * statistics.stdev(values) / count**0.5
    assert measure_point.half_width(values) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--schemes", "magic"), "scheme magic is not known; fixed, dg, dvafs, dvafs_st are."),
        (("--bits", "17"), "bits 17 is not known; K or WxA with numbers from 1 to 16 are."),
        (("--bits", "4x0"), "bits 4x0 is not known"),
        (("--stimuli", "pink"), "stimulus pink is not known"),
        (("--workers", "0"), "number of workers must be 1 or more"),
        (("--vectors", "0"), "number of vectors must be 1 or more"),
        (("--vectors", "64"), "64 vectors are too few"),
        (("--liberty", "missing.lib"), "missing.lib"),
        (("--stimuli", "missing.npz"), "missing.npz: No such file"),
        (("--clock-ps", "1500"), "a clock of 1500 ps is shorter than the longest path of mac_"),
        (("--clock-ps", "0"), "clock period must be more than 0 ps"),
        (("--wire-scale", "-1"), "wire scale must be 0 or more"),
        (("--lowest-vdd", "0.4"), "lowest supply must lie above 0.45 V and not above 1 V, not at"),
        (("--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_bad_input_is_one_sentence_and_no_table(folder, table, arguments, sentence):
    done = command(folder, "bad.json", *SMALL, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "bad.json").exists()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("assign acc = ~acc & w;", "combinational loop through net acc; break it with a register"),
        ("assign acc = {w, 1'bx};", "net acc can be x; give it 0 or 1 in every case"),
    ],
)
def test_a_mac_that_cannot_be_measured_is_named_and_no_table_is_written(
    folder, table, body, sentence
):
    source = folder / "rtl" / "mac_fixed_w3a3.v"
    source.write_text(f"module mac_fixed_w3a3(input [2:0] w, output [2:0] acc); {body} endmodule")
    done = command(folder, "bad.json", "--schemes", "fixed", "--bits", "3", *FEW)
    assert done.returncode == 2
    refusal = done.stderr.splitlines()[-1]
    assert refusal.startswith("error: mac_fixed_w3a3 cannot be synthesised: ")
    assert sentence in refusal
    assert not (folder / "bad.json").exists()


def printed(capsys, *rows):
    """Lines of the printed table, blanks folded."""
    measure_print.show(EnergyTable(HEADER, rows))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_printed_table_has_intervals_glitch_shares_and_unequal_bits(capsys):
    widths = (2, 4, 8, 16)
    rows = [
        replace(
            ROW, scheme=scheme, w_bits=w, a_bits=a, energy_fj=float(w * a), clock_fj=w * a - 8.0,
            glitch_fj=w * a / 4, ci95_fj=2.56,
        )
        for scheme in SCHEMES
        for w in widths
        for a in widths
        if w * a >= 8
    ]  # fmt: skip
    two = [replace(ROW, scheme=s, w_bits=2, a_bits=2) for s in SCHEMES]
    lines = printed(capsys, *rows, *two)
    assert "8 0.250 ±0.010 25% 0.250 ±0.010 25% 0.250 ±0.010 25% 0.250 ±0.010 25% 0.33 0.1" in lines
    start = lines.index("dvafs, weights (w) x activations (a), uniform")
    assert "8 0.062 0.125 0.250 0.500" in lines[start : start + 9]
    assert f"Scaled supply: {HEADER.voltage_model}." in lines


def test_published_figures_agree_or_say_why_not(capsys):
    """Ratios with their intervals; a reason stands once however many rows give its number."""

    def row(scheme, bits, fj, supply="nominal"):
        half = {"ci95_fj": 0.03 * fj, "glitch_fj": 0.2 * fj}
        made = replace(ROW, scheme=scheme, w_bits=bits, a_bits=bits, supply=supply, **half)
        return replace(made, energy_fj=fj, clock_fj=fj - ROW.energy_fj + ROW.clock_fj)

    lines = printed(
        capsys,
        *(row("fixed", bits, fj) for bits, fj in ((16, 1000.0), (8, 500.0), (4, 130.0))),
        *(row("dg", 8, fj, supply) for fj, supply in ((500.0, "nominal"), (340.0, "scaled"))),
        *(row("dvafs", 8, fj, supply) for fj, supply in ((400.0, "nominal"), (250.0, "scaled"))),
    )
    for line in (
        "paper, Fig. 1(d) dg 8 / fixed 16 0.33 0.500 ±0.021 0.340 ±0.014 20% agrees",
        "paper, Fig. 1(d) dvafs 8 / fixed 16 0.1 0.400 ±0.017 0.250 ±0.011 20% (1)",
        "BitFusion 45 nm fixed 8 / 16 0.317 0.500 ±0.021 20% (2)",
        "BitFusion 45 nm fixed 4 / 16 0.125 0.130 ±0.006 20% agrees",
        "BitFusion 45 nm fixed 16 1085 1000 ±30 0.92 20% agrees",
        "BitFusion 45 nm fixed 8 344 500 ±15 1.45 20% (3)",
    ):
        assert line in lines
    for number in (1, 2, 3):
        assert sum(line.startswith(f"({number}) ") for line in lines) == 1


def test_a_local_cluster_that_does_not_start_is_a_sentence(monkeypatch, tmp_path) -> None:
    """As under a wall clock that jumps, by which Dask waits."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")

    def late(**_: object) -> None:
        raise RuntimeError("Cluster failed to start: timed out")

    monkeypatch.setattr(distributed, "LocalCluster", late)
    jobs = {key: lambda: [{"x": 1}] for key in "ab"}
    with pytest.raises(FlowError, match=r"failed to start: timed out\); .* --workers 1"):
        sweep(jobs, tmp_path, str, workers=2)
    assert sweep(jobs, tmp_path, str, workers=1) == {"a": [{"x": 1}], "b": [{"x": 1}]}

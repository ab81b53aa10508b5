"""The sweep: the same table whoever computes it, and what the energies must obey."""

import json
import shutil
import statistics
import subprocess
import sys

import pytest

from flows import measure
from flows.table import EnergyTable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("measure")


def command(folder, out, *arguments):
    options = ["--rtl", folder / "rtl", "--synth", folder / "synth", "--out", folder / out]
    done = subprocess.run(
        [sys.executable, "-m", "flows.measure", *map(str, [*options, *arguments])],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "0", "HOME": str(folder)},
    )
    return done


SMALL = ("--schemes", "fixed", "dg", "dvafs", "--bits", "4", "16", "--stimuli", "uniform")
FEW = ("--vectors", "640", "--seed", "7")


@pytest.fixture(scope="module")
def table(folder):
    done = command(folder, "one.json", *SMALL, *FEW, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "1 = fixed 16 bits" in " ".join(done.stdout.split())  # captions wrap
    return EnergyTable.load(folder / "one.json")


def test_two_workers_make_the_same_file_to_the_last_digit(folder, table):
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
        assert row.critical_path_ps <= row.clock_ps + 0.01  # supplies are rounded to 1 uV
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


@pytest.mark.parametrize("count", [10, 16, 40])
def test_half_width_is_students(count):
    # 97.5 % quantiles of Student's t from a printed table (9, 15, 39 degrees of freedom)
    quantile = {10: 2.262, 16: 2.131, 40: 2.023}[count]
    values = [float(i % 7) for i in range(count)]
    expected = quantile * statistics.stdev(values) / count**0.5
    assert measure._half_width(values) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--schemes", "magic"), "scheme magic is not known; fixed, dg, dvafs, dvafs_st are."),
        (("--bits", "17"), "bits 17 is not known"),
        (("--stimuli", "pink"), "stimulus pink is not known"),
        (("--workers", "0"), "number of workers must be 1 or more"),
        (("--vectors", "0"), "number of vectors must be 1 or more"),
        (("--vectors", "64"), "64 vectors are too few"),
        (("--liberty", "missing.lib"), "missing.lib"),
    ],
)
def test_bad_input_is_one_sentence_and_no_table(folder, table, arguments, sentence):
    done = command(folder, "bad.json", *SMALL, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "bad.json").exists()

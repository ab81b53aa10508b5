"""The benchmark's page: ratios, and what is said to be missing."""

import subprocess
import sys
from types import SimpleNamespace

from flows.bench import Row, page

NETLIST = SimpleNamespace(instances=range(7))
BENCH = SimpleNamespace(netlist=NETLIST, vectors=2048, seed=3, peak_mib=lambda _: 1.5)


def test_ratios_are_of_medians_and_goals_that_are_missed_are_told():
    rows = [
        Row("quanos", "nldm", (90_000.0, 100_000.0, 300_000.0)),
        Row("Icarus, plain gates", "nldm", (1_000.0,)),
        Row("quanos", "zero", (4e7,)),
        Row("Icarus, plain gates", "zero", (1_000.0,)),
    ]
    text = page(BENCH, rows)
    assert "| Icarus, plain gates | nldm | 1,000 (1,000 to 1,000) | 100 |" in text
    assert "500 times Icarus, plain gates (nldm): 100 times." in text
    assert "15 times kyupy WaveSim (nldm): not measured" in text
    assert "20,000 times Icarus" not in text  # reached


def test_too_few_vectors_are_refused():
    command = [sys.executable, "-m", "flows.bench", "none.json", "--vectors", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: 9 vectors are too few to time; take 1024 or more.\n"

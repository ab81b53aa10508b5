"""The benchmark's page: ratios, and what is said to be missing."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from flows import bench_scale, kernel
from flows.activity import Simulator
from flows.bench import Row, page
from flows.bench_scale import Size
from flows.circuit import Circuit
from flows.engine import Engine
from flows.library import Library
from flows.netlist import Netlist
from flows.synth import synthesize
from flows.waveform import Plan
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write

NETLIST = SimpleNamespace(instances=range(7))
BENCH = SimpleNamespace(
    netlist=NETLIST, vectors=2048, seed=3, steps=70_000, peak_mib=lambda _: 1.5,
    ns_per_vector=lambda vectors: vectors / 16_384,
)  # fmt: skip


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
    assert "| 262,144 | 16 ns | 1.5 MiB |" in text
    assert "would move 2 TB/s" in " ".join(
        text.split()
    )  # 20 x 100,000 operations of 70,000 steps, 30 x 3/8 bytes


@pytest.mark.parametrize(("dearest", "said"), [(1.29, False), (1.31, True)])
def test_cost_that_grows_faster_than_the_circuit_is_told(dearest, said):
    sizes = [
        Size(1, 1000, 2048, seconds=2.048e-3, peak_mib=1.0),  # 1 ns
        Size(2, 600_000, 2048, seconds=1.2288 * dearest, peak_mib=2.0),
    ]
    text = page(BENCH, [Row("quanos", "nldm", (1e5,))], sizes)
    assert f"costs {dearest:.2f} times one of the cheapest" in text
    assert ("Cost linear in cells" in text) == said
    assert "Cost beyond" not in text


@pytest.mark.skipif(not kernel.available(), reason="no C compiler is installed")
def test_a_grid_of_copies_counts_as_its_macs_do(tmp_path):
    """Two rows and columns, each with its operands: every copy's transitions are those of a MAC
    that gets the same."""
    spec, library = MacSpec(w_width=3, a_width=3), Library.load()
    synthesize([write(spec, tmp_path)], spec.name, tmp_path, library)
    mac = Simulator(Netlist.load(tmp_path / f"{spec.name}.netlist.json", library), library)
    grid = bench_scale.tiled(mac.netlist, 2)
    circuit = Circuit.of(grid, library)
    delays = bench_scale.copied(mac.delays, mac.circuit, circuit)
    made = bench_scale.words(spec, grid, mac.netlist, 0)
    ports = [(grid.inputs[port], words) for port, words in made.items()]
    engine = Engine(circuit, lambda static: Plan.of(circuit, delays, static))
    counts = engine.run(ports, (), bench_scale.WARMUP, 1)[0, :, 0]
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        own = {
            p: made[{"w": f"w_{j}", "a": f"a_{i}"}.get(p, p)]
            for p in mac.netlist.inputs
            if p in ("w", "a") or p in made
        }
        expected = mac.run(own, bench_scale.WARMUP).toggles[0]
        for net in (gate.output for gate in mac.circuit.gates):
            assert counts[grid.net_index[f"m{i}_{j}.{mac.netlist.nets[net]}"]] == expected[net]


def test_too_few_vectors_are_refused():
    command = [sys.executable, "-m", "flows.bench", "none.json", "--vectors", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: 9 vectors are too few to time; take 1024 or more.\n"

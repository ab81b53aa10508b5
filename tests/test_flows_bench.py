"""The benchmark's page: ratios, and what is said to be missing."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from flows.activity import Simulator
from flows.bench import main
from flows.benches import bench_scale
from flows.benches.bench_page import BYTES, page
from flows.benches.bench_rivals import Row, race_seconds
from flows.benches.bench_scale import Size
from flows.gates.circuit import Circuit
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator import kernel, waveform
from flows.simulator.engine import Engine
from flows.simulator.waveform import Plan
from flows.synth import synthesize
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write

NETLIST = SimpleNamespace(instances=range(7))
BENCH = SimpleNamespace(
    netlist=NETLIST, vectors=2048, seed=3, steps=70_000, once_bytes=22_000.0,
    peak_mib=lambda _: 1.5, ns_per_vector=lambda vectors: vectors / 16_384,
)  # fmt: skip


SPEC = MacSpec(w_width=3, a_width=3)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The netlist of a small MAC."""
    folder = tmp_path_factory.mktemp("mac")
    synthesize([write(SPEC, folder)], SPEC.name, folder, Library.load())
    return folder / f"{SPEC.name}.netlist.json"


@pytest.fixture(scope="module")
def simulator(small):
    library = Library.load()
    return Simulator(Netlist.load(small, library), library)


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
    words = " ".join(text.split())  # 100,000 operations of 70,000 steps, 4.4 bytes: 30.8 GB/s
    assert "at 20 times our timed rate 0.6 TB/s; such memories do 3 to 8, enough for 97 to" in words
    assert "would move 22 kB a vector, 0.0 TB/s" in words


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


class Moved(np.ndarray):
    """An array that counts the bytes that operations on it read and write."""

    total = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(x) for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        Moved.total += sum(x.nbytes for x in plain if x.ndim) + result.nbytes
        return result.view(Moved)


class Counting:
    """NumPy whose new arrays count."""

    def __getattr__(self, name):
        made = getattr(np, name)
        return (lambda *a: made(*a).view(Moved)) if name in ("empty", "stack") else made


def test_what_the_array_engine_moves_is_what_the_page_says(simulator, monkeypatch):
    plan = Plan.of(simulator.circuit, simulator.delays, {})
    words = {net: np.full(16, net, np.uint64).view(Moved) for net in simulator.circuit.sources}
    monkeypatch.setattr(waveform, "np", Counting())
    monkeypatch.setattr(Moved, "total", 0)
    waveform.count(plan, words, words)
    steps = sum(window.rows for window in plan.windows.values())
    assert Moved.total / (16 * 64 * steps) == pytest.approx(BYTES, rel=0.2)


@pytest.mark.skipif(not kernel.available(), reason="no C compiler is installed")
def test_a_grid_of_copies_counts_as_its_macs_do(simulator):
    """Two rows and columns, each with its operands: every copy's transitions are those of a MAC
    that gets the same."""
    mac, library = simulator, simulator.library
    grid = bench_scale.tiled(mac.netlist, 2)
    circuit = Circuit.of(grid, library)
    delays = bench_scale.copied(mac.delays, mac.circuit, circuit)
    made = bench_scale.words(SPEC, grid, mac.netlist, 0)
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


RIVALS = {
    "Icarus, our delays to the letter, nldm": 5 * 512 / 270,
    "Verilator, SAIF of all nets, zero": 20 + 5 * 0.2,
    "kyupy WaveSim, nldm": 7 + 5 * 0.2,
}


@pytest.mark.parametrize("rivals", [True, False])
def test_a_plan_names_the_engines_at_hand_and_writes_nothing(
    small, rivals, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("flows.benches.icarus.IVERILOG", "iverilog" if rivals else None)
    monkeypatch.setattr("flows.benches.verilator.command", lambda: "v" if rivals else None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: rivals or None)
    words = (str(small), "--scale", str(small), "--out", str(tmp_path / "page.md"))
    monkeypatch.setattr(sys, "argv", ["bench", *words, "--plan", "--json"])
    assert main() == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    seconds = {step["name"]: step["seconds"] for step in plan["steps"]}
    ours = [name for name in seconds if name.startswith("quanos")]
    grids = [name for name in seconds if name.startswith("grid ")]
    assert (len(ours), len(grids), len(seconds)) == (6, 6, 6 + 6 + 1 + 5 * rivals)
    assert {name: seconds.get(name) for name in RIVALS} == (
        RIVALS if rivals else dict.fromkeys(RIVALS)
    )
    assert plan["writes"] == [str(tmp_path / "page.md")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("operations", "rate", "seconds"), [(100, 1000.0, 1.0), (1000, 1000.0, 5.0)]
)
def test_a_race_takes_five_repetitions_of_a_fifth_of_a_second_at_least(operations, rate, seconds):
    assert race_seconds(operations, rate) == pytest.approx(seconds)


def test_too_few_vectors_are_refused():
    command = [sys.executable, "-m", "flows.bench", "none.json", "--vectors", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: 9 vectors are too few to time; take 1024 or more.\n"

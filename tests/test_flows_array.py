"""Arrays in the simulator: the schedule computes the product, and counts are other tools'."""

from functools import cache

import numpy as np
import pytest

from flows import array_energy
from flows.activity import Simulator
from flows.arrays import array_schedule
from flows.benches import icarus, verilator
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator.functional import Functional
from flows.stimulus import activations, weights
from flows.synth import synthesize
from flows.synthesis.synth_script import Options
from flows.table import EnergyTable
from hw.rtl.spec import ArraySpec
from hw.rtl.verilog import write

SPECS = {
    "fixed_3": ArraySpec(w_width=3, a_width=3, rows=2, columns=2, k_max=64, depth=4),
    "dvafs_8": ArraySpec(
        scheme="dvafs", w_width=8, a_width=8, min_lane=4, rows=2, columns=2, k_max=64, depth=2
    ),
    "dvafs_16": ArraySpec(scheme="dvafs", rows=2, columns=2, k_max=64, depth=2),
    "dvafs_st_16": ArraySpec(scheme="dvafs_st", rows=2, columns=2, k_max=256, depth=2),
}
CYCLES = 64


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An array's spec and its netlist with delays, by name; each is made once."""

    @cache
    def build(name):
        spec, folder = SPECS[name], tmp_path_factory.mktemp("array")
        library = Library.load()
        options = Options(hierarchical=spec.w_width > 8)  # one element of the larger ones is mapped
        synthesize([write(spec, folder)], spec.name, folder, library, options)
        netlist = Netlist.load(folder / f"{spec.name}.netlist.json", library)
        return spec, Simulator(netlist, library)

    return build


@pytest.fixture(params=["fixed_3", "dvafs_8"])
def array(request, built):
    return built(request.param)


def stimulus(spec, netlist, streams=1, cycles=1 + CYCLES, bits=None):
    bits = bits or (spec.w_width if spec.scheme == "fixed" else spec.w_width // 2 + 1)
    mode = spec.mac.mode(bits, bits)
    made = [
        array_schedule.random_schedule(spec, mode, "uniform", np.random.default_rng(s), cycles)
        for s in range(streams)
    ]
    return mode, made, array_schedule.inputs(netlist, made)


@pytest.mark.parametrize(
    ("array", "bits", "lanes"),
    [
        ("fixed_3", 3, 1),
        ("dvafs_8", 5, 1),
        ("dvafs_8", 4, 2),
        ("dvafs_16", 16, 1),
        ("dvafs_16", 8, 2),
        ("dvafs_16", 4, 4),
        ("dvafs_st_16", 8, 2),
        ("dvafs_st_16", 4, 4),
    ],
    indirect=["array"],
)
def test_the_schedule_makes_the_array_compute_the_product(array, bits, lanes):
    """In every lane. K ends in sight: all of its tiles are loaded, run and emitted."""
    spec, simulator = array
    netlist = simulator.netlist
    mode, made, inputs = stimulus(spec, netlist, cycles=200, bits=bits)
    assert mode.lanes == lanes
    trace = Functional(simulator.circuit).simulate(inputs)
    per_row, per_column = spec.lanes_along(mode)
    tiles = min(-(-200 // spec.depth) + 2, spec.k_max // (spec.rows * per_row))
    k, n = tiles * spec.rows * per_row, spec.columns * per_column
    rng = np.random.default_rng(0)
    w = weights(rng, "uniform", mode.w_bits, (k, n))
    a = activations(rng, "uniform", mode.a_bits, (spec.depth, k))
    values = settle(simulator.circuit, trace)
    valid = values[netlist.outputs["sums__valid"][0]][:, 0].astype(bool)
    words = sum(
        values[net][:, 0].astype(object) << i
        for i, net in enumerate(netlist.outputs["sums__payload"])
    )[valid]
    tile = next(t for t in spec.tiles(spec.depth, k, n, mode) if t.emit)
    each = (1 << spec.mac.acc_width) - 1
    columns = [
        [word >> c * spec.mac.acc_width & each for c in range(spec.columns)] for word in words
    ]
    assert len(words) == spec.depth
    assert np.array_equal(spec.unpack(columns, tile, mode), spec.compute(w, a, mode))
    assert array_schedule.useful_macs(made, 0) == spec.depth * k * n


def settle(circuit, trace):
    values = {0: np.uint8(0), 1: np.uint8(1), **trace.bits}
    for gate in circuit.gates:
        pins = dict(zip(gate.function.inputs, (values[n] for n in gate.inputs), strict=True))
        values[gate.output] = gate.function.evaluate(pins)
    return values


def test_energies_of_an_array_are_those_of_its_parts(tmp_path):
    spec, library = SPECS["fixed_3"], Library.load()
    synthesize([write(spec, tmp_path)], spec.name, tmp_path, library)
    assert array_energy.specs(tmp_path) == [spec]
    rows = list(
        array_energy.measure(spec, tmp_path, [16, 3], "uniform", 1, table := EnergyTable.load())
    )
    assert [row.bits for row in rows] == [3]
    parts = ("switching_fj", "internal_fj", "clock_fj", "leakage_fj")
    assert rows[0].array_fj == pytest.approx(sum(getattr(rows[0], name) for name in parts))
    assert 0 < rows[0].ci95_fj < rows[0].glitch_fj < rows[0].array_fj
    assert rows[0].mac_fj == table.row("fixed", 3, 3).energy_fj
    assert 3 < rows[0].register_clock_fj < 8  # 7 fJ where the clock always runs, less behind gates
    head, rule, line = array_energy.page(rows, "uniform", 1, 4).splitlines()[11:14]
    assert line.startswith(f"| {spec.name} | 3 | ")
    assert head.count("|") == rule.count("|") == line.count("|")


@pytest.mark.parametrize("threads", [2, 3])
def test_counts_do_not_depend_on_threads(array, threads):
    spec, simulator = array
    _, _, inputs = stimulus(spec, simulator.netlist, streams=40)
    shared = Simulator(simulator.netlist, simulator.library, threads=threads)
    one, many = (s.run(inputs, 1, batches=10) for s in (simulator, shared))
    assert np.array_equal(one.toggles, many.toggles)
    assert np.array_equal(one.ones, many.ones)
    assert one.toggles.sum() > one.settled.sum() > 0


@pytest.mark.skipif(icarus.IVERILOG is None, reason="Icarus (iverilog) is not installed")
def test_every_net_of_an_array_toggles_as_often_as_in_icarus(array, tmp_path):
    spec, simulator = array
    _, _, inputs = stimulus(spec, simulator.netlist)
    counted = simulator.run(inputs, 1).edges[0]
    bits = {net: values[:, 0] for net, values in inputs.items()}
    assert counted.sum() > 1000
    expected = icarus.edges(simulator.circuit, simulator.delays, bits, 1, tmp_path)
    assert counted.tolist() == expected


@pytest.mark.oracle
@pytest.mark.skipif(verilator.command() is None, reason="Verilator is not installed")
def test_every_net_of_an_array_settles_as_often_as_in_verilator(array, tmp_path):
    spec, simulator = array
    _, _, inputs = stimulus(spec, simulator.netlist)
    counted = simulator.run(inputs, 1).settled[0]
    counted[list(simulator.circuit.clocks)] = 0
    bits = {net: values[:, 0] for net, values in inputs.items()}
    found = np.array(verilator.toggles(simulator.circuit, bits, tmp_path))
    found[list(simulator.circuit.clocks)] = 0
    assert counted.tolist() == found.tolist()

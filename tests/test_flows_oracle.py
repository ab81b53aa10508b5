"""Every MAC of the table against independent tools: transitions net by net, longest paths.

Icarus replays 512 operations of a mode with the same delays; OpenSTA analyses every mode; and the
compact library is held against the full one that it was cut from.
"""

import numpy as np
import opensta
import pytest
from mac_stimulus import mac_inputs
from test_flows_library import full_library

from flows.activity import Simulator
from flows.benches import icarus
from flows.energy.measure_point import Bench, batch_energies, per_mac
from flows.library import Library
from flows.netlist import Netlist
from flows.power import PowerModel
from flows.stimulus import CYCLES, mac_words, rounds
from flows.synth import synthesize
from flows.timing import critical_path_ps
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write

pytestmark = pytest.mark.oracle
OPERATIONS = 512
SUBWORD = [(16, 16, False), (8, 8, True), (4, 4, False), (3, 3, True)]
MACS = {f"fixed_{k}": (MacSpec(w_width=k, a_width=k), [(k, k, k % 4 == 0)]) for k in range(1, 17)}
MACS |= {s: (MacSpec(scheme=s), SUBWORD) for s in ("dg", "dvafs", "dvafs_st")}
CASES = [(name, mode) for name, (_, modes) in MACS.items() for mode in modes]
CORNERS = ("compact", "typ", "slow", "fast")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """(spec, library, netlist, Verilog file) of a MAC in a library, synthesised once."""
    folder, done = tmp_path_factory.mktemp("macs"), {}

    def get(name, corner="compact"):
        if (name, corner) not in done:
            spec = MACS[name][0]
            library = Library.load() if corner == "compact" else full_library(corner)
            place = folder / corner
            synthesize([write(spec, folder)], spec.name, place, library)
            netlist = Netlist.load(place / f"{spec.name}.netlist.json", library)
            done[name, corner] = spec, library, netlist, place / f"{spec.name}.netlist.v"
        return done[name, corner]

    return get


def operands(spec, mode, netlist):
    """One stream of 64 cycles to begin with, then `OPERATIONS`."""
    rng = np.random.default_rng(2)
    parts = [
        mac_inputs(spec, mode, netlist, "uniform", rng, 1, 0)
        for _ in range(1 + OPERATIONS // CYCLES)
    ]
    return {net: np.concatenate([part[net] for part in parts]) for net in parts[0]}


@pytest.mark.skipif(icarus.IVERILOG is None, reason="Icarus (iverilog) is not installed")
@pytest.mark.parametrize("reject", [0.0, 1.0], ids=["transport", "inertial"])
@pytest.mark.parametrize(("name", "mode"), CASES, ids=str)
def test_every_net_toggles_as_often_as_in_icarus(mapped, name, mode, reject, tmp_path):
    spec, library, netlist, _ = mapped(name)
    inputs = operands(spec, spec.mode(*mode), netlist)
    simulator = Simulator(netlist, library, reject=reject)
    counted = simulator.run(inputs, CYCLES)
    assert counted.vectors.tolist() == [OPERATIONS]
    bits = {net: values[:, 0] for net, values in inputs.items()}
    expected = icarus.edges(simulator.circuit, simulator.delays, bits, CYCLES, tmp_path)
    assert counted.toggles.sum() > OPERATIONS
    assert counted.edges[0].tolist() == expected


@pytest.mark.parametrize("name", MACS)
def test_the_compact_library_gives_the_energy_of_the_full_one(mapped, name):
    """Mapped, timed and priced with either; the full one has cells that the compact one lacks."""
    modes = MACS[name][1]
    if modes is SUBWORD:
        modes = [*((k, k, False) for k in range(1, 17)), (4, 8, False), (16, 8, False)]
    compact, full = (energies_fj(*mapped(name, corner)[:3], modes) for corner in ("compact", "typ"))
    assert compact == pytest.approx(full, rel=0.03)


def energies_fj(spec, library, netlist, modes):
    """Per MAC at 1.0 V and 2000 ps, uniform codes."""
    bench = Bench(netlist, library, Simulator(netlist, library), PowerModel(netlist, library))
    return [energy_fj(bench, spec, spec.mode(*mode)) for mode in modes]


def energy_fj(bench, spec, mode):
    batches = bench.simulator.run_all(
        rounds(5120, seed=0),
        lambda rng, streams: mac_words(spec, mode, bench.netlist, "uniform", rng, streams, 8),
        8,
    )
    found = per_mac(batch_energies(bench, batches), bench.library, 2000.0, 1.0, mode.lanes)
    return found["energy_fj"]


def controls(spec, mode, netlist):
    """The mode's values, port bit by port bit."""
    return {
        f"{port}[{i}]" if len(netlist.inputs[port]) > 1 else port: value >> i & 1
        for port, value in spec.controls(mode).items()
        if port in netlist.inputs
        for i in range(len(netlist.inputs[port]))
    }


@pytest.mark.skipif(opensta.STA is None, reason="OpenSTA (sta) is not installed")
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", MACS)
def test_the_longest_path_of_every_mode_is_opensta_s(mapped, name, corner, tmp_path):
    spec, library, netlist, verilog = mapped(name, corner)
    held = [controls(spec, mode, netlist) for mode in spec.modes()]
    lines = []
    for values in held:
        pins = list(opensta.held_pins(netlist, library, values))
        lines += [f"set_case_analysis {value} {pin}" for value, pin in pins]
        lines.append(opensta.LONGEST)
        lines += [f"unset_case_analysis {pin}" for _, pin in pins]
    report = opensta.session(library, verilog, spec.name, tmp_path)(*lines)
    ours = [critical_path_ps(netlist, library, values) for values in held]
    assert ours == pytest.approx(opensta.longest_paths_ps(report), rel=0.02)

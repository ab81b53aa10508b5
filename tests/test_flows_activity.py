"""Activity of real netlists: what they compute, what zero delay counts, and the command."""

import json
import subprocess
import sys

import numpy as np
import pytest
from mac_stimulus import mac_inputs
from test_flows_library import full_library

from flows.activity import Simulator
from flows.benches import icarus
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator.functional import Functional
from flows.simulator.saif import read_saif
from flows.stimulus import CYCLES, rounds
from flows.synth import synthesize
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write

WARMUP = 4
SPECS = {
    "fixed_1": MacSpec(scheme="fixed", w_width=1, a_width=1),
    "fixed_5": MacSpec(scheme="fixed", w_width=5, a_width=5),
    "dg_8": MacSpec(scheme="dg", w_width=8, a_width=8),
    "dvafs_16": MacSpec(scheme="dvafs"),
    "dvafs_st_8": MacSpec(scheme="dvafs_st", w_width=8, a_width=8, min_lane=2),
}


@pytest.fixture(scope="module")
def library():
    return Library.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("netlists")


@pytest.fixture(scope="module", params=SPECS)
def mac(request, folder, library):
    """A MAC's spec and simulator, synthesised once."""
    spec = SPECS[request.param]
    synthesize([write(spec, folder)], spec.name, folder, library)
    netlist = Netlist.load(folder / f"{spec.name}.netlist.json", library)
    return spec, Simulator(netlist, library)


def settle(circuit, bits):
    """Values of all nets, straight from the gates' functions on arrays of 0 and 1."""
    shape = next(iter(bits.values())).shape
    values = {0: np.zeros(shape, np.uint8), 1: np.ones(shape, np.uint8), **bits}
    for gate in circuit.gates:
        pins = dict(zip(gate.function.inputs, (values[n] for n in gate.inputs), strict=True))
        values[gate.output] = gate.function.evaluate(pins)
    return values


def codes_of(words, spec, mode, which):
    """Codes, shape (cycles, streams, lanes), back from the packed operand words."""
    width = getattr(spec, f"{which}_width") // mode.lanes
    bits = getattr(mode, f"{which}_bits")
    signed = which == "w" or mode.a_signed
    lanes = words[..., None] >> np.arange(mode.lanes) * width & (1 << width) - 1
    if which == "a" and spec.scheme == "dvafs_st":
        lanes = lanes[..., ::-1]
    codes = lanes >> width - bits if bits > 1 or not signed else lanes >> width - 1
    if not signed:
        return codes
    return 1 - 2 * codes if bits == 1 else codes - (codes >> bits - 1 << bits)


def word(values, nets):
    return sum(values[net].astype(object) << i for i, net in enumerate(nets))


def test_netlists_compute_what_the_golden_model_does_in_every_mode(mac):
    spec, simulator = mac
    circuit, netlist = simulator.circuit, simulator.netlist
    for mode in spec.modes():
        rng = np.random.default_rng(mode.w_bits)
        inputs = mac_inputs(spec, mode, netlist, "uniform", rng, 3, WARMUP)
        trace = Functional(circuit).simulate(inputs)
        values = settle(circuit, {n: trace.bits[n] for n in circuit.sources})
        acc = word(values, netlist.outputs["acc"])
        operands = [word(inputs, netlist.inputs[p]).astype(np.int64) for p in ("w", "a")]
        w, a = (codes_of(o, spec, mode, p) for o, p in zip(operands, "wa", strict=True))
        clear = word(inputs, netlist.inputs["clear"])
        for stream in range(3):
            expected = spec.compute(w[:, stream], a[:, stream], mode, clear[:, stream])
            found = spec.unpack(acc[spec.latency :, stream], mode)
            assert np.array_equal(found, expected[: -spec.latency]), (spec.name, mode)


def test_settled_transitions_equal_a_direct_evaluation(mac):
    spec, simulator = mac
    mode = spec.modes()[-1]
    inputs = mac_inputs(
        spec, mode, simulator.netlist, "gaussian", np.random.default_rng(1), 4, WARMUP
    )
    counted = simulator.run(inputs, WARMUP, batches=2)
    circuit = simulator.circuit
    trace = Functional(circuit).simulate(inputs)
    values = settle(circuit, {n: trace.bits[n] for n in circuit.sources})
    for net, bits in values.items():
        window = bits[WARMUP - 1 :].astype(int)
        toggles = np.abs(np.diff(window, axis=0)).sum(0).reshape(2, 2).sum(1)
        assert counted.settled[:, net].tolist() == toggles.tolist()
        assert counted.ones[:, net].sum() == window[1:].sum()
    assert counted.vectors.tolist() == [2 * CYCLES, 2 * CYCLES]
    assert np.all(counted.toggles >= counted.settled)
    assert np.all((counted.toggles - counted.settled) % 2 == 0)


def test_zero_delays_have_no_glitches(mac):
    spec, simulator = mac
    mode = spec.modes()[0]
    zero = Simulator(simulator.netlist, simulator.library, delays="zero")
    inputs = mac_inputs(
        spec, mode, simulator.netlist, "uniform", np.random.default_rng(2), 2, WARMUP
    )
    timed, flat = simulator.run(inputs, WARMUP), zero.run(inputs, WARMUP)
    assert np.array_equal(flat.toggles, flat.settled)
    assert np.array_equal(timed.settled, flat.settled)


@pytest.mark.parametrize("delays", ["nldm", "zero"])
@pytest.mark.parametrize(("streams", "batches", "threads"), [(4, 2, 1), (210, 3, 2), (1100, 1, 2)])
@pytest.mark.parametrize("mac", ["fixed_5", "dvafs_st_8"], indirect=True)
def test_without_a_compiler_the_counts_are_the_same(
    mac, delays, streams, batches, threads, monkeypatch
):
    """Also where a word is not full, a row has words of no batch, and threads share the streams."""
    spec, simulator = mac
    mode = spec.modes()[0]
    rng = np.random.default_rng(6)
    inputs = mac_inputs(spec, mode, simulator.netlist, "uniform", rng, streams, WARMUP)

    def counted(threads=1):
        made = Simulator(simulator.netlist, simulator.library, delays=delays, threads=threads)
        return made.run(inputs, WARMUP, batches)

    compiled = counted(threads)
    monkeypatch.setattr("flows.simulator.kernel.available", lambda: False)
    plain = counted()
    for name in ("vectors", "toggles", "settled", "ones"):
        assert np.array_equal(getattr(plain, name), getattr(compiled, name))


@pytest.mark.parametrize("mac", ["dvafs_16"], indirect=True)
def test_clock_nets_toggle_twice_a_cycle_and_behind_a_gate_only_when_enabled(mac):
    spec, simulator = mac
    gated = [n for n, c in simulator.circuit.clocks.items() if c.enables]
    assert gated
    shares = {}
    for lanes in spec.lane_counts:
        bits = spec.w_width // lanes
        mode = spec.mode(bits, bits)
        rng = np.random.default_rng(3)
        counted = simulator.run(
            mac_inputs(spec, mode, simulator.netlist, "uniform", rng, 1, WARMUP), WARMUP
        )
        clock = simulator.netlist.inputs["clk"][0]
        assert counted.toggles[0, clock] == 2 * CYCLES
        assert set(counted.toggles[0, gated]) <= {0, 2 * CYCLES}
        shares[lanes] = counted.toggles[0, gated].sum()
    assert shares[1] < shares[2] < shares[4]


@pytest.mark.parametrize("mac", ["fixed_5"], indirect=True)
def test_the_seed_alone_decides_the_counts(mac):
    spec, simulator = mac
    mode = spec.modes()[0]

    def inputs(rng, streams):
        return mac_inputs(spec, mode, simulator.netlist, "uniform", rng, streams, WARMUP)

    whole = simulator.run_all(rounds(2 * 16 * CYCLES, 5), inputs, WARMUP)
    again = simulator.run_all(rounds(2 * 16 * CYCLES, 5), inputs, WARMUP)
    other = simulator.run_all(rounds(2 * 16 * CYCLES, 6), inputs, WARMUP)
    assert np.array_equal(whole.toggles, again.toggles)
    assert not np.array_equal(whole.toggles, other.toggles)


@pytest.mark.skipif(icarus.IVERILOG is None, reason="Icarus (iverilog) is not installed")
def test_toggles_of_a_clocked_netlist_equal_icarus_net_by_net(mac, tmp_path):
    """Registers, clock gates and all: nothing but the netlist, the delays and the port bits."""
    spec, simulator = mac
    mode = spec.modes()[len(spec.modes()) // 2]
    inputs = mac_inputs(
        spec, mode, simulator.netlist, "uniform", np.random.default_rng(4), 1, WARMUP
    )
    counted = simulator.run(inputs, WARMUP).edges[0]
    bits = {net: values[:, 0] for net, values in inputs.items()}
    expected = icarus.edges(simulator.circuit, simulator.delays, bits, WARMUP, tmp_path)
    assert counted.sum() > 1000
    assert counted.tolist() == expected


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "flows.activity", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def adder(folder, library):
    """A foreign netlist without a clock."""
    text = "module adder(input [7:0] x, input [7:0] y, output [8:0] s); assign s = x + y; endmodule"
    (folder / "adder.v").write_text(text)
    synthesize([folder / "adder.v"], "adder", folder, library)
    return folder / "adder.netlist.json"


def test_the_command_measures_a_foreign_combinational_netlist(adder, folder, library):
    saif, counts = folder / "adder.saif", folder / "adder.counts.json"
    options = ("--vectors", 2000, "--seed", 3, "--out", saif, "--counts", counts, "--json")
    done = command(adder, *options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    netlist = Netlist.load(adder, library)
    assert result["nets"] == len(netlist.nets)
    assert result["vectors"] >= 2000
    assert result["toggles_per_vector"] > result["settled_per_vector"] > 16 / 2
    activity = read_saif(saif, netlist).activity(netlist, 2000.0)
    assert activity.density.sum() == pytest.approx(result["toggles_per_vector"], rel=1e-6)
    told = json.loads(counts.read_text())
    rows = [told["nets"][name] for name in netlist.nets[2:]]
    edges = np.array([(row["rising"], row["falling"]) for row in rows])
    assert edges.sum(1) == pytest.approx(activity.density[2:] * told["vectors"])
    assert (
        np.ptp(edges, axis=1).max() <= told["vectors"] // 64 + 1
    )  # apart in a stream's ends alone
    assert np.all(edges.sum(1) >= [row["settled"] for row in rows])
    assert [row["ones"] / told["vectors"] for row in rows] == pytest.approx(activity.duty[2:])
    ports = [n for nets in netlist.inputs.values() for n in nets]
    assert activity.density[ports] == pytest.approx(0.5, abs=0.1)


def test_a_library_with_constant_cells_builds_its_kernel(folder):
    """LOGIC0 and LOGIC1 have functions without inputs, which no evaluator can be written for."""
    library = full_library()
    (folder / "full.v").write_text(
        "module full(input [3:0] x, output [4:0] s, output one);"
        " assign s = x + 4'd5; assign one = 1; endmodule"
    )
    synthesize([folder / "full.v"], "full", folder, library)
    out = folder / "full.saif"
    netlist = folder / "full.netlist.json"
    done = command(netlist, "--liberty", library.path, "--vectors", 64, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["toggles_per_vector"] > 2


def test_the_command_reads_stimulus_from_a_file(adder, folder):
    np.savez(folder / "still.npz", x=np.full(10, 3), y=np.full(10, 200))
    done = command(
        adder, "--stimulus", folder / "still.npz", "--out", folder / "still.saif", "--json"
    )
    assert json.loads(done.stdout)["toggles_per_vector"] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stimulus", "pink"), "stimulus 'pink' is not known; uniform, gaussian or FILE.npz"),
        (("--vectors", "0"), "number of vectors must be 1 or more"),
        (("--seed", "-1"), "seed must be 0 or more"),
        (("--threads", "0"), "number of threads must be 1 or more"),
        (("--step-ps", "0"), "time step must be more than 0"),
        (("--reject", "2"), "pulse rejection must lie between 0 and 1"),
        (("--hold", "z=1"), "--hold 'z=1' is not understood"),
        (("--hold", "x=256"), "holds the code 256"),
        (("--stimulus", "missing.npz"), "No such file"),
        (("--liberty", "missing.lib"), "No such file"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(adder, folder, arguments, sentence):
    out = folder / "bad.saif"
    done = command(adder, *arguments, "--out", out)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not out.exists()

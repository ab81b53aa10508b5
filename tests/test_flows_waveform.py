"""The timed engine against a naive event-driven simulator and, where installed, Icarus."""

import numpy as np
import pytest

from flows.benches import icarus
from flows.cells.boolean import Function
from flows.gates.circuit import Circuit
from flows.library import Cell, Library, Pin
from flows.netlist import Instance, Netlist
from flows.simulator import kernel
from flows.simulator.counting import Counter
from flows.simulator.delays import Delays, GateDelay
from flows.simulator.waveform import ONES, Plan, count, waves

FUNCTIONS = {
    "INV": "!A",
    "NAND2": "!(A & B)",
    "OR2": "A | B",
    "XOR2": "A ^ B",
    "AOI21": "!((A & B) | C)",
    "MUX2": "(A & !C) | (B & C)",
}


def library():
    cells = {}
    for name, text in FUNCTIONS.items():
        f = Function(text)
        pins = {p: Pin(p, "input") for p in f.inputs} | {"Y": Pin("Y", "output", function=f)}
        cells[name] = Cell(name, 1.0, "comb", pins)
    return Library("toy", "0" * 64, 1.0, 25.0, cells)


def random_netlist(rng, inputs=6, gates=40):
    cells = library().cells
    instances = []
    for i in range(gates):
        name = str(rng.choice(sorted(cells)))
        reach = 2 + inputs + i
        pins = {p: int(rng.integers(max(0, reach - 12), reach)) for p in cells[name].inputs}
        instances.append(Instance(f"g{i}", name, {**pins, "Y": 2 + inputs + i}))
    nets = ("0", "1", *(f"n{i}" for i in range(inputs + gates)))
    ports = {"x": tuple(range(2, 2 + inputs))}
    return Netlist("toy", nets, ports, {"y": (len(nets) - 1,)}, tuple(instances))


def random_delays(rng, circuit, reject):
    gates = []
    for gate in circuit.gates:
        edges = rng.integers(0, 6, (2, len(gate.inputs)))
        gates.append(GateDelay.of(tuple(map(int, edges[0])), tuple(map(int, edges[1])), reject))
    sources = {n: tuple(map(int, rng.integers(0, 4, 2))) for n in circuit.sources}
    return Delays(1.0, tuple(gates), sources)


def case(seed, reject, words=1):
    rng = np.random.default_rng(seed)
    circuit = Circuit.of(random_netlist(rng), library())
    delays = random_delays(rng, circuit, reject)
    initial, final = (
        {n: rng.integers(0, 2**64, words, np.uint64) for n in circuit.sources} for _ in range(2)
    )
    return circuit, delays, initial, final


def naive(circuit, delays, initial, final, horizon=400):
    """One vector, step by step, straight from the words of `simulator.delays`; values by net."""
    value = {0: [0] * horizon, 1: [1] * horizon}
    for net in circuit.sources:
        rise, fall = delays.sources[net]
        switch = rise if final[net] else fall
        value[net] = [final[net] if t >= switch else initial[net] for t in range(horizon)]
    for gate, delay in zip(circuit.gates, delays.gates, strict=True):
        # Before step 0 everything is settled, so that z(t) = z(0-) for t < 0.
        def at(net, t):
            return initial.get(net, value[net][0]) if t < 0 else value[net][t]

        def z(t, gate=gate, delay=delay):
            pairs = zip(gate.function.inputs, gate.inputs, delay.inputs, strict=True)
            return gate.function.evaluate({p: at(n, t - d) for p, n, d in pairs})

        initial[gate.output] = now = z(-1000)
        out = []
        for t in range(horizon):
            if not now and all(z(t - k) for k in _span(delay.rise)):
                now = 1
            elif now and not any(z(t - k) for k in _span(delay.fall)):
                now = 0
            if now and not delay.fall:
                now = z(t)
            if not now and not delay.rise:
                now = z(t)
            out.append(now)
        value[gate.output] = out
    return value


def _span(steps):
    return range(1, steps + 1) if steps else (0,)


@pytest.mark.parametrize("reject", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_waveforms_equal_a_naive_simulation_step_by_step(seed, reject):
    circuit, delays, initial, final = case(seed, reject)
    plan = Plan.of(circuit, delays, {})
    found = waves(plan, initial, final)
    for bit in range(0, 64, 9):
        start = {n: int(w[0] >> np.uint64(bit)) & 1 for n, w in initial.items()}
        end = {n: int(w[0] >> np.uint64(bit)) & 1 for n, w in final.items()}
        expected = naive(circuit, delays, dict(start), end)
        for net, wave in found.items():
            window = plan.windows[net]
            rows = (wave[:, 0] >> np.uint64(bit)).astype(int) & 1
            steps = np.clip(np.arange(400) - window.first + 1, 0, len(rows) - 1)
            assert rows[steps].tolist() == expected[net], circuit.netlist.nets[net]


@pytest.mark.skipif(not kernel.available(), reason="no C compiler is installed")
@pytest.mark.parametrize("reject", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("words", "batches"), [(1, 1), (16, 4), (37, 1)])
def test_kernel_counts_what_numpy_counts(words, batches, reject):
    circuit, delays, initial, final = case(words, reject, words)
    plan = Plan.of(circuit, delays, {})
    found = Counter(plan).count(initial, final, batches)
    assert np.array_equal(found, count(plan, initial, final, batches))


def test_static_sources_leave_nothing_out():
    circuit, delays, initial, final = case(7, 1.0, 4)
    still = circuit.sources[:3]
    for i, net in enumerate(still):
        initial[net][:] = final[net][:] = ONES if i == 1 else 0
    whole = count(Plan.of(circuit, delays, {}), initial, final)
    plan = Plan.of(circuit, delays, {net: int(i == 1) for i, net in enumerate(still)})
    rest = count(plan, initial, final)
    assert len(plan.windows) < len(circuit.netlist.nets) - 2 - len(still)
    assert np.array_equal(whole[..., :2], rest[..., :2])


@pytest.mark.skipif(icarus.IVERILOG is None, reason="Icarus (iverilog) is not installed")
@pytest.mark.parametrize("reject", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_toggles_equal_icarus_net_by_net(seed, reject, tmp_path):
    circuit, delays, _, final = case(seed, reject)
    bits = {n: np.unpackbits(w.view(np.uint8), bitorder="little") for n, w in final.items()}
    initial = {n: w << np.uint64(1) | w & np.uint64(1) for n, w in final.items()}
    expected = [sum(both) for both in icarus.edges(circuit, delays, bits, 1, tmp_path)]
    toggles = count(Plan.of(circuit, delays, {}), initial, final)[0, :, 0].tolist()
    assert sum(toggles) > 1000
    assert toggles == expected

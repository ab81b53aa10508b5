"""The timed engine against a naive event-driven simulator and, where installed, Icarus."""

import shutil
import subprocess

import numpy as np
import pytest

from flows import kernel
from flows.boolean import Function
from flows.circuit import Circuit
from flows.delays import Delays, GateDelay
from flows.library import Cell, Library, Pin
from flows.netlist import Instance, Netlist
from flows.waveform import ONES, Plan, count, waves

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
    """One vector, step by step, straight from the words of `flows.delays`; values by net."""
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
    found = kernel.Kernel(plan).count(initial, final, batches)
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


IVERILOG = shutil.which("iverilog")


def verilog(circuit, delays):
    """The delays' definition in Verilog, in half steps so that no two events race.

    Within one instant Icarus takes events one by one; a first inertial half step lets no pulse of
    no width through.
    """
    lines = []
    for i, (gate, delay) in enumerate(zip(circuit.gates, delays.gates, strict=True)):
        both = bool(delay.rise and delay.fall)
        names = {}
        for pin, net, d in zip(gate.function.inputs, gate.inputs, delay.inputs, strict=True):
            names[pin] = name = f"g{i}_{pin}"
            lines.append(f"reg {name}; initial {name} = 0;")
            lines.append(f"always @(n[{net}]) {name} <= #{2 * d - (not both)} n[{net}];")
        expression = gate.function.expression(names)
        if both:
            first, then = f"#({2 * delay.rise - 1},{2 * delay.fall - 1})", "#(1,1)"
        else:
            first, then = "#(1,1)", f"#({2 * delay.rise},{2 * delay.fall})"
        lines.append(f"wire g{i}_z; assign {first} g{i}_z = {expression};")
        lines.append(f"assign {then} n[{gate.output}] = g{i}_z;")
    return lines


def icarus_toggles(circuit, delays, initial, final, folder, vectors=64, settle=1000):
    """Transitions of every net over all vectors, counted by Icarus from settled starts."""
    size = len(circuit.netlist.nets)
    lines = ["`timescale 1ps/1ps", "module top;", f"wire [{size - 1}:0] n;"]
    lines += ["assign n[0] = 1'b0; assign n[1] = 1'b1; reg counting; initial counting = 0;"]
    stimulus = []
    for net in circuit.sources:
        lines.append(f"reg s{net}; assign n[{net}] = s{net};")
    lines += verilog(circuit, delays)
    for v in range(vectors):
        for counting, values in ((0, initial), (1, final)):
            stimulus.append(f"counting = {counting}; #1;")
            for net, word in values.items():
                bit = int(word[0] >> np.uint64(v)) & 1
                when = 0 if not counting else 2 * delays.sources[net][0 if bit else 1]
                stimulus.append(f"s{net} <= #{when} {bit};")
            stimulus.append(f"#{settle};")
    lines.append(f'initial begin $dumpfile("{folder}/t.vcd"); $dumpvars(1, n, counting);')
    lines += [*stimulus, "$finish; end", "endmodule"]
    source = folder / "t.v"
    source.write_text("\n".join(lines))
    subprocess.run([IVERILOG, "-g2005", "-o", folder / "t.vvp", source], check=True)
    subprocess.run(["vvp", "-n", folder / "t.vvp"], check=True, capture_output=True)
    return vcd_toggles(folder / "t.vcd", size)


def vcd_toggles(path, size):
    # VCD shows a net once an instant, so that pulses of no width are not counted.
    toggles, counting, old, names = [0] * size, False, None, {}
    for line in path.read_text().splitlines():
        if line.startswith("$var"):
            names[line.split()[3]] = line.split()[4]
        elif line[:1] == "b":
            bits, code = line[1:].split()
            if names[code] == "n":
                bits = bits.rjust(size, bits[0] if bits[0] in "xz" else "0")[::-1]
                if old and counting:
                    for i, (a, b) in enumerate(zip(old, bits, strict=True)):
                        toggles[i] += a != b
                old = bits
        elif line[:1] in "01" and names.get(line[1:]) == "counting":
            counting = line[0] == "1"
    return toggles


@pytest.mark.skipif(IVERILOG is None, reason="Icarus (iverilog) is not installed")
@pytest.mark.parametrize("reject", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_toggles_equal_icarus_net_by_net(seed, reject, tmp_path):
    circuit, delays, initial, final = case(seed, reject)
    expected = icarus_toggles(circuit, delays, initial, final, tmp_path)
    toggles = count(Plan.of(circuit, delays, {}), initial, final)[0, :, 0].tolist()
    assert sum(toggles) > 1000
    assert toggles == expected

"""Cost by size: square grids of one mapped MAC, rows sharing activations and columns weights.

The grid is made by copying the netlist, so that the largest is there without hours of synthesis;
its registers and accumulators run as in an array, its nets carry no array's wiring.
"""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from flows.activity import Simulator
from flows.benches.bench_rivals import rates
from flows.gates.circuit import Circuit
from flows.netlist import CONSTANTS, Instance, Netlist
from flows.simulator.code_files import Codes
from flows.simulator.delays import Delays
from flows.simulator.engine import Engine
from flows.simulator.waveform import Plan
from flows.stimulus import CYCLES, mac_words
from hw.rtl.spec import MacSpec

STREAMS = 512
REPEATS = 3
WARMUP = 8
CELLS = 500_000
CELL_S = 2e-4  # of copying, laying out and simulating a grid, for each of its cells
SIDES = (1, 2, 4, 8, 16, 20)  # the last beyond 500,000 cells


@dataclass(frozen=True)
class Size:
    """What one grid took: seconds of the processor, MiB that the process has had at most."""

    side: int
    cells: int
    vectors: int
    seconds: float
    peak_mib: float

    @property
    def ns_per_cell(self) -> float:
        """For one cell and one vector."""
        return self.seconds * 1e9 / (self.cells * self.vectors)


def tiled(netlist: Netlist, side: int) -> Netlist:
    """side x side copies; port w of column j is w_j, port a of row i is a_i, others are shared."""
    nets = list(CONSTANTS)

    def ports(kind: dict[str, tuple[int, ...]], form: dict[str, int]) -> dict[str, tuple[int, ...]]:
        made = {}
        for port, bits in kind.items():
            for k in range(form.get(port, 1)):
                name = f"{port}_{k}" if port in form else port
                made[name] = tuple(range(len(nets), len(nets) + len(bits)))
                nets.extend(f"{name}[{b}]" for b in range(len(bits)))
        return made

    inputs = ports(netlist.inputs, {"w": side, "a": side})
    outputs, instances = {}, []
    for i in range(side):
        for j in range(side):
            place = {0: 0, 1: 1}
            for port, bits in netlist.inputs.items():
                name = {"w": f"w_{j}", "a": f"a_{i}"}.get(port, port)
                place |= dict(zip(bits, inputs[name], strict=True))
            for net, name in enumerate(netlist.nets):
                if net not in place:
                    place[net] = len(nets)
                    nets.append(f"m{i}_{j}.{name}")
            instances += [
                Instance(f"m{i}_{j}.{x.name}", x.cell, {p: place[n] for p, n in x.pins.items()})
                for x in netlist.instances
            ]
            for port, bits in netlist.outputs.items():
                outputs[f"{port}_{i}_{j}"] = tuple(place[n] for n in bits)
    return Netlist(f"{netlist.top}_{side}x{side}", tuple(nets), inputs, outputs, tuple(instances))


def copied(delays: Delays, circuit: Circuit, grid: Circuit) -> Delays:
    """The MAC's delays for every copy of its cells."""
    names = circuit.netlist.instances
    by_pin = {
        (names[g.instance].name, g.pin): d for g, d in zip(circuit.gates, delays.gates, strict=True)
    }
    registers = {names[f.instance].name: delays.sources[f.outputs[0][0]] for f in circuit.flipflops}
    own = [x.name.partition(".")[2] for x in grid.netlist.instances]
    gates = tuple(by_pin[own[g.instance], g.pin] for g in grid.gates)
    sources = dict.fromkeys(grid.data_inputs, (0, 0))
    for f in grid.flipflops:
        sources |= {net: registers[own[f.instance]] for net, _, _ in f.outputs}
    return Delays(delays.step_ps, gates, sources)


def words(spec: MacSpec, netlist: Netlist, mac: Netlist, seed: int) -> dict[str, Codes]:
    """Uniform operands, for every row and column its own."""
    rng = np.random.default_rng(seed)
    mode = spec.mode(spec.w_width, spec.a_width)
    made: dict[str, Codes] = {}
    for port in netlist.inputs:
        drawn = mac_words(spec, mode, mac, "uniform", rng, STREAMS, WARMUP)
        kind = port.partition("_")[0] if port not in drawn else port
        if kind in drawn:
            made[port] = drawn[kind]
    return made


def measure(simulator: Simulator, spec: MacSpec, side: int, seed: int) -> Size:
    """A grid simulated with delays; from words in memory to counts."""
    netlist = tiled(simulator.netlist, side)
    circuit = Circuit.of(netlist, simulator.library)
    delays = copied(simulator.delays, simulator.circuit, circuit)
    engine = Engine(circuit, partial(Plan.of, circuit, delays))
    made = words(spec, netlist, simulator.netlist, seed)
    ports = [(netlist.inputs[port], values) for port, values in made.items()]
    work = partial(engine.run, ports, (), WARMUP, 1)
    work()  # lays out
    vectors = STREAMS * CYCLES
    found = statistics.median(rates(work, vectors, time.process_time, REPEATS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Size(side, len(netlist.instances), vectors, vectors / found, peak)

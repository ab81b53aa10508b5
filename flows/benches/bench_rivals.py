"""Other simulators on the conventional 16-bit MAC: Icarus, Verilator, kyupy's WaveSim.

Every one gets the netlist's gates and uniform operands, as little work as its inputs allow, and is
left out where it is not installed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flows.activity import Simulator
from flows.benches import icarus, verilator
from flows.gates.netlist_write import to_verilog
from flows.simulator.functional import Bits, Functional
from flows.stimulus import CYCLES

REPEATS = 5
LEAST_S = 0.2  # of a repetition
ICARUS, VERILATE, WAVES = 512, 16_384, 1024  # operations of a repetition
PLAIN, LETTER = "Icarus, plain gates", "Icarus, our delays to the letter"
VERILATOR, WAVESIM = "Verilator, SAIF of all nets", "kyupy WaveSim"
ICARUS_S = {PLAIN: 2400, LETTER: 270}  # operations per second (docs/benchmarks.md)
VERILATOR_S, WAVESIM_S = 99_000, 7400
VERILATOR_BUILD_S, WAVESIM_COMPILE_S = 20.0, 7.0  # before the first
Draw = Callable[[int, int], Mapping[int, Bits]]  # streams, cycles before 64: bits (cycles, streams)
Ready = Callable[[str], Simulator]  # by delays
Rates = tuple[float, ...]  # operations per second, by repetition


@dataclass(frozen=True)
class Row:
    """Operations per second: the median, the least and the most of some repetitions."""

    engine: str
    delays: str
    rates: Rates

    @property
    def median(self) -> float:
        """The figure that ratios are taken of."""
        return statistics.median(self.rates)


@dataclass(frozen=True)
class Race:
    """An engine that is at hand, how it is timed, and about how many seconds that takes."""

    engine: str
    delays: str
    seconds: float
    work: Callable[[], Rates]

    def row(self) -> Row:
        """Time it."""
        return Row(self.engine, self.delays, self.work())


def race_seconds(operations: int, rate: float) -> float:
    """Of all repetitions, by operations in each and a known rate."""
    return REPEATS * max(LEAST_S, operations / rate)


def rates(
    work: Callable[[], object],
    operations: int,
    clock: Callable[[], float] | None = None,
    repeats: int = REPEATS,
) -> Rates:
    """Operations per second of every repetition, by `clock` (default: processor time, of commands
    too). A repetition does its work again until it has taken long enough to be told apart."""
    now, found = clock or _processor_s, []
    for _ in range(repeats):
        started, times = now(), 0
        while not times or now() - started < LEAST_S:
            work()
            times += 1
        found.append(times * operations / (now() - started))
    return tuple(found)


def _processor_s() -> float:
    """Of this process and those that it has waited for."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def of_icarus(simulator: Ready, delays: str, draw: Draw) -> list[Race]:
    """Writing the VCD of all nets; with delays twice, see `flows.benches.icarus.build`."""
    if icarus.IVERILOG is None:
        return []

    def work(plain: bool) -> Rates:
        ours = simulator(delays)
        with tempfile.TemporaryDirectory() as name:
            bits = _one_stream(draw, ICARUS)
            icarus.build(ours.circuit, ours.delays, bits, Path(name), plain=plain)
            return rates(partial(icarus.run, Path(name)), ICARUS)

    kinds = ((PLAIN, True), (LETTER, False)) if delays == "nldm" else ((PLAIN, True),)
    return [
        Race(name, delays, race_seconds(ICARUS, ICARUS_S[name]), partial(work, plain))
        for name, plain in kinds
    ]


def of_verilator(simulator: Ready, draw: Draw) -> list[Race]:
    """Without delays, writing the SAIF of all nets."""
    if verilator.command() is None:
        return []

    def work() -> Rates:
        with tempfile.TemporaryDirectory() as name:
            verilator.build(simulator("zero").circuit, _one_stream(draw, VERILATE), Path(name))
            return rates(partial(verilator.run, Path(name)), VERILATE)

    return [Race(VERILATOR, "zero", VERILATOR_BUILD_S + race_seconds(VERILATE, VERILATOR_S), work)]


def _one_stream(draw: Draw, operations: int) -> dict[int, Bits]:
    """Bits of shape (operations,): streams of 64 cycles one after the other."""
    parts = draw(operations // CYCLES, 0)
    return {net: bits.T.reshape(-1) for net, bits in parts.items()}


def of_kyupy(simulator: Ready, draw: Draw) -> list[Race]:
    """Propagation alone: mean rise and fall of each gate at its input lines, and the values that
    our own registers have; kyupy counts nothing here."""
    if not (importlib.util.find_spec("kyupy") and importlib.util.find_spec("numba")):
        return []

    def work() -> Rates:
        with contextlib.redirect_stdout(sys.stderr):  # its log
            engine = _wave_sim(simulator("nldm"), draw)

        def once() -> None:
            engine.s_to_c()
            engine.c_prop(seed=0)

        once()  # compiles
        return rates(once, WAVES)

    return [Race(WAVESIM, "nldm", WAVESIM_COMPILE_S + race_seconds(WAVES, WAVESIM_S), work)]


def _wave_sim(simulator: Simulator, draw: Draw) -> Any:
    """kyupy's engine with the netlist, its delays and its inputs."""
    techlib, verilog, wave_sim = map(
        importlib.import_module, ("kyupy.techlib", "kyupy.verilog", "kyupy.wave_sim")
    )
    netlist = simulator.netlist
    circuit = verilog.parse(to_verilog(netlist), tlib=techlib.NANGATE45)
    circuit.resolve_tlib_cells(techlib.NANGATE45)
    gates = zip(simulator.circuit.gates, simulator.delays.gates, strict=True)
    edges = {
        netlist.instances[g.instance].name: [np.mean(d.inputs) + d.rise, np.mean(d.inputs) + d.fall]
        for g, d in gates
    }
    delays = np.zeros((1, len(circuit.lines), 2, 2), np.float32)
    for line in circuit.lines:
        delays[0, line.index, :] = edges.get(line.reader.name, (0, 0))
    engine = wave_sim.WaveSim(circuit, delays, WAVES, 32, strip_forks=True, c_reuse=True)
    engine.simctl_int[1] = 0
    _load(engine, circuit, simulator, draw)
    return engine


def _load(engine: Any, circuit: Any, simulator: Simulator, draw: Draw) -> None:
    netlist = simulator.netlist
    trace = Functional(simulator.circuit).simulate(draw(WAVES, 8))
    nets = {
        (f"{port}[{i}]" if len(bus) > 1 else port): net
        for port, bus in netlist.inputs.items()
        for i, net in enumerate(bus)
    }
    for ff in simulator.circuit.flipflops:
        nets[netlist.instances[ff.instance].name] = ff.outputs[0][0]
    for i, node in enumerate(circuit.s_nodes):
        net = nets.get(node.name)
        if net in trace.bits:
            engine.s[0, i], engine.s[2, i] = trace.bits[net][-2:]

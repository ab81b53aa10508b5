"""Speed of the activity engine beside other simulators, in one run on one core.

`python -m flows.bench NETLIST.json [--out docs/benchmarks.md] [--vectors N]`. All take uniform
operands of the conventional 16-bit MAC. Ours is timed end to end (stimulus, registers, gates,
counts); the others without their set-up and without counting what they wrote. Icarus is given the
same delays twice: with our definition to the letter, which counts the same, and as plain gates with
one inertial delay each, the least work for it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flows import console, icarus
from flows.activity import Batches, Simulator
from flows.console import FlowError
from flows.functional import Bits, Functional
from flows.library import Library
from flows.netlist import Netlist
from flows.netlist_write import to_verilog
from flows.stimulus import CYCLES, Codes, mac_words, rounds, spread
from hw.rtl.spec import MacSpec

WARMUP = 8
REPEATS = 5
OPERATIONS = 512  # that Icarus replays


@dataclass(frozen=True)
class Row:
    """Operations per second: the median, the least and the most of some repetitions."""

    engine: str
    delays: str
    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure that ratios are taken of."""
        return statistics.median(self.rates)


def _rates(work: Callable[[], object], operations: int) -> tuple[float, ...]:
    rates = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        rates.append(operations / (time.perf_counter() - started))
    return tuple(rates)


class Bench:
    """One MAC netlist and what is measured on it."""

    def __init__(self, path: Path, vectors: int, seed: int) -> None:
        self.library = Library.load()
        self.netlist = Netlist.load(path, self.library)
        self.vectors, self.seed = vectors, seed
        self.simulators = {
            d: Simulator(self.netlist, self.library, delays=d) for d in ("nldm", "zero")
        }

    def words(
        self, rng: np.random.Generator, streams: int, warmup: int = WARMUP
    ) -> dict[str, Codes]:
        """Uniform operands, every port driven."""
        spec = MacSpec()
        mode = spec.mode(16, 16)
        return mac_words(spec, mode, self.netlist, "uniform", rng, streams, warmup)

    def inputs(
        self, rng: np.random.Generator, streams: int, warmup: int = WARMUP
    ) -> dict[int, Bits]:
        """The same as bits of every data input."""
        words = self.words(rng, streams, warmup)
        parts = (spread(self.netlist, port, values) for port, values in words.items())
        return {net: bits for part in parts for net, bits in part.items()}

    def ours(self, delays: str, vectors: int) -> Batches:
        """The whole of `flows.activity` but loading and writing files."""
        simulator = self.simulators[delays]
        return simulator.run_all(rounds(vectors, self.seed), self.words, WARMUP)

    def rows(self) -> Iterator[Row]:
        """Every engine that is at hand, ours first."""
        for delays in ("nldm", "zero"):
            self.ours(delays, 64)  # builds the kernel
            real = sum(r.vectors for r in rounds(self.vectors, self.seed))
            yield Row("quanos", delays, _rates(partial(self.ours, delays, self.vectors), real))
            if icarus.IVERILOG is not None:
                yield from self._icarus(delays)
        if importlib.util.find_spec("kyupy") and importlib.util.find_spec("numba"):
            yield Row("kyupy WaveSim", "nldm", self._kyupy(1024))

    def _icarus(self, delays: str) -> Iterator[Row]:
        rng = np.random.default_rng(self.seed)
        parts = [self.inputs(rng, 1, 0) for _ in range(OPERATIONS // CYCLES)]
        bits = {net: np.concatenate([p[net][:, 0] for p in parts]) for net in parts[0]}
        simulator = self.simulators[delays]
        for plain in (True, False) if delays == "nldm" else (True,):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                icarus.build(simulator.circuit, simulator.delays, bits, folder, plain=plain)
                label = "Icarus, plain gates" if plain else "Icarus, our delays to the letter"
                yield Row(label, delays, _rates(partial(icarus.run, folder), OPERATIONS))

    def _kyupy(self, sims: int) -> tuple[float, ...]:
        """Mean rise and fall of each gate at its input lines, values of our own registers."""
        techlib, verilog, wave_sim = map(
            importlib.import_module, ("kyupy.techlib", "kyupy.verilog", "kyupy.wave_sim")
        )
        circuit = verilog.parse(to_verilog(self.netlist), tlib=techlib.NANGATE45)
        circuit.resolve_tlib_cells(techlib.NANGATE45)
        simulator = self.simulators["nldm"]
        gates = zip(simulator.circuit.gates, simulator.delays.gates, strict=True)
        edges = {
            self.netlist.instances[g.instance].name: (
                np.mean(d.inputs) + d.rise,
                np.mean(d.inputs) + d.fall,
            )
            for g, d in gates
        }
        delays = np.zeros((1, len(circuit.lines), 2, 2), np.float32)
        for line in circuit.lines:
            delays[0, line.index, :] = edges.get(line.reader.name, (0, 0))
        engine = wave_sim.WaveSim(circuit, delays, sims, 32, strip_forks=True, c_reuse=True)
        engine.simctl_int[1] = 0
        self._load(engine, circuit, sims)

        def work() -> None:
            engine.s_to_c()
            engine.c_prop(seed=0)

        work()  # compiles
        return _rates(work, sims)

    def _load(self, engine: Any, circuit: Any, sims: int) -> None:
        simulator = self.simulators["nldm"]
        trace = Functional(simulator.circuit).simulate(
            self.inputs(np.random.default_rng(self.seed), sims)
        )
        nets = {
            (f"{port}[{i}]" if len(bus) > 1 else port): net
            for port, bus in self.netlist.inputs.items()
            for i, net in enumerate(bus)
        }
        for ff in simulator.circuit.flipflops:
            nets[self.netlist.instances[ff.instance].name] = ff.outputs[0][0]
        for i, node in enumerate(circuit.s_nodes):
            net = nets.get(node.name)
            if net in trace.bits:
                engine.s[0, i], engine.s[2, i] = trace.bits[net][-2:]

    def peak_mib(self, vectors: int) -> float:
        """Memory that a run takes at most, arrays included."""
        tracemalloc.start()
        self.ours("nldm", vectors)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 2**20


PAGE = """# Speed of the activity engine

Conventional 16-bit MAC ({cells} cells, compact 45 nm library, 5 ps steps), uniform operands, seed
{seed}, one core; operations per second, medians of {repeats} repetitions in one run. Ours is timed
end to end with the C kernel ({vectors} operations; stimulus, registers, gates, counts); the others
without compilation and counting, Icarus with the start of its run ({operations} operations).
"nldm" are delays by slew and load; "zero" none. Figures differ from machine to machine, the
ratios less.

    nox -s synth
    python -m flows.bench build/synth/mac_fixed_w16a16.netlist.json --out docs/benchmarks.md

| engine | delays | operations/s (least to most) | ours is faster by |
|---|---|---|---|
{rows}

- "Icarus, our delays to the letter" holds an input delay per pin and a filter per gate, and counts
  the same transitions net by net (`nox -s oracle`). "Plain gates" have one inertial delay each:
  fewer events, other counts. Both write the VCD of all signals.
- kyupy's WaveSim has one rise and one fall delay per gate here and counts nothing; it is measured
  where kyupy and numba are installed.

## Memory
{memory}

## Asked for and not reached, or not measured
{missing}
"""


def page(bench: Bench, rows: list[Row]) -> str:
    """The Markdown page of a run."""
    ours = {row.delays: row.median for row in rows if row.engine == "quanos"}
    lines = [
        f"| {r.engine} | {r.delays} | {r.median:,.0f} ({min(r.rates):,.0f} to {max(r.rates):,.0f}) "
        f"| {'' if r.engine == 'quanos' else f'{ours[r.delays] / r.median:,.0f}'} |"
        for r in rows
    ]
    sizes = (16_384, 65_536)  # one round and four
    peaks = [f"{bench.peak_mib(n):.1f} MiB for {n:,} operations" for n in sizes]
    return PAGE.format(
        cells=len(bench.netlist.instances),
        seed=bench.seed,
        repeats=REPEATS,
        vectors=f"{bench.vectors:,}",
        operations=OPERATIONS,
        rows="\n".join(lines),
        memory=f"Largest allocation of a run: {', '.join(peaks)}.",
        missing="\n".join(f"- {text}" for text in _missing(rows, ours)),
    )


GOALS = (
    ("Icarus, plain gates", "nldm", 500),
    ("kyupy WaveSim", "nldm", 15),
    ("Icarus, plain gates", "zero", 20_000),
)


def _missing(rows: list[Row], ours: dict[str, float]) -> Iterator[str]:
    found = {(row.engine, row.delays): row.median for row in rows}
    for engine, delays, goal in GOALS:
        if (engine, delays) not in found:
            yield f"{goal:,} times {engine} ({delays}): not measured, it is not installed."
        elif (ratio := ours[delays] / found[engine, delays]) < goal:
            yield f"{goal:,} times {engine} ({delays}): {ratio:,.0f} times."
    yield "200 times Verilator writing SAIF: not measured."
    yield "Linear cost up to a 16x16 array, and a CUDA device: not measured."


def main() -> int:
    arguments = _arguments()
    if arguments.vectors < 1024:
        raise FlowError(f"{arguments.vectors} vectors are too few to time; take 1024 or more.")
    bench = Bench(arguments.netlist, arguments.vectors, arguments.seed)
    rows = list(console.track(bench.rows(), "bench", label=lambda r: f"{r.engine} {r.delays}"))
    text = page(bench, rows)
    if arguments.out is None:
        print(text, end="")
    else:
        console.write_text(arguments.out, text)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.bench", description=__doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json", help="the conventional 16-bit MAC")
    add("--out", type=Path, metavar="FILE.md", help="default: standard output")
    add("--vectors", type=int, default=65_536, metavar="N")
    add("--seed", type=int, default=0, metavar="S")
    return parser.parse_args()


if __name__ == "__main__":
    console.run(main)

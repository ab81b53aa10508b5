"""Speed of the activity engine beside other simulators, in one run.

`python -m flows.bench NETLIST.json [--scale NETLIST.json] [--out docs/benchmarks.md]`. All take
uniform operands of the conventional 16-bit MAC on one core and are charged for processor time, so
that other work on the machine counts little. Their operands are ready, and none is charged for
compilation; ours counts transitions, the others are not charged for counting what they wrote.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np

from flows import console
from flows.activity import Simulator
from flows.benches import bench_rivals, bench_scale
from flows.benches.bench_rivals import LETTER, PLAIN, REPEATS, VERILATOR, WAVESIM, Row, rates
from flows.benches.bench_scale import Size
from flows.console import FlowError
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator.batches import Batches
from flows.simulator.functional import Bits
from flows.simulator.waveform import Plan
from flows.stimulus import BATCHES, Codes, mac_words, rounds, spread
from hw.command import Parser
from hw.rtl.spec import MacSpec

WARMUP = 8
OURS = "quanos"
OPERATIONS = (65_536, 262_144, 1_048_576)  # one round to sixteen
LENGTH_REPEATS = 3
CELLS = 500_000
SIDES = (1, 2, 4, 8, 16, 20)  # the last beyond 500,000 cells


class Bench:
    """One MAC netlist and what is measured on it."""

    def __init__(self, path: Path, vectors: int, seed: int) -> None:
        self.library = Library.load()
        self.netlist = Netlist.load(path, self.library)
        self.vectors, self.seed = vectors, seed
        self.cores = len(os.sched_getaffinity(0))
        self.simulators = {d: self._simulator(d) for d in ("nldm", "zero")}

    def _simulator(self, delays: str, threads: int = 1) -> Simulator:
        return Simulator(self.netlist, self.library, delays=delays, threads=threads)

    def words(
        self, rng: np.random.Generator, streams: int, warmup: int = WARMUP
    ) -> dict[str, Codes]:
        """Uniform operands, every port driven."""
        spec = MacSpec()
        mode = spec.mode(16, 16)
        return mac_words(spec, mode, self.netlist, "uniform", rng, streams, warmup)

    def draw(self, streams: int, warmup: int) -> dict[int, Bits]:
        """The same as bits of every data input."""
        words = self.words(np.random.default_rng(self.seed), streams, warmup)
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
            yield from self._ours(delays)
            yield from bench_rivals.of_icarus(self.simulators[delays], delays, self.draw)
        yield from bench_rivals.of_verilator(self.simulators["zero"], self.draw)
        yield from bench_rivals.of_kyupy(self.simulators["nldm"], self.draw)

    def _ours(self, delays: str) -> Iterator[Row]:
        rng, whole = np.random.default_rng(self.seed), rounds(self.vectors, self.seed)
        sizes = [part.streams * part.batches for part in whole]
        made = [self.words(rng, streams) for streams in sizes]
        operations = sum(part.vectors for part in whole)

        def work(simulator: Simulator) -> None:
            for words in made:
                simulator.run(words, WARMUP, BATCHES)

        yield Row(OURS, delays, rates(partial(work, self.simulators[delays]), operations))
        drawn = partial(self.ours, delays, self.vectors)
        yield Row(f"{OURS}, drawing operands too", delays, rates(drawn, operations))
        threaded = self._simulator(delays, self.cores)
        work(threaded)
        found = rates(partial(work, threaded), operations, time.perf_counter)
        yield Row(f"{OURS}, {self.cores} threads, by the clock on the wall", delays, found)

    @cached_property
    def _plan(self) -> Plan:
        simulator = self.simulators["nldm"]
        return Plan.of(simulator.circuit, simulator.delays, {})

    @property
    def steps(self) -> int:
        """Steps in which nets can change, of all nets together."""
        return sum(window.rows for window in self._plan.windows.values())

    @property
    def once_bytes(self) -> float:
        """Bytes a vector, were every net written once and read once by every gate that reads it."""
        read = sum(window.rows for task in self._plan.tasks for window in task.inputs)
        return (self.steps + read) / 8

    @cache  # noqa: B019 - one bench lives as long as the command
    def ns_per_vector(self, vectors: int) -> float:
        """Processor time of a timed run for each of so many operations, drawing them included."""
        found = rates(partial(self.ours, "nldm", vectors), vectors, repeats=LENGTH_REPEATS)
        return 1e9 / statistics.median(found)

    @cache  # noqa: B019 - one bench lives as long as the command
    def peak_mib(self, vectors: int) -> float:
        """Memory that a run takes at most, arrays included."""
        tracemalloc.start()
        self.simulators["nldm"] = self._simulator("nldm")  # its buffers too
        self.ours("nldm", vectors)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 2**20


PAGE = """# Speed of the activity engine

Conventional 16-bit MAC ({cells} cells, compact 45 nm library, 5 ps steps), uniform operands, seed
{seed}, one core; operations per second of processor time, medians of {repeats} repetitions of
{least} s at least, all in one run. Operands are ready for all but the row that says so; ours are
{vectors}, again and again. Ours counts every net's transitions; Icarus and Verilator write them to
a file, which nobody counts, and kyupy keeps waveforms. Compilation is left out. Measured on
{machine}; figures differ from machine to machine, the ratios less.

{command}

"nldm" are delays by slew and load, "zero" none. "Ours is faster by" is the first row of the same
delays over this one.

| engine | delays | operations/s (least to most) | ours is faster by |
|---|---|---|---|
{rows}

What "Icarus with the same delays" means:

- "{letter}" is the same circuit: a delay for every input pin and one inertial filter for every
  gate, as in [decision 0003](decisions/0003-delay-model.md). Its counts are equal to ours net by
  net (`nox -s oracle`). This is the comparison of equals.
- "{plain}" have one inertial rise and fall delay each, as a Verilog user would write them. It is
  less work, but other delays, and other counts: an upper bound on Icarus' speed.
- Zero-delay "{plain}" still takes events in some order within an instant, and writes what it
  ends up with. Verilator is given one module of assignments and registers, and dumps once a cycle;
  its counts, too, are ours net by net but for the clock (`nox -s oracle`).
- kyupy's WaveSim has one rise and one fall delay per gate here and counts nothing.

## Cost and memory by length
Timed runs of the conventional MAC, one core, medians of {length_repeats}, drawing operands too;
memory is the largest allocation of a run.

| operations | processor time of each | memory |
|---|---|---|
{lengths}

## Cost by size
Square grids of copies of the DVAFS MAC, timed, one core, medians of {grid_repeats}; rows share
activations, columns weights.

| grid | cells | operations of each MAC | processor time | per cell and operation | peak memory |
|---|---|---|---|---|---|
{sizes}

{growth}The peak is that of the whole process and mostly the netlist in Python. Counts grow with
nets, buffers with registers, and neither with the number of operations. What is alive at once does
not grow: gates come by neighbourhood, and a net's waveform goes after its last reader.

## Asked for and not reached, or not measured
{missing}
"""
COMMANDS = """    nox -s synth
    python -m flows.bench {netlist} \\
        --scale {scale} --out docs/benchmarks.md"""


def page(bench: Bench, rows: list[Row], sizes: Sequence[Size] = ()) -> str:
    """The Markdown page of a run."""
    ours = {row.delays: row.median for row in reversed(rows) if row.engine == OURS}
    lines = [
        f"| {r.engine} | {r.delays} | {r.median:,.0f} ({min(r.rates):,.0f} to {max(r.rates):,.0f}) "
        f"| {'' if r.engine.startswith(OURS) else _ratio(ours[r.delays] / r.median)} |"
        for r in rows
    ]
    lengths = [
        f"| {n:,} | {bench.ns_per_vector(n):.0f} ns | {bench.peak_mib(n):.1f} MiB |"
        for n in OPERATIONS
    ]
    names = {"netlist": "build/synth/mac_fixed_w16a16.netlist.json"}
    names["scale"] = "build/synth/mac_dvafs_16.netlist.json"
    growth = _growth(sizes)
    return PAGE.format(
        cells=len(bench.netlist.instances),
        seed=bench.seed,
        repeats=REPEATS,
        least=bench_rivals.LEAST_S,
        machine=_machine(),
        grid_repeats=bench_scale.REPEATS,
        growth=f"A cell of the dearest grid costs {growth:.2f} times one of the cheapest. "
        if sizes
        else "",
        vectors=f"{bench.vectors:,}",
        command=COMMANDS.format(**names),
        rows="\n".join(lines),
        letter=LETTER,
        plain=PLAIN,
        lengths="\n".join(lengths),
        length_repeats=LENGTH_REPEATS,
        sizes="\n".join(
            f"| {s.side} x {s.side} | {s.cells:,} | {s.vectors:,} | {s.seconds:,.2f} s "
            f"| {s.ns_per_cell:.3f} ns | {s.peak_mib:,.0f} MiB |"
            for s in sizes
        )
        or "Not measured in this run (`--scale`).",
        missing="\n".join(f"- {text}" for text in _missing(bench, rows, ours, sizes)),
    )


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _growth(sizes: Sequence[Size]) -> float:
    """What a cell and operation costs at most, over the least."""
    costs = [size.ns_per_cell for size in sizes] or [1.0]
    return max(costs) / min(costs)


def _machine() -> str:
    """The processor, as far as Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, platform.processor() or platform.machine())
    return f"{len(os.sched_getaffinity(0))} cores of an {name}"


GROWTH = 1.3  # that passes for linear
DEVICE = 20  # times the processor, asked of a CUDA device
MEMORY_TB_S = (3, 8)  # what such devices' memories do
BYTES = 4.4  # that simulator.waveform's array operations move a step and vector; a test counts them
CUDA = """A CUDA device, {times} times the processor: not written. Run by an array library, every
  operation is a pass through the device's memory. Those of `flows.simulator.waveform` move
  {bytes} bytes for each of this MAC's {steps:,} steps and vectors, at {times} times our timed
  rate {tb:.1f} TB/s; such memories do {slow} to {fast}, enough for {least:.0f} to {most:.0f} times.
  A kernel that reads a gate's inputs once and writes its output once would move {once:.0f} kB a
  vector, {once_tb:.1f} TB/s: possible, but a kernel of its own is not little code, and there was no
  device to try it on."""
GOALS = (
    (LETTER, "nldm", 500),
    (PLAIN, "nldm", 500),
    (WAVESIM, "nldm", 15),
    (PLAIN, "zero", 20_000),
    (VERILATOR, "zero", 200),
)


def _missing(
    bench: Bench, rows: list[Row], ours: dict[str, float], sizes: Sequence[Size]
) -> Iterator[str]:
    found = {(row.engine, row.delays): row.median for row in rows}
    for engine, delays, goal in GOALS:
        if (engine, delays) not in found:
            yield f"{goal:,} times {engine} ({delays}): not measured, it is not installed."
        elif (ratio := ours[delays] / found[engine, delays]) < goal:
            yield f"{goal:,} times {engine} ({delays}): {_ratio(ratio)} times."
    most = max((size.cells for size in sizes), default=0)
    if most < CELLS:
        yield f"Cost beyond {CELLS:,} cells: measured to {most:,} in this run."
    if (growth := _growth(sizes)) > GROWTH:
        yield f"Cost linear in cells: a cell costs {growth:.2f} times as much in the dearest grid."
    yield _cuda(bench, ours.get("nldm", 0.0))


def _cuda(bench: Bench, rate: float) -> str:
    """Why there is no engine for a CUDA device, by what it would have to move."""
    moved = bench.steps * BYTES * rate / 1e12 or float("inf")  # TB/s at the processor's rate
    slow, fast = MEMORY_TB_S
    return CUDA.format(
        times=DEVICE,
        bytes=BYTES,
        steps=bench.steps,
        tb=DEVICE * moved,
        slow=slow,
        fast=fast,
        least=slow / moved,
        most=fast / moved,
        once=bench.once_bytes / 1e3,
        once_tb=DEVICE * rate * bench.once_bytes / 1e12,
    )


def main() -> int:
    """Race the engine against other simulators and write the page."""
    arguments = _arguments()
    if arguments.vectors < 1024:
        raise FlowError(f"{arguments.vectors} vectors are too few to time; take 1024 or more.")
    bench = Bench(arguments.netlist, arguments.vectors, arguments.seed)
    rows = list(console.track(bench.rows(), "bench", label=lambda r: f"{r.engine} {r.delays}"))
    _write(arguments.out, page(bench, rows))
    sizes: list[Size] = []
    if arguments.scale is not None:
        mac = Simulator(Netlist.load(arguments.scale, bench.library), bench.library)
        found = bench_scale.sizes(mac, MacSpec(scheme="dvafs"), SIDES, bench.seed)
        for size in console.track(found, "scale", label=lambda s: f"{s.cells} cells"):
            sizes.append(size)
            _write(arguments.out, page(bench, rows, sizes))  # a run that is cut off keeps these
    if arguments.json:
        lists = {"rows": [asdict(r) for r in rows], "sizes": [asdict(size) for size in sizes]}
        console.print_json({"out": str(arguments.out or ""), **lists})
    elif arguments.out is None:
        print(page(bench, rows, sizes), end="")
    return 0


def _write(out: Path | None, text: str) -> None:
    if out is not None:
        console.write_text(out, text)


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.bench", __doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json", help="the conventional 16-bit MAC")
    add("--scale", type=Path, metavar="NETLIST.json", help="the DVAFS MAC, for cost by size")
    add("--out", type=Path, metavar="FILE.md", help="default: standard output")
    add("--vectors", type=int, default=65_536, metavar="N")
    add("--seed", type=int, default=0, metavar="S")
    parser.add_json()
    return parser.parse_args()


if __name__ == "__main__":
    console.run(main)

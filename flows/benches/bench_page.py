"""The page of the benchmark: ratios, costs by length and by size, and what is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.benches import bench_rivals, bench_scale
from flows.benches.bench_mac import LENGTH_REPEATS, LENGTHS, OURS, Bench
from flows.benches.bench_rivals import LETTER, PLAIN, REPEATS, VERILATOR, WAVESIM, Row
from flows.benches.bench_scale import CELLS, Size

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
COMMAND = """    nox -s synth
    python -m flows.bench build/synth/mac_fixed_w16a16.netlist.json \\
        --scale build/synth/mac_dvafs_16.netlist.json --out docs/benchmarks.md"""


def page(bench: Bench, rows: list[Row], sizes: Sequence[Size] = ()) -> str:
    """The Markdown page of a run."""
    ours = {row.delays: row.median for row in reversed(rows) if row.engine == OURS}
    return PAGE.format(
        cells=len(bench.netlist.instances),
        seed=bench.seed,
        repeats=REPEATS,
        least=bench_rivals.LEAST_S,
        machine=_machine(),
        grid_repeats=bench_scale.REPEATS,
        vectors=f"{bench.vectors:,}",
        command=COMMAND,
        rows="\n".join(_race(row, ours) for row in rows),
        letter=LETTER,
        plain=PLAIN,
        lengths="\n".join(_length(bench, operations) for operations in LENGTHS),
        length_repeats=LENGTH_REPEATS,
        sizes="\n".join(map(_size, sizes)) or "Not measured in this run (`--scale`).",
        growth=_dearest(sizes),
        missing="\n".join(f"- {text}" for text in _missing(bench, rows, ours, sizes)),
    )


def _race(row: Row, ours: dict[str, float]) -> str:
    """A row of the race; only others' speed is set beside ours."""
    ratio = "" if row.engine.startswith(OURS) else _ratio(ours[row.delays] / row.median)
    rates = f"{row.median:,.0f} ({min(row.rates):,.0f} to {max(row.rates):,.0f})"
    return f"| {row.engine} | {row.delays} | {rates} | {ratio} |"


def _length(bench: Bench, operations: int) -> str:
    cost, peak = bench.ns_per_vector(operations), bench.peak_mib(operations)
    return f"| {operations:,} | {cost:.0f} ns | {peak:.1f} MiB |"


def _size(size: Size) -> str:
    return (
        f"| {size.side} x {size.side} | {size.cells:,} | {size.vectors:,} | {size.seconds:,.2f} s "
        f"| {size.ns_per_cell:.3f} ns | {size.peak_mib:,.0f} MiB |"
    )


def _dearest(sizes: Sequence[Size]) -> str:
    growth = _growth(sizes)
    text = f"A cell of the dearest grid costs {growth:.2f} times one of the cheapest. "
    return text if sizes else ""


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

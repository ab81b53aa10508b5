"""The energy table: every precision of every MAC, synthesised, simulated and priced.

`python -m flows.measure [--schemes ...] [--bits ...] [--stimuli ...] [--vectors N]
[--scheduler ADDRESS] --out FILE`. Points are independent and kept beside the output as they are
done, so that a sweep that was cut off goes on; the same seed gives the same table, to the last
digit, whatever the number of workers. Stimuli are uniform or gaussian codes, activations unsigned
or (`_signed`) signed, or a `.npz` with a layer's own (`OperandFile` of
`flows.simulator.code_files`), whose rows carry the file's name. A Dask cluster's workers must see
the same files at the same place.

All MACs share one clock: the longest path of any 16-bit MAC at the nominal supply, rounded up to
10 ps, unless --clock-ps says another. "nominal" rows run at that clock and supply. "scaled" rows
keep the throughput, one result per clock: a mode with N lanes runs at N times the period, and the
supply falls as far as the mode's longest path allows, --lowest-vdd (0.8 V) at the lowest.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flows import console
from flows.console import FlowError
from flows.energy import measure_print
from flows.energy.measure_point import Settings, key, library_of, measure, operands_of
from flows.energy.points import STIMULI, UNEQUAL_STIMULUS, Point, parse_bits, points
from flows.netlist import Netlist
from flows.power import check_library
from flows.simulator.delays import REJECT, STEP_PS
from flows.stimulus import BATCHES, CYCLES, check_operands, rounds
from flows.supply import LAW, LOWEST_V, NOMINAL_V
from flows.sweep import Job, sweep
from flows.synth import Synthesis, synthesize
from flows.synthesis.synth_script import Options
from flows.table import SCHEMES, EnergyRow, EnergyTable, TableHeader
from flows.timing import Conditions, critical_path_ps
from hw.command import Parser
from hw.plan import Plan
from hw.rtl.spec import MacSpec

CLOCK_STEP_PS = 10.0
MIN_BATCHES = 10


def clock_period_ps(netlists: Sequence[Path], settings: Settings) -> float:
    """The common clock: longest path of these netlists at the nominal supply, rounded up.

    FlowError where `settings.clock_ps` asks for a shorter one.
    """
    library = library_of(settings.liberty)
    slower = LAW.delay_ratio(NOMINAL_V, library.vdd_v)
    loaded = [Netlist.load(path, library) for path in netlists]
    paths = {
        n.top: slower * critical_path_ps(n, library, None, settings.conditions) for n in loaded
    }
    top = max(paths, key=paths.__getitem__)
    if not settings.clock_ps:
        return CLOCK_STEP_PS * math.ceil(paths[top] / CLOCK_STEP_PS)
    if settings.clock_ps < paths[top]:
        raise FlowError(
            f"a clock of {settings.clock_ps:g} ps is shorter than the longest path of {top}, "
            f"{paths[top]:.1f} ps at {NOMINAL_V:g} V; give a longer clock."
        )
    return settings.clock_ps


def _designs(specs: list[MacSpec], settings: Settings, rtl: Path) -> dict[str, Synthesis]:
    """Synthesis of every circuit; what is there from the same inputs is kept."""
    library = library_of(settings.liberty)
    found = {}
    for spec in console.track(specs, "synthesise", label=lambda s: s.name):
        source = rtl / f"{spec.name}.v"
        if not source.exists():
            from hw.rtl.verilog import write  # Amaranth is needed for a missing source only

            write(spec, rtl)
        found[spec.name] = synthesize(
            [source], spec.name, settings.synth, library, settings.synthesis
        )
    return found


def _label(rows: list[dict[str, Any]]) -> str:
    row = rows[0]
    bits = f"{row['w_bits']} x {row['a_bits']} bits"
    return f"{row['scheme']} {bits} {row['stimulus']}, {row['energy_fj']:.0f} fJ"


def _header(settings: Settings, designs: dict[str, Synthesis]) -> TableHeader:
    library, conditions = library_of(settings.liberty), settings.conditions
    return TableHeader(
        library=library.name,
        library_sha256=library.sha256,
        nominal_vdd_v=NOMINAL_V,
        temperature_c=library.temperature_c,
        netlist_sha256={name: s.netlist_sha256 for name, s in sorted(designs.items())},
        tools={
            "python": platform.python_version(),
            "numpy": np.__version__,
            "yosys": next(iter(designs.values())).yosys,
        },
        seed=settings.seed,
        vectors=sum(r.vectors for r in rounds(settings.vectors, settings.seed)),
        delay_model=(
            f"NLDM by slew and load, rise and fall per input, {STEP_PS:g} ps steps, pulses shorter "
            f"than {REJECT:.0%} of the gate's shortest delay rejected"
        ),
        voltage_model=LAW.describe(),
        date=today(),
        notes={
            "measured_vdd_v": library.vdd_v,
            "clock": f"longest 16-bit MAC at {NOMINAL_V:g} V, rounded up to {CLOCK_STEP_PS:g} ps",
            "lowest_vdd_v": settings.lowest_v,
            "guard_bits": MacSpec().guard_bits,
            "accumulate_length": CYCLES,
            "batches": BATCHES,
            "wire_load": f"{conditions.wire_scale:g} x library's"
            if conditions.wire_scale
            else "none",
            "input_slew_ps": conditions.input_slew_ps,
            "clock_slew_ps": conditions.clock_slew_ps,
            "output_port_ff": conditions.port_ff,
            "weights": "signed symmetric codes; 1 bit is -1 or +1",
            "boundary": "input nets, operand registers, multiplier, accumulators; ideal clock tree",
            **{f"stimulus_{n}_sha256": operands_of(p).sha256 for n, p in settings.files.items()},
        },
    )


def today() -> str:
    """The date, or that of SOURCE_DATE_EPOCH for a reproducible file."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    utc = datetime.UTC
    now = datetime.datetime.fromtimestamp(int(epoch), utc) if epoch else datetime.datetime.now(utc)
    return now.date().isoformat()


def make_table(
    chosen: list[Point],
    settings: Settings,
    rtl: Path,
    kept: Path,
    workers: int = 1,
    scheduler: str | None = None,
) -> EnergyTable:
    """Synthesise, measure and put together."""
    check_library(library_of(settings.liberty))  # all before minutes of work
    for point in chosen:
        if point.stimulus in settings.files:
            check_operands(point.mode, operands_of(settings.files[point.stimulus]).codes)
    baselines, specs = _specs(chosen)
    designs = _designs(list(specs.values()), settings, rtl)
    paths = [settings.synth / f"{s.name}.netlist.json" for s in baselines]
    settings = replace(settings, clock_ps=clock_period_ps(paths, settings))
    keys = {p: key(p, designs[p.spec.name], settings) for p in chosen}
    jobs: dict[str, Job] = {
        key: partial(measure, p, designs[p.spec.name], settings) for p, key in keys.items()
    }
    done = sweep(jobs, kept, _label, workers, scheduler)
    rows = (EnergyRow(**row) for key in keys.values() for row in done[key])
    used = {p.spec.name: designs[p.spec.name] for p in chosen}
    return EnergyTable(_header(settings, used), tuple(rows))


def _specs(chosen: Sequence[Point]) -> tuple[list[MacSpec], dict[str, MacSpec]]:
    """The 16-bit MACs, which the clock comes from, and every circuit by its name."""
    baselines = [MacSpec(scheme=s) for s in SCHEMES]
    return baselines, {spec.name: spec for spec in (*baselines, *(p.spec for p in chosen))}


def _plan(
    chosen: Sequence[Point], settings: Settings, kept: Path, arguments: argparse.Namespace
) -> Plan:
    """What `make_table` would do; without the 16-bit MACs' netlists no clock is known yet."""
    from flows.planning import found_designs, measure_plan

    baselines, specs = _specs(chosen)
    sources = {name: arguments.rtl / f"{name}.v" for name in specs}
    designs = found_designs(sources, settings)
    names = [name for name in specs if name not in designs]
    if all(spec.name in designs for spec in baselines):
        paths = [settings.synth / f"{s.name}.netlist.json" for s in baselines]
        settings = replace(settings, clock_ps=clock_period_ps(paths, settings))
    else:
        designs = {}
    return measure_plan(chosen, settings, designs, names, kept, arguments.out, arguments.workers)


def main() -> int:
    """Measure the points that the arguments name and write the energy table."""
    arguments = _arguments()
    files = _files(arguments.stimuli)
    names = [Path(s).stem if s.endswith(".npz") else s for s in arguments.stimuli]
    pairs = None if arguments.bits is None else parse_bits(arguments.bits)
    operands = {name: operands_of(path) for name, path in files.items()}
    chosen = points(arguments.schemes, pairs, names, operands)
    settings = _settings(arguments, files)
    kept = arguments.out.with_name(f"{arguments.out.name}.points")
    if arguments.plan:
        _plan(chosen, settings, kept, arguments).give(as_json=arguments.json)
        return 0
    table = make_table(
        chosen, settings, arguments.rtl, kept, arguments.workers, arguments.scheduler
    )
    table.save(arguments.out)
    if arguments.json:
        console.print_json(
            {"out": str(arguments.out), "rows": len(table.rows), "sha256": table.sha256}
        )
    else:
        measure_print.show(table)
        print(f"wrote {arguments.out}: {len(table.rows)} rows")
    return 0


def _files(stimuli: Sequence[str]) -> dict[str, Path]:
    """The files among the stimuli by the name that their rows carry."""
    paths = [Path(s).resolve() for s in stimuli if s.endswith(".npz")]
    files = {path.stem: path for path in paths}
    if len(files) < len(set(paths)) or files.keys() & set(STIMULI):
        raise FlowError(
            f"stimulus files {', '.join(p.name for p in paths)} need names of their own, not "
            f"{', '.join(STIMULI)}; rename them."
        )
    return files


def _settings(arguments: argparse.Namespace, files: dict[str, Path]) -> Settings:
    if rounds(arguments.vectors, arguments.seed)[0].batches < MIN_BATCHES:
        raise FlowError(
            f"{arguments.vectors} vectors are too few for a confidence interval; it takes "
            f"{MIN_BATCHES} batches of {CYCLES}, {MIN_BATCHES * CYCLES} vectors."
        )
    if arguments.workers < 1:
        raise FlowError(f"the number of workers must be 1 or more, not {arguments.workers}.")
    if arguments.clock_ps is not None and not arguments.clock_ps > 0:
        raise FlowError(f"the clock period must be more than 0 ps, not {arguments.clock_ps:g}.")
    LAW.check_lowest(arguments.lowest_vdd)
    if not arguments.wire_scale >= 0:
        raise FlowError(f"the wire scale must be 0 or more, not {arguments.wire_scale:g}.")
    return Settings(
        synth=arguments.synth.resolve(),  # a cluster's workers have other working directories
        liberty=arguments.liberty.resolve() if arguments.liberty else None,
        vectors=arguments.vectors,
        seed=arguments.seed,
        files=files,
        conditions=Conditions(wire_scale=arguments.wire_scale),
        synthesis=Options(extract_fa=arguments.extract_fa),
        clock_ps=arguments.clock_ps or 0.0,
        lowest_v=arguments.lowest_vdd,
    )


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.measure", __doc__)
    add = parser.add_argument
    add("--schemes", nargs="+", default=list(SCHEMES), metavar="NAME", help=", ".join(SCHEMES))
    add(
        "--bits",
        nargs="+",
        metavar="K|WxA",
        help="bits of both operands, or of weights x activations (default: 1 to 16 of both, and "
        f"with {UNEQUAL_STIMULUS} codes all pairs where one circuit has them)",
    )
    add(
        "--stimuli",
        nargs="+",
        default=["uniform", "uniform_signed"],
        metavar="NAME",
        help=f"{', '.join(STIMULI)}, or FILE.npz with arrays w and a",
    )
    add("--vectors", type=int, default=10_240, metavar="N", help="operand words per point")
    add("--seed", type=int, default=0, metavar="S")
    add("--rtl", type=Path, default=Path("build/rtl"), metavar="DIR", help="Verilog of the MACs")
    add("--synth", type=Path, default=Path("build/synth"), metavar="DIR", help="their netlists")
    add("--liberty", type=Path, help="library (default: the shipped one)")
    add(
        "--extract-fa",
        action=argparse.BooleanOptionalAction,
        help="synthesise with full adder cells (default: where the library has them)",
    )
    add("--clock-ps", type=float, metavar="N", help="common clock (default: the longest path)")
    add(
        "--lowest-vdd", type=float, default=LOWEST_V, metavar="V",
        help=f"end of the scaled supply's range (default: {LOWEST_V:g})",
    )  # fmt: skip
    add("--wire-scale", type=float, default=0.0, metavar="X", help="share of the library's wires")
    add("--workers", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="local ones")
    add("--scheduler", metavar="ADDRESS", help="a Dask cluster's, instead of a local one")
    add("--out", type=Path, default=Path("build/energy_table.json"), metavar="FILE")
    parser.add_plan()
    parser.add_json()
    return parser.parse_args()


if __name__ == "__main__":
    console.run(main)

"""The energy table put together: circuits synthesised, a common clock, points measured, header."""

from __future__ import annotations

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
from flows.energy.measure_point import Settings, key, library_of, measure, operands_of
from flows.energy.points import Point
from flows.library import Library
from flows.netlist import Netlist
from flows.planning import found_designs, measure_plan
from flows.power import check_library
from flows.simulator.delays import REJECT, STEP_PS
from flows.stimulus import BATCHES, CYCLES, check_operands, rounds
from flows.supply import LAW, NOMINAL_V
from flows.sweep import Job, sweep
from flows.synth import Synthesis, synthesize
from flows.table import SCHEMES, EnergyRow, EnergyTable, TableHeader
from flows.timing import critical_path_ps
from hw.plan import Plan
from hw.rtl.spec import MacSpec

CLOCK_STEP_PS = 10.0


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
    library = library_of(settings.liberty)
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
        notes=_notes(settings, library),
    )


def _notes(settings: Settings, library: Library) -> dict[str, Any]:
    """What else the rows rest on."""
    conditions = settings.conditions
    wires = f"{conditions.wire_scale:g} x library's" if conditions.wire_scale else "none"
    files = {f"stimulus_{n}_sha256": operands_of(p).sha256 for n, p in settings.files.items()}
    return {
        "measured_vdd_v": library.vdd_v,
        "clock": f"longest 16-bit MAC at {NOMINAL_V:g} V, rounded up to {CLOCK_STEP_PS:g} ps",
        "lowest_vdd_v": settings.lowest_v,
        "guard_bits": MacSpec().guard_bits,
        "accumulate_length": CYCLES,
        "batches": BATCHES,
        "wire_load": wires,
        "input_slew_ps": conditions.input_slew_ps,
        "clock_slew_ps": conditions.clock_slew_ps,
        "output_port_ff": conditions.port_ff,
        "weights": "signed symmetric codes; 1 bit is -1 or +1",
        "boundary": "input nets, operand registers, multiplier, accumulators; ideal clock tree",
        **files,
    }


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


def table_plan(
    chosen: Sequence[Point], settings: Settings, rtl: Path, kept: Path, out: Path, workers: int
) -> Plan:
    """What `make_table` would do; without the 16-bit MACs' netlists no clock is known yet."""
    baselines, specs = _specs(chosen)
    designs = found_designs({name: rtl / f"{name}.v" for name in specs}, settings)
    names = [name for name in specs if name not in designs]
    if all(spec.name in designs for spec in baselines):
        paths = [settings.synth / f"{s.name}.netlist.json" for s in baselines]
        settings = replace(settings, clock_ps=clock_period_ps(paths, settings))
    else:
        designs = {}
    return measure_plan(chosen, settings, designs, names, kept, out, workers)

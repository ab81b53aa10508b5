"""The plans of the flow's long commands (`--plan`): what is there, and how long the rest takes."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from flows.console import FlowError
from flows.energy.measure_point import Settings, key, library_of, measure
from flows.energy.points import Point
from flows.library import Library
from flows.synth import Synthesis, synthesize, synthesized
from flows.synthesis.synth_jobs import Job
from flows.synthesis.synth_script import Options
from hw.plan import Plan, Step
from hw.rtl.spec import ArraySpec

OPERATION_NS = 1.0
"""Of the timed engine, a cell and operation of 93,000 cells; smaller ones take less
(docs/benchmarks.md)."""

MUTANT_S, MUTANT_VECTORS = 0.15, 5000
"""A mutant's share of its campaign, proofs and build included (docs/verification.md), and the
vectors that it was measured with."""


def synth_plan(
    jobs: Sequence[Job],
    out: Path,
    library: Library,
    options: Options,
    *,
    clock_gating: bool | None = None,
    workers: int = 1,
) -> Plan:
    """The plan of `flows.synth`: the smallest design that is left is mapped, and not kept."""
    own = {job.top: job.options(options, clock_gating) for job in jobs}
    there = {j.top for j in jobs if synthesized(j.sources, j.top, out, library, own[j.top])}
    left = [job for job in jobs if job.top not in there]
    byte_s = 0.0
    if left:
        smallest = min(left, key=_size)
        byte_s = _synthesis_seconds(smallest, library, own[smallest.top]) / _size(smallest)
    steps = [
        Step(
            name=job.top,
            work=f"{_size(job) / 1000:.0f} kB of Verilog",
            seconds=_size(job) * byte_s,
            kept=job.top in there,
        )
        for job in jobs
    ]
    return Plan(
        steps=steps,
        writes=[f"{out}/ (NAME.netlist.json, .netlist.v, .synth.json; {library.name}.cells.v)"],
        basis="time grows with the Verilog, and the smallest design was tried here",
        workers=workers,
    )


def _size(job: Job) -> int:
    return max(1, sum(source.stat().st_size for source in job.sources))


def _synthesis_seconds(job: Job, library: Library, options: Options) -> float:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="quanos-plan-") as folder:
        synthesize(list(job.sources), job.top, Path(folder), library, options)
    return time.perf_counter() - began


def measure_plan(
    chosen: Sequence[Point],
    settings: Settings,
    designs: Mapping[str, Synthesis],
    names: Sequence[str],
    kept: Path,
    out: Path,
    workers: int = 1,
) -> Plan:
    """The plan of `flows.measure`: `designs` are synthesised already, those of `names` are not.

    `settings` has the clock. Points of designs that are not there are all left. One point that can
    be measured is, and not kept.
    """
    steps = [
        Step(name=f"synthesise {name}", work="before its points", seconds=SYNTHESIS_S)
        for name in names
    ]
    ready = [point for point in chosen if point.spec.name in designs]
    there = {
        point
        for point in ready
        if (kept / f"{key(point, designs[point.spec.name], settings)}.json").exists()
    }
    point_s, how = POINT_S * settings.vectors / POINT_VECTORS, "docs/energy.md's rate of a point"
    if left := [point for point in ready if point not in there]:
        point_s, how = _point_seconds(left, designs, settings), "one of the points was tried here"
    steps += _point_steps(chosen, there, point_s)
    writes = [f"{settings.synth}/ (netlists)", f"{kept}/ (a file a point)", str(out)]
    return Plan(steps=steps, writes=writes, basis=how, workers=workers)


def _point_steps(
    chosen: Sequence[Point], there: Collection[Point], point_s: float
) -> Iterator[Step]:
    """A step for each scheme and stimulus."""
    for group in dict.fromkeys((point.scheme, point.stimulus) for point in chosen):
        members = [point for point in chosen if (point.scheme, point.stimulus) == group]
        missing = [point for point in members if point not in there]
        work = f"{len(missing)} of {len(members)} points" if missing else f"{len(members)} points"
        seconds = len(missing) * point_s
        yield Step(name=" ".join(group), work=work, seconds=seconds, kept=not missing)


SYNTHESIS_S = 1.0
POINT_S, POINT_VECTORS = 0.08, 10_240
"""A point's processor time with so many vectors, and a design's synthesis (docs/energy.md)."""


def _point_seconds(
    points: Sequence[Point], designs: Mapping[str, Synthesis], settings: Settings
) -> float:
    """A point's time once its circuit is loaded: the middle one's, measured twice."""
    point = points[len(points) // 2]
    measure(point, designs[point.spec.name], settings)
    began = time.perf_counter()
    measure(point, designs[point.spec.name], settings)
    return time.perf_counter() - began


def found_designs(sources: Mapping[str, Path], settings: Settings) -> dict[str, Synthesis]:
    """The designs, of these Verilog files by name, that are synthesised as the settings ask."""
    library = library_of(settings.liberty)
    found = {}
    for name, source in sources.items():
        if source.exists():
            options = settings.synthesis
            if known := synthesized([source], name, settings.synth, library, options):
                found[name] = known
    return found


def mutate_plan(
    designs: Sequence[str], rtl: Path, synth: Path, out: Path, count: int, vectors: int
) -> Plan:
    """The plan of `flows.mutate`. Raises FlowError for a design that is not there."""
    for path in [rtl / f"{name}.spec.json" for name in designs] + [
        synth / f"{name}.synth.json" for name in designs
    ]:
        if not path.exists():
            raise FlowError(
                f"{path} is missing; write it with python -m hw.rtl.verilog --all and "
                "python -m flows.synth."
            )
    basis = {_mutants_seconds(out / f"{name}.mutants.json")[1] for name in designs}
    steps = [
        Step(
            name=name,
            work=f"{count} mutants, {vectors} pairs a mode",
            seconds=count * _mutants_seconds(out / f"{name}.mutants.json")[0]
            * max(1.0, vectors / MUTANT_VECTORS),
        )
        for name in designs
    ]  # fmt: skip
    return Plan(
        steps=steps,
        writes=[f"{out}/ (NAME.mutants.v, NAME.mutants.json)"],
        basis=f"{' and '.join(sorted(basis))}; a bench that kills few takes longer",
    )


def _mutants_seconds(report: Path) -> tuple[float, str]:
    """Seconds a mutant, and what says so: the campaign before, else the documented one."""
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        return float(content["seconds"]) / len(content["mutants"]), "the campaign before this one"
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return MUTANT_S, "docs/verification.md's rate of a mutant"


def arrays_plan(
    found: Sequence[ArraySpec], folder: Path, bits: Sequence[int], operations: int,
    writes: Sequence[Path],
) -> Plan:  # fmt: skip
    """The plan of `flows.array_energy`: operations are cycles times streams of a precision."""
    steps = []
    for spec in found:
        cells = _cells(folder / f"{spec.name}.netlist.json")
        runs = [k for k in bits if spec.scheme != "fixed" or k == spec.w_width]
        seconds = 1e-9 * OPERATION_NS * cells * operations * len(runs)
        work = f"{cells} cells, {len(runs)} precision(s)"
        steps.append(Step(name=spec.name, work=work, seconds=seconds))
    basis = f"{OPERATION_NS:g} ns a cell and operation (docs/benchmarks.md), loading not counted"
    return Plan(steps=steps, writes=[str(p) for p in writes] or ["nothing"], basis=basis)


ELEMENT_CELLS = 1700
"""Of an array, for each element of 16 bits (docs/area.md); a smaller multiplier's go with its
area."""


def layers_plan(
    needed: Mapping[ArraySpec, Sequence[object]], operations: int, out: Path, folder: Path
) -> Plan:
    """The plan of `flows.array_layers`: operations are those of one layer on an array, which takes
    its own codes and uniform ones."""
    steps = []
    for spec, layers in needed.items():
        area = spec.rows * spec.columns * spec.w_width * spec.a_width / 256
        seconds = 2e-9 * OPERATION_NS * ELEMENT_CELLS * area * operations * len(layers)
        work = f"{len(layers)} layer(s), synthesis before them unless it is there"
        steps.append(Step(name=spec.name, work=work, seconds=seconds + SYNTHESIS_S))
    basis = (
        f"{ELEMENT_CELLS} cells an element of 16 bits and {OPERATION_NS:g} ns a cell and operation "
        "(docs/area.md, docs/benchmarks.md)"
    )
    return Plan(steps=steps, writes=[f"{folder}/ (Verilog and netlists)", str(out)], basis=basis)


def points_plan(
    chosen: Sequence[Point], vectors: int, writes: Sequence[Path], workers: int
) -> Plan:
    """The plan of `flows.network`: a step for each scheme, whatever is kept of it."""
    steps = []
    for scheme in dict.fromkeys(point.scheme for point in chosen):
        count = sum(point.scheme == scheme for point in chosen)
        seconds = count * POINT_S * vectors / POINT_VECTORS
        steps.append(Step(name=scheme, work=f"{count} points", seconds=seconds))
    basis = f"{POINT_S:g} s a point of {POINT_VECTORS} vectors (docs/energy.md), at most"
    return Plan(steps=steps, writes=[str(w) for w in writes], basis=basis, workers=workers)


def _cells(netlist: Path) -> int:
    """Cells of a netlist by its synthesis report beside it, else by its own lines."""
    report = netlist.with_name(netlist.name.replace(".netlist.json", ".synth.json"))
    try:
        return int(json.loads(report.read_text(encoding="utf-8"))["cells"])
    except (OSError, ValueError, KeyError, TypeError):
        return netlist.read_text(encoding="utf-8").count('"hide_name"')

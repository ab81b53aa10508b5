"""The energy table: every precision of every MAC, synthesised, simulated and priced.

`python -m flows.measure [--schemes ...] [--bits ...] [--vectors N] --out FILE`. Points are
independent and kept beside the output as they are done, so that a sweep that was cut off goes on;
the same seed gives the same table, to the last digit, whatever the number of workers.

All MACs share one clock: the longest path of any 16-bit MAC at the nominal supply, rounded up to
10 ps. "nominal" rows run at that clock and supply. "scaled" rows keep the throughput, one result
per clock: a mode with N lanes runs at N times the period, and the supply falls as far as the mode's
longest path allows, 0.8 V at the lowest.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from flows import console, measure_print
from flows.activity import Batches, Simulator
from flows.console import FlowError
from flows.delays import REJECT, STEP_PS
from flows.library import Library
from flows.netlist import Netlist
from flows.power import Energies, PowerModel
from flows.stimulus import BATCHES, CYCLES, mac_inputs, rounds
from flows.supply import LAW, LOWEST_V, NOMINAL_V
from flows.synth import Synthesis, synthesize
from flows.synth_script import Options
from flows.table import MAX_BITS, SCHEMES, EnergyRow, EnergyTable, TableHeader
from flows.timing import Conditions, critical_path_ps
from hw.rtl.spec import MacSpec, Mode

VERSION = 1  # counts up when the same inputs give other energies
STIMULI = ("uniform", "uniform_signed", "gaussian", "gaussian_signed")
CLOCK_STEP_PS = 10.0
MIN_BATCHES = 10
WARMUP = 8  # cycles before counting: the pipeline is full
CONDITIONS = Conditions()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every point has in common."""

    synth: Path
    liberty: Path | None
    vectors: int
    seed: int
    synthesis: Options = field(default_factory=Options)
    clock_ps: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One operating point of the table."""

    scheme: str
    w_bits: int
    a_bits: int
    stimulus: str

    @property
    def spec(self) -> MacSpec:
        """The circuit that runs it."""
        if self.scheme == "fixed":
            return MacSpec(scheme="fixed", w_width=self.w_bits, a_width=self.a_bits)
        return MacSpec(scheme=self.scheme)

    @property
    def mode(self) -> Mode:
        """The circuit's mode."""
        return self.spec.mode(self.w_bits, self.a_bits, self.stimulus.endswith("_signed"))


def points(schemes: Sequence[str], bits: Sequence[int], stimuli: Sequence[str]) -> list[Point]:
    """All of them, w_bits = a_bits."""
    for what, given, allowed in (
        ("scheme", schemes, SCHEMES),
        ("stimulus", stimuli, STIMULI),
        ("bits", bits, range(1, MAX_BITS + 1)),
    ):
        for value in given:
            if value not in allowed:
                names = ", ".join(map(str, allowed))
                raise FlowError(f"{what} {value} is not known; {names} are.")
    chosen = [
        (s, k, t) for s in SCHEMES if s in schemes for t in STIMULI if t in stimuli for k in bits
    ]
    return [Point(scheme=s, w_bits=k, a_bits=k, stimulus=t) for s, k, t in chosen]


@dataclass(frozen=True, eq=False)
class Bench:
    """A netlist ready to be measured."""

    netlist: Netlist
    library: Library
    simulator: Simulator
    power: PowerModel


@cache
def _library(liberty: Path | None) -> Library:
    return Library.load(liberty)


@cache
def _bench(path: Path, liberty: Path | None, sha256: str) -> Bench:
    """`sha256` makes a netlist that was written anew a new bench."""
    library = _library(liberty)
    netlist = Netlist.load(path, library)
    return Bench(netlist, library, Simulator(netlist, library), PowerModel(netlist, library))


def measure(point: Point, synthesis: Synthesis, settings: Settings) -> list[dict[str, Any]]:
    """The rows of a point, nominal and scaled supply, as JSON."""
    path = settings.synth / f"{synthesis.top}.netlist.json"
    bench = _bench(path, settings.liberty, synthesis.netlist_sha256)
    spec, mode = point.spec, point.mode
    kind = point.stimulus.removesuffix("_signed")
    batches = bench.simulator.run_all(
        rounds(settings.vectors, settings.seed),
        lambda rng, streams: mac_inputs(spec, mode, bench.netlist, kind, rng, streams, WARMUP),
        WARMUP,
    )
    energies = _energies(bench, batches)
    path_ps = critical_path_ps(bench.netlist, bench.library, _case(bench.netlist, spec, mode))
    at_nominal = path_ps * LAW.delay_ratio(NOMINAL_V, bench.library.vdd_v)
    scaled_clock = settings.clock_ps * mode.lanes
    operating = {
        "nominal": (settings.clock_ps, NOMINAL_V),
        "scaled": (scaled_clock, LAW.lowest_supply(at_nominal, scaled_clock)),
    }
    return [
        asdict(
            EnergyRow(
                **asdict(point),
                supply=supply,
                **_per_mac(energies, bench.library, clock_ps, vdd_v, mode.lanes),
                macs_per_cycle=mode.lanes,
                critical_path_ps=at_nominal * LAW.delay_ratio(vdd_v, NOMINAL_V),
                clock_ps=clock_ps,
                vdd_v=vdd_v,
                area_um2=synthesis.area_um2,
                cells=synthesis.cells,
                origin="netlist",
            )
        )
        for supply, (clock_ps, vdd_v) in operating.items()
    ]


def _case(netlist: Netlist, spec: MacSpec, mode: Mode) -> dict[str, int]:
    """The mode's control pins, for case analysis."""
    return {
        f"{port}[{i}]" if len(netlist.inputs[port]) > 1 else port: value >> i & 1
        for port, value in spec.controls(mode).items()
        if port in netlist.inputs
        for i in range(len(netlist.inputs[port]))
    }


def _energies(bench: Bench, batches: Batches) -> Energies:
    """All vectors with their glitches, without, and then batch by batch."""
    activity = partial(batches.activity, bench.netlist)
    each = [activity(batch=i) for i in range(len(batches.vectors))]
    return bench.power.energies([activity(), activity(glitches=False), *each])


def _per_mac(
    energies: Energies, library: Library, clock_ps: float, vdd_v: float, lanes: int
) -> dict[str, Any]:
    """Energies in fJ per useful MAC."""
    parts = energies.parts_fj(clock_ps, LAW.energy_ratio(vdd_v, library.vdd_v) / lanes)
    whole, settled, *each = np.sum(list(parts.values()), axis=0).tolist()
    return {
        "energy_fj": whole,
        **{f"{name}_fj": float(values[0]) for name, values in parts.items()},
        "glitch_fj": whole - settled,
        "ci95_fj": _half_width(each),
    }


def _half_width(values: list[float]) -> float:
    """Half of the 95 % confidence interval of the mean of independent batches.

    Student's t from the normal quantile (Abramowitz and Stegun 26.7.5, good to 1e-3 from 9 degrees
    of freedom on).
    """
    n = len(values) - 1
    z = statistics.NormalDist().inv_cdf(0.975)
    t = z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    return t * statistics.stdev(values) / math.sqrt(len(values))


def clock_period_ps(netlists: dict[str, Path], liberty: Path | None) -> float:
    """The common clock: longest path of these netlists at the nominal supply, rounded up."""
    library = _library(liberty)
    longest = max(critical_path_ps(Netlist.load(p, library), library) for p in netlists.values())
    slowed = longest * LAW.delay_ratio(NOMINAL_V, library.vdd_v)
    return CLOCK_STEP_PS * math.ceil(slowed / CLOCK_STEP_PS)


def _designs(specs: list[MacSpec], settings: Settings, rtl: Path) -> dict[str, Synthesis]:
    """Synthesis of every circuit; what is there from the same inputs is kept."""
    library = _library(settings.liberty)
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


def _key(point: Point, synthesis: Synthesis, settings: Settings) -> str:
    """Everything that a point's rows depend on."""
    content = [
        VERSION,
        asdict(point),
        synthesis.netlist_sha256,
        synthesis.library_sha256,
        settings.vectors,
        settings.seed,
        settings.clock_ps,
        LAW.describe(),
        asdict(CONDITIONS),
        (STEP_PS, REJECT, WARMUP, CYCLES, BATCHES),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


Job = Callable[[], list[dict[str, Any]]]


def _finished(jobs: dict[str, Job], workers: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Results as they come, by key. A cluster's executor would take this one's place."""
    if workers == 1:
        for key, job in jobs.items():
            yield key, job()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures: dict[Future[list[dict[str, Any]]], str] = {
            pool.submit(job): key for key, job in jobs.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def sweep(jobs: dict[str, Job], kept: Path, workers: int) -> dict[str, list[dict[str, Any]]]:
    """Results of all jobs by key; those in the folder `kept` are taken from there."""
    done: dict[str, list[dict[str, Any]]] = {}
    for key in jobs:
        try:
            done[key] = json.loads((kept / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    waiting = {key: job for key, job in jobs.items() if key not in done}
    results = _finished(waiting, min(workers, max(1, len(waiting))))
    for key, rows in console.track(results, "measure", len(waiting), lambda r: _label(r[1])):
        console.write_text(kept / f"{key}.json", json.dumps(rows))
        done[key] = rows
    return done


def _label(rows: list[dict[str, Any]]) -> str:
    row = rows[0]
    return f"{row['scheme']} {row['w_bits']} bits {row['stimulus']}, {row['energy_fj']:.0f} fJ"


def _header(settings: Settings, designs: dict[str, Synthesis]) -> TableHeader:
    library = _library(settings.liberty)
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
        date=_today(),
        notes={
            "measured_vdd_v": library.vdd_v,
            "clock": f"longest 16-bit MAC at {NOMINAL_V:g} V, rounded up to {CLOCK_STEP_PS:g} ps",
            "lowest_vdd_v": LOWEST_V,
            "guard_bits": MacSpec().guard_bits,
            "accumulate_length": CYCLES,
            "batches": BATCHES,
            "wire_load": "none",
            "input_slew_ps": CONDITIONS.input_slew_ps,
            "clock_slew_ps": CONDITIONS.clock_slew_ps,
            "output_port_ff": CONDITIONS.port_ff,
            "weights": "signed symmetric codes; 1 bit is -1 or +1",
            "boundary": "input nets, operand registers, multiplier, accumulators; ideal clock tree",
        },
    )


def _today() -> str:
    """The date, or that of SOURCE_DATE_EPOCH for a reproducible file."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    utc = datetime.UTC
    now = datetime.datetime.fromtimestamp(int(epoch), utc) if epoch else datetime.datetime.now(utc)
    return now.date().isoformat()


def make_table(
    chosen: list[Point], settings: Settings, rtl: Path, kept: Path, workers: int
) -> EnergyTable:
    """Synthesise, measure and put together."""
    baselines = [MacSpec(scheme=s) for s in SCHEMES]
    specs = {spec.name: spec for spec in (*baselines, *(p.spec for p in chosen))}
    designs = _designs(list(specs.values()), settings, rtl)
    paths = {s.name: settings.synth / f"{s.name}.netlist.json" for s in baselines}
    clock_ps = clock_period_ps(paths, settings.liberty)
    settings = Settings(**{**vars(settings), "clock_ps": clock_ps})
    keys = {p: _key(p, designs[p.spec.name], settings) for p in chosen}
    jobs: dict[str, Job] = {
        key: partial(measure, p, designs[p.spec.name], settings) for p, key in keys.items()
    }
    done = sweep(jobs, kept, workers)
    rows = (EnergyRow(**row) for key in keys.values() for row in done[key])
    used = {p.spec.name: designs[p.spec.name] for p in chosen}
    return EnergyTable(_header(settings, used), tuple(rows))


def main() -> int:
    arguments = _arguments()
    chosen = points(arguments.schemes, arguments.bits, arguments.stimuli)
    settings = Settings(
        synth=arguments.synth,
        liberty=arguments.liberty,
        vectors=arguments.vectors,
        seed=arguments.seed,
        synthesis=Options(extract_fa=arguments.extract_fa),
    )
    if rounds(settings.vectors, settings.seed)[0].batches < MIN_BATCHES:
        raise FlowError(
            f"{settings.vectors} vectors are too few for a confidence interval; it takes "
            f"{MIN_BATCHES} batches of {CYCLES}, {MIN_BATCHES * CYCLES} vectors."
        )
    if arguments.workers < 1:
        raise FlowError(f"the number of workers must be 1 or more, not {arguments.workers}.")
    kept = arguments.out.with_name(f"{arguments.out.name}.points")
    table = make_table(chosen, settings, arguments.rtl, kept, arguments.workers)
    table.save(arguments.out)
    if arguments.json:
        console.print_json(
            {"out": str(arguments.out), "rows": len(table.rows), "sha256": table.sha256}
        )
    else:
        measure_print.show(table)
        print(f"wrote {arguments.out}: {len(table.rows)} rows")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.measure", description=__doc__)
    add = parser.add_argument
    add("--schemes", nargs="+", default=list(SCHEMES), metavar="NAME", help=", ".join(SCHEMES))
    add("--bits", nargs="+", type=int, default=list(range(1, MAX_BITS + 1)), metavar="K")
    add(
        "--stimuli",
        nargs="+",
        default=["uniform", "uniform_signed"],
        metavar="NAME",
        help=", ".join(STIMULI),
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
    add("--workers", type=int, default=min(2, os.cpu_count() or 1), metavar="N")
    add("--out", type=Path, default=Path("build/energy_table.json"), metavar="FILE")
    add("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


if __name__ == "__main__":
    console.run(main)

"""One point of the energy table: a MAC in one mode under one stimulus, simulated and priced.

A module of its own, so that a cluster's workers find it by name.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import threading
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from flows.activity import Simulator
from flows.energy.points import SIGNED, Point
from flows.library import Library
from flows.netlist import Netlist
from flows.power import Energies, PowerModel
from flows.simulator.batches import Batches
from flows.simulator.code_files import OperandFile
from flows.simulator.delays import REJECT, STEP_PS
from flows.stimulus import BATCHES, CYCLES, mac_words, rounds
from flows.supply import LAW, LOWEST_V, NOMINAL_V
from flows.sweep import Rows
from flows.synth import Synthesis
from flows.synthesis.synth_script import Options
from flows.timing import Conditions, critical_path_ps

VERSION = 1  # counts up when the same inputs give other energies
WARMUP = 8  # cycles before counting: the pipeline is full


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every point has in common."""

    synth: Path
    liberty: Path | None
    vectors: int
    seed: int
    files: dict[str, Path] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=Conditions)
    synthesis: Options = field(default_factory=Options)
    clock_ps: float = 0.0
    lowest_v: float = LOWEST_V


@dataclass(frozen=True, eq=False)
class Bench:
    """A netlist ready to be measured."""

    netlist: Netlist
    library: Library
    simulator: Simulator
    power: PowerModel


@cache
def library_of(liberty: Path | None) -> Library:
    """The library of a file, read once a process; None: the shipped one."""
    return Library.load(liberty)


@cache
def _bench(path: Path, liberty: Path | None, conditions: Conditions, sha256: str) -> Bench:
    """`sha256` makes a netlist that was written anew a new bench."""
    library = library_of(liberty)
    netlist = Netlist.load(path, library)
    return Bench(
        netlist,
        library,
        Simulator(netlist, library, conditions=conditions),
        PowerModel(netlist, library, conditions),
    )


@cache
def operands_of(path: Path) -> OperandFile:
    """The operands of a `.npz`, read once a process."""
    return OperandFile.load(path)


_ONE_AT_A_TIME = threading.Lock()  # a bench keeps state between calls; Dask's workers have threads


def measure(point: Point, synthesis: Synthesis, settings: Settings) -> Rows:
    """The rows of a point, nominal and scaled supply, as JSON."""
    with _ONE_AT_A_TIME:
        path = settings.synth / f"{synthesis.top}.netlist.json"
        bench = _bench(path, settings.liberty, settings.conditions, synthesis.netlist_sha256)
        energies = batch_energies(bench, _simulate(bench, point, settings))
        case = _case(bench.netlist, point)
        path_ps = critical_path_ps(bench.netlist, bench.library, case, settings.conditions)
    lanes = point.mode.lanes
    at_nominal = path_ps * LAW.delay_ratio(NOMINAL_V, bench.library.vdd_v)
    scaled_clock = settings.clock_ps * lanes
    lowest_v = LAW.lowest_supply(at_nominal, scaled_clock, v_min=settings.lowest_v)
    operating = {
        "nominal": (settings.clock_ps, NOMINAL_V),
        "scaled": (scaled_clock, lowest_v),
    }
    return [
        rounded(
            **point.row,
            supply=supply,
            **per_mac(energies, bench.library, clock_ps, vdd_v, lanes),
            macs_per_cycle=lanes,
            critical_path_ps=at_nominal * LAW.delay_ratio(vdd_v, NOMINAL_V),
            clock_ps=clock_ps,
            vdd_v=vdd_v,
            area_um2=synthesis.area_um2,
            cells=synthesis.cells,
            origin="netlist",
        )
        for supply, (clock_ps, vdd_v) in operating.items()
    ]


def _simulate(bench: Bench, point: Point, settings: Settings) -> Batches:
    spec, mode = point.spec, point.mode
    file = settings.files.get(point.stimulus)
    kind = operands_of(file).codes if file else point.stimulus.removesuffix(SIGNED)
    return bench.simulator.run_all(
        rounds(settings.vectors, settings.seed),
        lambda rng, streams: mac_words(spec, mode, bench.netlist, kind, rng, streams, WARMUP),
        WARMUP,
    )


def _case(netlist: Netlist, point: Point) -> dict[str, int]:
    """The mode's control pins, for case analysis."""
    return {
        f"{port}[{i}]" if len(netlist.inputs[port]) > 1 else port: value >> i & 1
        for port, value in point.spec.controls(point.mode).items()
        if port in netlist.inputs
        for i in range(len(netlist.inputs[port]))
    }


def batch_energies(bench: Bench, batches: Batches) -> Energies:
    """All vectors with their glitches, without, and then batch by batch."""
    activity = partial(batches.activity, bench.netlist)
    each = [activity(batch=i) for i in range(len(batches.vectors))]
    return bench.power.energies([activity(), activity(glitches=False), *each])


def per_mac(
    energies: Energies, library: Library, clock_ps: float, vdd_v: float, lanes: int
) -> dict[str, Any]:
    """Energies in fJ per useful MAC."""
    parts = energies.parts_fj(clock_ps, LAW.energy_ratio(vdd_v, library.vdd_v) / lanes)
    whole, settled, *each = np.sum(list(parts.values()), axis=0).tolist()
    return {
        "energy_fj": whole,
        **{f"{name}_fj": float(values[0]) for name, values in parts.items()},
        "glitch_fj": whole - settled,
        "ci95_fj": half_width(each),
    }


def rounded(**row: Any) -> dict[str, Any]:
    """A row whose numbers have four decimals, far below what is known; its parts still add up."""
    found = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
    parts = ("switching_fj", "internal_fj", "clock_fj", "leakage_fj")
    return found | {"energy_fj": round(sum(found[name] for name in parts), 4)}


def half_width(values: list[float]) -> float:
    """Half of the 95 % confidence interval of the mean of independent batches.

    Student's t from the normal quantile (Abramowitz and Stegun 26.7.5, good to 1e-3 from 9 degrees
    of freedom on).
    """
    n = len(values) - 1
    z = statistics.NormalDist().inv_cdf(0.975)
    t = z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    return t * statistics.stdev(values) / math.sqrt(len(values))


def key(point: Point, synthesis: Synthesis, settings: Settings) -> str:
    """Everything that a point's rows depend on."""
    file = settings.files.get(point.stimulus)
    content = [
        VERSION,
        asdict(point),
        operands_of(file).sha256 if file else "",
        synthesis.netlist_sha256,
        synthesis.library_sha256,
        settings.vectors,
        settings.seed,
        settings.clock_ps,
        settings.lowest_v,
        LAW.describe(),
        asdict(settings.conditions),
        (STEP_PS, REJECT, WARMUP, CYCLES, BATCHES),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]

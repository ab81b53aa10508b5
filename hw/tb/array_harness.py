"""Test systolic arrays: `python -m hw.tb.array_harness --build build/sim`.

Every array is simulated by Verilator under cocotb (hw.tb.systolic_array_tb): products back to back
in every class of modes, under every stall pattern on every stream, against NumPy's; `--netlists`
tests gate netlists in the same way. Exit status: 0 all passed and all coverage full, 1 an array is
wrong or a bin empty, 2 bad input or a missing tool.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from hw.command import aside, print_json
from hw.plan import Plan
from hw.rtl.spec import ArraySpec
from hw.rtl.verilog import write
from hw.tb import coverage, forecast, simulator
from hw.tb.array_wrapper import array_bench
from hw.tb.coverage import Summary
from hw.tb.designs import (
    JOBS,
    Design,
    Outcome,
    add_netlists,
    bench_command,
    bench_parser,
    netlist,
    status_of,
    waiting,
)
from hw.tb.streams import Files

MODULE = "hw.tb.systolic_array_tb"


def default_arrays() -> list[ArraySpec]:
    """Every scheme, from one element to 8 x 8, with unequal widths and lanes of two bits."""
    return [
        ArraySpec(rows=1, columns=1, depth=4),
        ArraySpec(rows=2, columns=3, w_width=5, a_width=3, k_max=100, depth=5),
        ArraySpec(scheme="dg", rows=2, columns=3, depth=8),
        ArraySpec(scheme="dvafs", rows=4, columns=4, depth=8),
        ArraySpec(scheme="dvafs_st", rows=4, columns=4, w_width=8, a_width=8, min_lane=2, depth=8),
        ArraySpec(scheme="dvafs", rows=8, columns=8, w_width=8, a_width=8, min_lane=2, depth=16),
    ]


@dataclass(frozen=True, kw_only=True)
class ArrayOutcome(Outcome):
    """What testing an array gave."""

    products: int = 0
    tiles: int = 0
    macs: int = 0
    cycles: int = 0
    exact: int = 0
    simulation_s: float = 0.0


def find_arrays(folder: Path, netlists: Path | None = None) -> list[Design[ArraySpec]]:
    """The arrays whose specs stand in `folder`; with `netlists` the circuits are taken there."""
    found = []
    for path in sorted(folder.glob("*.array.json")):
        try:
            spec = ArraySpec(**json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
            raise ValueError(f"{path} is not the spec of an array ({error}).") from None
        verilog = (folder / f"{spec.name}.v",)
        sources = netlist(netlists, spec.name) if netlists else verilog
        found.append(Design(spec=spec, sources=sources))
    if not found:
        raise ValueError(
            f"{folder} holds no array; write one with python -m hw.rtl.verilog --rows 2 "
            f"--columns 2 --out {folder}."
        )
    if missing := [path for array in found for path in array.sources if not path.exists()]:
        raise ValueError(f"{missing[0]} is missing beside its spec.")
    return found


def simulate(
    place: Path, index: int, array: Design[ArraySpec], seed: int, waves: bool
) -> ArrayOutcome:
    """Simulate array number `index` of the build in `place`."""
    name = array.spec.name
    task = {"spec": asdict(array.spec), "design": index, "seed": seed}
    told = simulator.simulate(place, Files(place / name), task, MODULE, waves)
    crosses = tuple(Summary(**summary) for summary in told.pop("coverage", ()))
    return ArrayOutcome(name=name, coverage=crosses, **told)


def run(
    arrays: Sequence[Design[ArraySpec]], build: Path, seed: int, waves: bool = False
) -> list[ArrayOutcome]:
    """Build and test the arrays, two at a time."""
    sources = list(dict.fromkeys(path for array in arrays for path in array.sources))
    with waiting(f"building a simulator of {len(arrays)} arrays"):
        place = simulator.build(array_bench([a.spec for a in arrays]), sources, build, waves)
    with ThreadPoolExecutor(JOBS) as pool:
        tasks = [
            pool.submit(simulate, place, n, array, seed, waves) for n, array in enumerate(arrays)
        ]
        outcomes = []
        for task in tasks:
            began = time.perf_counter()
            outcomes.append(task.result())
            seconds = time.perf_counter() - began
            print(f"{outcomes[-1].name}: {outcomes[-1].verdict}, {seconds:.1f} s", flush=True)
    return outcomes


def table(outcomes: Sequence[ArrayOutcome]) -> str:
    """Outcomes as aligned text."""
    lines = [
        f"{'array':<28}{'products':>9}{'tiles':>7}{'cycles':>8}{'exact':>7}{'MACs':>9}"
        f"{'cycles/s':>10}{'MACs/s':>10}  result"
    ]
    for o in outcomes:
        seconds = o.simulation_s or float("inf")
        lines.append(
            f"{o.name:<28}{o.products:>9}{o.tiles:>7}{o.cycles:>8}{o.exact:>7}{o.macs:>9}"
            f"{o.cycles / seconds:>10.0f}{o.macs / seconds:>10.0f}  {o.verdict}"
        )
    summaries = {o.name: o.coverage for o in outcomes if o.coverage}
    return "\n".join([*lines, coverage.table(summaries)] if summaries else lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = bench_parser("python -m hw.tb.array_harness", __doc__, "the random products")
    parser.add_argument("--arrays", type=Path, help="folder of arrays (default: written anew)")
    add_netlists(parser)
    parser.add_plan()
    args = parser.parse_args(arguments)
    if args.seed < 0:
        raise ValueError("--seed must be at least 0.")
    if args.netlists and not args.arrays:
        raise ValueError("--netlists needs --arrays, the folder of the arrays' specs.")
    return args


def written(build: Path) -> Path:
    """The folder of the default arrays, written there."""
    for spec in default_arrays():
        write(spec, build / "arrays")
    return build / "arrays"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    return bench_command(lambda: _main(parse(arguments)))


def planned(args: argparse.Namespace) -> Plan:
    """What the options ask for; without a folder the default arrays."""
    if args.arrays:
        specs = [array.spec for array in find_arrays(args.arrays, args.netlists)]
    else:
        specs = default_arrays()
    return forecast.array_plan(specs, args.build, JOBS)


def _main(args: argparse.Namespace) -> int:
    if args.plan:
        planned(args).give(as_json=args.json)
        return 0
    simulator.prepare()
    arrays = find_arrays(args.arrays or written(args.build), args.netlists)
    kind = "netlists" if args.netlists else "RTL"
    with aside(as_json=args.json):
        with simulator.locked(args.build):
            outcomes = run(arrays, args.build, args.seed, args.waves)
        print(table(outcomes))
        print(f"{kind}, seed {args.seed}")
    status = status_of(outcomes)
    if args.json:
        rows = [asdict(outcome) for outcome in outcomes]
        print_json({"circuits": kind, "seed": args.seed, "passed": not status, "arrays": rows})
    return status


if __name__ == "__main__":
    sys.exit(main())

"""Test systolic arrays: `python -m hw.tb.array_harness --build build/sim`.

Every array is simulated by Verilator under cocotb (hw.tb.systolic_array_tb): products back to back
in every class of modes, under every stall pattern on every stream, against NumPy's; `--netlists`
tests gate netlists in the same way. Exit status: 0 all passed and all coverage full, 1 an array is
wrong or a bin empty, 2 bad input or a missing tool.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hw.command import aside, print_json
from hw.plan import Plan
from hw.rtl.spec import ArraySpec
from hw.rtl.verilog import read_specs, write
from hw.tb import coverage, forecast, simulator
from hw.tb.array_wrapper import array_bench
from hw.tb.designs import (
    JOBS,
    Design,
    Outcome,
    add_netlists,
    bench_command,
    bench_parser,
    build,
    passed_of,
    run_all,
    status_of,
    with_sources,
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
    """The arrays whose specs stand in `folder`; with `netlists` the circuits are taken from there.

    Raises ValueError where there is none, or a file of one is missing.
    """
    specs = read_specs(folder, ArraySpec)
    if not specs:
        raise ValueError(
            f"{folder} holds no array; write one with python -m hw.rtl.verilog --rows 2 "
            f"--columns 2 --out {folder}."
        )
    return with_sources(specs, folder, netlists)


def check(
    place: Path, index: int, array: Design[ArraySpec], seed: int, waves: bool
) -> ArrayOutcome:
    """Run the bench of array number `index` of the build in `place`."""
    began, name = time.perf_counter(), array.spec.name
    task = {"spec": asdict(array.spec), "design": index, "seed": seed}
    told = simulator.simulate(place, Files(place / name), task, MODULE, waves)
    return ArrayOutcome.of(name, told, time.perf_counter() - began)


def run(
    arrays: Sequence[Design[ArraySpec]], place: Path, seed: int, waves: bool = False
) -> list[ArrayOutcome]:
    """Build the arrays' simulator under `place` and test them; prints a line as each ends."""
    with simulator.locked(place):
        built = build(array_bench([a.spec for a in arrays]), arrays, place, "array", waves)
        return run_all(len(arrays), lambda n: check(built, n, arrays[n], seed, waves))


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
    parser.add_argument(
        "--arrays", type=Path, metavar="DIR",
        help="Verilog and specs of arrays, as hw.rtl.verilog writes them (six of its own choice)",
    )  # fmt: skip
    add_netlists(parser)
    parser.add_plan()
    args = parser.parse_args(arguments)
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
        outcomes = run(arrays, args.build, args.seed, args.waves)
        print(table(outcomes))
        print(f"{kind}, seed {args.seed}: {passed_of(outcomes, 'array')}")
    status = status_of(outcomes)
    if args.json:
        rows = [asdict(outcome) for outcome in outcomes]
        print_json({"circuits": kind, "seed": args.seed, "passed": not status, "arrays": rows})
    return status


if __name__ == "__main__":
    sys.exit(main())

"""Test the MACs of a folder of Verilog: `python -m hw.tb.harness --build build/sim`.

Every MAC is simulated by Verilator under cocotb in every mode (hw.tb.mac_tb) and held against its
golden model; `--netlists build/synth` tests the gate netlists that `flows.synth` made of them, by
the very same bench. Exit status: 0 all passed and all coverage full, 1 not so, 2 bad input or a
missing tool.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hw.command import aside, print_json, whole
from hw.plan import Plan
from hw.rtl.spec import SCHEMES, MacSpec
from hw.rtl.verilog import read_specs
from hw.tb import coverage, forecast, simulator
from hw.tb.designs import (
    JOBS,
    Design,
    Outcome,
    add_netlists,
    bench_command,
    bench_parser,
    build,
    netlist,
    passed_of,
    run_all,
    status_of,
    with_sources,
)
from hw.tb.drivers import Files
from hw.tb.wrapper import bench

__all__ = ["Design", "Outcome", "find_designs", "main", "netlist", "run", "run_mutants"]
"""What `flows` may use, which imports no other bench."""

MOST_VECTORS = 1_000_000
"""Random pairs of a mode at most, which are in memory together."""

MAC_BENCH = "hw.tb.mac_tb"
MUTANTS_BENCH = "hw.tb.mutation_tb"


@dataclass(frozen=True, kw_only=True)
class MacOutcome(Outcome):
    """What testing a MAC gave."""

    modes: int = 0
    vectors: int = 0
    vectors_per_s: float = 0.0


def find_designs(
    rtl: Path, schemes: Sequence[str], netlists: Path | None = None
) -> list[Design[MacSpec]]:
    """The designs of `schemes` in `rtl`; with `netlists` the circuits are taken from there.

    Raises ValueError where there is none, or a file of one is missing.
    """
    specs = [spec for spec in read_specs(rtl, MacSpec) if spec.scheme in schemes]
    if not specs:
        raise ValueError(
            f"{rtl} holds no MAC of the schemes {', '.join(schemes)}; write them with "
            f"python -m hw.rtl.verilog --all --out {rtl}."
        )
    specs.sort(key=lambda spec: (SCHEMES.index(spec.scheme), spec.w_width))
    return with_sources(specs, rtl, netlists)


def simulate(
    place: Path,
    index: int,
    design: Design[MacSpec],
    *,
    vectors: int,
    seed: int,
    waves: bool = False,
    module: str = MAC_BENCH,
    task: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Simulate design number `index` of the build in `place`; returns what its tests tell.

    `module` holds the cocotb tests; `task` adds to what they are told.
    """
    told = {"spec": asdict(design.spec), "design": index, "vectors": vectors, "seed": seed}
    told |= task or {}
    files = Files(place / told.get("name", design.spec.name))
    return simulator.simulate(place, files, told, module, waves)


def check(place: Path, index: int, design: Design[MacSpec], **options: Any) -> MacOutcome:
    """Run a design's bench; `options` are those of `simulate`."""
    began = time.perf_counter()
    told = simulate(place, index, design, **options)
    if simulation_s := told.pop("simulation_s", 0.0):
        told["vectors_per_s"] = told["vectors"] / simulation_s
    return MacOutcome.of(design.spec.name, told, time.perf_counter() - began)


def run(
    designs: Sequence[Design[MacSpec]], place: Path, *, vectors: int, seed: int, waves: bool = False
) -> list[MacOutcome]:
    """Build the designs' simulator under `place` and test them; prints a line as each ends."""
    with simulator.locked(place):
        built = build_simulator(designs, place, waves)
        return run_all(
            len(designs),
            lambda n: check(built, n, designs[n], vectors=vectors, seed=seed, waves=waves),
        )


def run_mutants(
    design: Design[MacSpec], mutants: Sequence[int], place: Path, *, vectors: int, seed: int
) -> dict[int, str]:
    """Run hw.tb.mutation_tb on the mutants that `design` holds, by its port `mutant`.

    Returns every mutant's first mismatch, a sentence, empty where it survives. Raises ValueError
    where the circuit without a mutation fails.
    """
    simulator.prepare()
    found: dict[int, str] = {}
    with simulator.locked(place), ThreadPoolExecutor(JOBS) as pool:
        built = build_simulator([design], place, mutant_bits=max(mutants).bit_length())
        name = f"{design.spec.name}-mutants"
        tasks = [
            pool.submit(
                simulate, built, 0, design, vectors=vectors, seed=seed, module=MUTANTS_BENCH,
                task={"name": f"{name}-{n}", "mutants": list(mutants[n::JOBS])},
            )
            for n in range(JOBS)
        ]  # fmt: skip
        for told in [task.result() for task in tasks]:
            if told["error"]:
                raise ValueError(told["error"])
            found |= {int(number): text for number, text in told["found"].items()}
    return found


def build_simulator(
    designs: Sequence[Design[MacSpec]], place: Path, waves: bool = False, mutant_bits: int = 0
) -> Path:
    """One simulator of all the designs; returns its folder."""
    return build(bench([d.spec for d in designs], waves, mutant_bits), designs, place, "MAC", waves)


def table(outcomes: Sequence[MacOutcome]) -> str:
    """Outcomes as aligned text; vectors a second are of the simulator's processor time."""
    lines = [f"{'design':<26}{'modes':>6}{'vectors':>10}{'vectors/s':>11}  result"]
    for o in outcomes:
        rate = f"{o.vectors_per_s:>11.0f}"
        lines.append(f"{o.name:<26}{o.modes:>6}{o.vectors:>10}{rate}  {o.verdict}")
    modes, vectors = sum(o.modes for o in outcomes), sum(o.vectors for o in outcomes)
    lines.append(f"{'all':<26}{modes:>6}{vectors:>10}")
    summaries = {o.name: o.coverage for o in outcomes if o.coverage}
    return "\n".join([*lines, coverage.table(summaries)] if summaries else lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = bench_parser("python -m hw.tb.harness", __doc__, "the random operands")
    parser.add_argument(
        "--rtl", type=Path, default=Path("build/rtl"), metavar="DIR",
        help="Verilog and specs, as hw.rtl.verilog writes them (build/rtl)",
    )  # fmt: skip
    add_netlists(parser)
    parser.add_argument(
        "--schemes", nargs="+", choices=SCHEMES, default=SCHEMES, metavar="SCHEME",
        help=f"{', '.join(SCHEMES)} (all)",
    )  # fmt: skip
    parser.add_argument(
        "--vectors", type=whole(1, MOST_VECTORS), default=100_000, metavar="N",
        help="random pairs in a mode of equal bits that is too wide for all pairs, and a hundred "
        "times fewer in any other (100000)",
    )  # fmt: skip
    parser.add_plan()
    return parser.parse_args(arguments)


def planned(args: argparse.Namespace) -> Plan:
    """What the options ask for."""
    specs = [design.spec for design in find_designs(args.rtl, args.schemes, args.netlists)]
    return forecast.plan(specs, args.build, args.vectors, JOBS)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    return bench_command(lambda: _main(parse(arguments)))


def _main(args: argparse.Namespace) -> int:
    if args.plan:
        planned(args).give(as_json=args.json)
        return 0
    began = time.perf_counter()
    simulator.prepare()
    with aside(as_json=args.json):
        outcomes = run(
            find_designs(args.rtl, args.schemes, args.netlists), args.build,
            vectors=args.vectors, seed=args.seed, waves=args.waves,
        )  # fmt: skip
    seconds = time.perf_counter() - began
    kind = "netlists" if args.netlists else "RTL"
    if args.json:
        rows = [asdict(outcome) | {"passed": not outcome.errors} for outcome in outcomes]
        print_json({"circuits": kind, "seed": args.seed, "seconds": seconds, "designs": rows})
    else:
        print(table(outcomes))
        print(f"{kind}, seed {args.seed}: {passed_of(outcomes, 'MAC')} in {seconds:.0f} s")
    return status_of(outcomes)


if __name__ == "__main__":
    sys.exit(main())

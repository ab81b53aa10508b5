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
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hw.command import aside, print_json
from hw.plan import Plan
from hw.rtl.spec import SCHEMES, MacSpec
from hw.rtl.verilog import default_specs, read_spec, write
from hw.tb import coverage, forecast, simulator
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
from hw.tb.drivers import Files
from hw.tb.wrapper import bench

__all__ = ["Design", "Outcome", "find_designs", "main", "netlist", "run", "run_mutants"]
"""What `flows` may use, which imports no other bench."""

MAC_BENCH = "hw.tb.mac_tb"
MUTANTS_BENCH = "hw.tb.mutation_tb"


@dataclass(frozen=True, kw_only=True)
class MacOutcome(Outcome):
    """What testing a MAC gave."""

    modes: int = 0
    vectors: int = 0
    vectors_per_s: float = 0.0
    seconds: float = 0.0


def find_designs(
    rtl: Path, schemes: Sequence[str], netlists: Path | None = None
) -> list[Design[MacSpec]]:
    """The designs of `schemes` in `rtl`; the default MACs are written there if it is missing.

    With `netlists` their specs are taken from `rtl` and the circuits from there. Raises ValueError
    where there is none.
    """
    if not rtl.exists():
        for spec in default_specs():
            write(spec, rtl)
    specs = [read_spec(path) for path in rtl.glob("*.spec.json")]
    designs = [
        Design(spec=s, sources=netlist(netlists, s.name) if netlists else (rtl / f"{s.name}.v",))
        for s in specs
        if s.scheme in schemes
    ]
    if not designs:
        raise ValueError(
            f"{rtl} holds no MAC of the schemes {', '.join(schemes)}; write them with "
            f"python -m hw.rtl.verilog --all --out {rtl}."
        )
    return sorted(designs, key=lambda d: (SCHEMES.index(d.spec.scheme), d.spec.w_width))


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
    seconds = time.perf_counter() - began
    simulation_s = told.pop("simulation_s", None)
    rate = told["vectors"] / simulation_s if simulation_s else 0.0
    summaries = tuple(Summary(**summary) for summary in told.pop("coverage", ()))
    return MacOutcome(
        name=design.spec.name, vectors_per_s=rate, seconds=seconds, coverage=summaries, **told
    )


def run(
    designs: Sequence[Design[MacSpec]], build: Path, *, vectors: int, seed: int, waves: bool = False
) -> list[MacOutcome]:
    """Build and test the designs, two at a time; prints a line as each ends."""
    with simulator.locked(build), ThreadPoolExecutor(JOBS) as pool:
        place = build_simulator(designs, build, waves)
        tasks = [
            pool.submit(check, place, n, d, vectors=vectors, seed=seed, waves=waves)
            for n, d in enumerate(designs)
        ]
        outcomes = {}
        for task in as_completed(tasks):
            outcome = task.result()
            outcomes[outcome.name] = outcome
            print(f"{outcome.name}: {outcome.verdict}, {outcome.vectors} vectors, "
                  f"{outcome.seconds:.1f} s", flush=True)  # fmt: skip
    return [outcomes[design.spec.name] for design in designs]


def run_mutants(
    design: Design[MacSpec], mutants: Sequence[int], build: Path, *, vectors: int, seed: int
) -> dict[int, str]:
    """Run hw.tb.mutation_tb on the mutants that `design` holds, by its port `mutant`.

    Returns every mutant's first mismatch, a sentence, empty where it survives. Raises ValueError
    where the circuit without a mutation fails.
    """
    simulator.prepare()
    found: dict[int, str] = {}
    with simulator.locked(build), ThreadPoolExecutor(JOBS) as pool:
        place = build_simulator([design], build, mutant_bits=max(mutants).bit_length())
        name = f"{design.spec.name}-mutants"
        tasks = [
            pool.submit(
                simulate, place, 0, design, vectors=vectors, seed=seed, module=MUTANTS_BENCH,
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
    designs: Sequence[Design[MacSpec]], build: Path, waves: bool = False, mutant_bits: int = 0
) -> Path:
    """One simulator of all the designs; returns its folder."""
    top = bench([design.spec for design in designs], waves, mutant_bits)
    sources = list(dict.fromkeys(path for design in designs for path in design.sources))
    with waiting(f"building a simulator of {len(designs)} MACs"):
        return simulator.build(top, sources, build, waves)


def table(outcomes: Sequence[MacOutcome], seconds: float) -> str:
    """Outcomes as aligned text.

    Vectors a second are those of the simulator's processor time; in the last line, of everything.
    """
    lines = [f"{'design':<26}{'modes':>6}{'vectors':>10}{'vectors/s':>11}  result"]
    for o in outcomes:
        rate = f"{o.vectors_per_s:>11.0f}"
        lines.append(f"{o.name:<26}{o.modes:>6}{o.vectors:>10}{rate}  {o.verdict}")
    modes, vectors = sum(o.modes for o in outcomes), sum(o.vectors for o in outcomes)
    lines.append(f"{'all':<26}{modes:>6}{vectors:>10}{vectors / seconds:>11.0f}")
    summaries = {o.name: o.coverage for o in outcomes if o.coverage}
    return "\n".join([*lines, coverage.table(summaries)] if summaries else lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = bench_parser("python -m hw.tb.harness", __doc__, "the random operands")
    parser.add_argument("--rtl", type=Path, default=Path("build/rtl"), help="Verilog (build/rtl)")
    add_netlists(parser)
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), help=", ".join(SCHEMES))
    parser.add_argument(
        "--vectors", type=int, default=100_000,
        help="random pairs in a mode of equal bits that is too wide for all pairs, and a hundred "
        "times fewer in any other (100000)",
    )  # fmt: skip
    parser.add_plan()
    args = parser.parse_args(arguments)
    if unknown := [s for s in args.schemes if s not in SCHEMES]:
        raise ValueError(f"unknown scheme {unknown[0]!r}; choose from {', '.join(SCHEMES)}.")
    if args.vectors < 1 or args.seed < 0:
        raise ValueError("--vectors must be at least 1 and --seed at least 0.")
    return args


def planned(args: argparse.Namespace) -> Plan:
    """What the options ask for; specs that are not written yet are the default ones."""
    if args.rtl.exists():
        specs = [design.spec for design in find_designs(args.rtl, args.schemes, args.netlists)]
    else:
        specs = [spec for spec in default_specs() if spec.scheme in args.schemes]
    return forecast.plan(specs, args.build, args.vectors, args.seed, JOBS)


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
        print(table(outcomes, seconds))
        print(f"{kind}, seed {args.seed}, {seconds:.0f} s in all")
    return status_of(outcomes)


if __name__ == "__main__":
    sys.exit(main())

"""Test systolic arrays: `python -m hw.tb.array_harness --build build/sim`.

Every array is simulated by Verilator under cocotb (hw.tb.systolic_array_tb): products back to back
in every class of modes, under every stall pattern on every stream, against NumPy's; `--netlists`
tests gate netlists in the same way. Exit status: 0 all passed and all coverage full, 1 an array is
wrong or a bin empty, 2 bad input or a missing tool.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hw.command import Parser, aside, os_sentence, print_json
from hw.rtl.spec import ArraySpec
from hw.rtl.verilog import write
from hw.tb import simulator
from hw.tb.array_wrapper import array_bench
from hw.tb.coverage import Cross
from hw.tb.harness import JOBS, netlist, waiting
from hw.tb.products import crosses
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
class Array:
    """An array to test: its spec and the Verilog that claims to be it."""

    spec: ArraySpec
    sources: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class ArrayOutcome:
    """What testing an array gave; `error` is empty where every sum was right."""

    name: str
    products: int = 0
    tiles: int = 0
    macs: int = 0
    cycles: int = 0
    exact: int = 0
    simulation_s: float = 0.0
    coverage: dict[str, list[list[str | int]]] = field(default_factory=dict)
    error: str = ""


def find_arrays(folder: Path, netlists: Path | None = None) -> list[Array]:
    """The arrays whose specs stand in `folder`; with `netlists` the circuits are taken there."""
    found = []
    for path in sorted(folder.glob("*.array.json")):
        try:
            spec = ArraySpec(**json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
            raise ValueError(f"{path} is not the spec of an array ({error}).") from None
        verilog = (folder / f"{spec.name}.v",)
        sources = netlist(netlists, spec.name) if netlists else verilog
        found.append(Array(spec=spec, sources=sources))
    if not found:
        raise ValueError(
            f"{folder} holds no array; write one with python -m hw.rtl.verilog --rows 2 "
            f"--columns 2 --out {folder}."
        )
    if missing := [path for array in found for path in array.sources if not path.exists()]:
        raise ValueError(f"{missing[0]} is missing beside its spec.")
    return found


def simulate(place: Path, index: int, array: Array, seed: int, waves: bool) -> ArrayOutcome:
    """Simulate array number `index` of the build in `place`."""
    name = array.spec.name
    task = {"spec": asdict(array.spec), "design": index, "seed": seed}
    told = simulator.simulate(place, Files(place / name), task, MODULE, waves)
    return ArrayOutcome(name=name, **told)


def run(arrays: Sequence[Array], build: Path, seed: int, waves: bool = False) -> list[ArrayOutcome]:
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
            result = "FAILED" if outcomes[-1].error else "passed"
            print(f"{outcomes[-1].name}: {result}, {time.perf_counter() - began:.1f} s", flush=True)
    return outcomes


def coverage(arrays: Sequence[Array], outcomes: Sequence[ArrayOutcome]) -> list[Cross]:
    """The crosses of all arrays with what was seen."""
    found = []
    for array, outcome in zip(arrays, outcomes, strict=True):
        for cross in crosses(array.spec):
            cross.add(outcome.coverage.get(cross.name, []))
            found.append(cross)
    return found


def table(outcomes: Sequence[ArrayOutcome]) -> str:
    """Outcomes as aligned text."""
    lines = [
        f"{'array':<28}{'products':>9}{'tiles':>7}{'cycles':>8}{'exact':>7}{'MACs':>9}"
        f"{'cycles/s':>10}{'MACs/s':>10}  result"
    ]
    for o in outcomes:
        seconds = o.simulation_s or float("inf")
        result = "FAILED" if o.error else "passed"
        lines.append(
            f"{o.name:<28}{o.products:>9}{o.tiles:>7}{o.cycles:>8}{o.exact:>7}{o.macs:>9}"
            f"{o.cycles / seconds:>10.0f}{o.macs / seconds:>10.0f}  {result}"
        )
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = Parser("python -m hw.tb.array_harness", __doc__)
    parser.add_argument("--arrays", type=Path, help="folder of arrays (default: written anew)")
    parser.add_argument(
        "--netlists", type=Path, metavar="DIR", help="test the netlists that flows.synth wrote here"
    )
    parser.add_argument("--build", type=Path, default=Path("build/sim"), help="builds (build/sim)")
    parser.add_argument("--seed", type=int, default=1, help="of the random products (1)")
    parser.add_argument("--waves", action="store_true", help="keep a dump of every array")
    parser.add_json()
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
    try:
        args = parse(arguments)
        simulator.prepare()
        arrays = find_arrays(args.arrays or written(args.build), args.netlists)
        with simulator.locked(args.build), aside(as_json=args.json):
            outcomes = run(arrays, args.build, args.seed, args.waves)
    except OSError as error:
        print(f"error: {os_sentence(error)}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        os._exit(130)  # without waiting for the simulators, which the same key has ended
    kind = "netlists" if args.netlists else "RTL"
    with aside(as_json=args.json):
        print(table(outcomes))
        print(f"{kind}, seed {args.seed}")
        status = report(coverage(arrays, outcomes), outcomes)
    if args.json:
        rows = [asdict(outcome) for outcome in outcomes]
        print_json({"circuits": kind, "seed": args.seed, "passed": not status, "arrays": rows})
    return status


def report(found: Sequence[Cross], outcomes: Sequence[ArrayOutcome]) -> int:
    """Print coverage and errors; returns the exit status."""
    print("coverage, products in each class of modes x signedness x switch x stall pattern:")
    for cross in found:
        print(f"  {cross.line()}")
    for outcome in outcomes:
        if outcome.error:
            print(f"error: {outcome.error}", file=sys.stderr)
    empty = [(cross.name, bins) for cross in found for bins in cross.missing()]
    if empty and not any(outcome.error for outcome in outcomes):
        name, bins = empty[0]
        print(f"error: {len(empty)} bins are empty, {name}: {', '.join(bins)}.", file=sys.stderr)
    return 1 if empty or any(outcome.error for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

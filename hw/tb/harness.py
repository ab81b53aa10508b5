"""Test the MACs of a folder of Verilog: `python -m hw.tb.harness --build build/sim`.

Every MAC is simulated by Verilator under cocotb in every mode (hw.tb.mac_tb) and held against its
golden model. Exit status: 0 all passed, 1 a MAC is wrong, 2 bad input or a missing tool.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

from hw.rtl.spec import SCHEMES, MacSpec
from hw.rtl.verilog import default_specs, read_spec, write
from hw.tb import simulator
from hw.tb.drivers import Files
from hw.tb.wrapper import bench

JOBS = 2


@dataclass(frozen=True, kw_only=True)
class Design:
    """A MAC to test: its spec and the Verilog that claims to be it."""

    spec: MacSpec
    verilog: Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What testing a design gave; `error` is empty where every accumulator was right."""

    name: str
    modes: int = 0
    vectors: int = 0
    vectors_per_s: float = 0.0
    seconds: float = 0.0
    error: str = ""


def find_designs(rtl: Path, schemes: Sequence[str]) -> list[Design]:
    """The designs of `schemes` in `rtl`; the default MACs are written there if it is missing."""
    if not rtl.exists():
        for spec in default_specs():
            write(spec, rtl)
    found = [
        Design(spec=read_spec(path), verilog=path.with_name(path.name.replace(".spec.json", ".v")))
        for path in rtl.glob("*.spec.json")
    ]
    designs = [design for design in found if design.spec.scheme in schemes]
    if not designs:
        raise ValueError(
            f"{rtl} holds no MAC of the schemes {', '.join(schemes)}; write them with "
            f"python -m hw.rtl.verilog --all --out {rtl}."
        )
    return sorted(designs, key=lambda d: (SCHEMES.index(d.spec.scheme), d.spec.w_width))


def simulate(
    place: Path, index: int, design: Design, *, vectors: int, seed: int, waves: bool = False
) -> Outcome:
    """Simulate design number `index` of the build in `place`."""
    folder = place / design.spec.name
    folder.mkdir(exist_ok=True)
    (folder / "outcome.json").unlink(missing_ok=True)
    task = {"spec": asdict(design.spec), "design": index, "folder": str(folder)}
    env = {"BENCH": json.dumps(task | {"vectors": vectors, "seed": seed})}
    began = time.perf_counter()
    simulator.simulate(place, folder, Files(folder).plusargs(), env, waves)
    seconds = time.perf_counter() - began
    try:
        told = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    except OSError:
        told = {"error": f"the simulation ended early; see {folder / 'sim.log'}."}
    simulation_s = told.pop("simulation_s", None)
    rate = told["vectors"] / simulation_s if simulation_s else 0.0
    if not told.get("error"):
        for file in (Files(folder).stimulus, Files(folder).result):
            file.unlink(missing_ok=True)
    return Outcome(name=design.spec.name, vectors_per_s=rate, seconds=seconds, **told)


def run(
    designs: Sequence[Design], build: Path, *, vectors: int, seed: int, waves: bool = False
) -> list[Outcome]:
    """Build and test the designs, two at a time; prints a line as each ends."""
    sources = [design.verilog for design in designs]
    with waiting(f"building a simulator of {len(designs)} MACs"):
        place = simulator.build(bench([design.spec for design in designs]), sources, build, waves)
    with ThreadPoolExecutor(JOBS) as pool:
        tasks = [
            pool.submit(simulate, place, n, d, vectors=vectors, seed=seed, waves=waves)
            for n, d in enumerate(designs)
        ]
        outcomes = {}
        for task in as_completed(tasks):
            outcome = task.result()
            outcomes[outcome.name] = outcome
            print(f"{outcome.name}: {'FAILED' if outcome.error else 'passed'}, "
                  f"{outcome.vectors} vectors, {outcome.seconds:.1f} s", flush=True)  # fmt: skip
    return [outcomes[design.spec.name] for design in designs]


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Print the title and, every ten seconds until the block ends, how long it has been."""
    ended, began = Event(), time.monotonic()

    def tick() -> None:
        while not ended.wait(10):
            print(f"{title}: {time.monotonic() - began:.0f} s", flush=True)

    print(title, flush=True)
    ticker = Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        ended.set()
        ticker.join()


def table(outcomes: Sequence[Outcome]) -> str:
    """Outcomes as aligned text."""
    lines = [f"{'design':<20}{'modes':>6}{'vectors':>10}{'vectors/s':>11}  result"]
    for o in outcomes:
        result = "FAILED" if o.error else "passed"
        lines.append(f"{o.name:<20}{o.modes:>6}{o.vectors:>10}{o.vectors_per_s:>11.0f}  {result}")
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m hw.tb.harness", description=__doc__)
    parser.add_argument("--rtl", type=Path, default=Path("build/rtl"), help="Verilog (build/rtl)")
    parser.add_argument("--build", type=Path, default=Path("build/sim"), help="builds (build/sim)")
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), help=", ".join(SCHEMES))
    parser.add_argument("--vectors", type=int, default=1000, help="random pairs a mode (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the random operands (1)")
    parser.add_argument("--waves", action="store_true", help="keep a dump.vcd of every design")
    args = parser.parse_args(arguments)
    if unknown := [s for s in args.schemes if s not in SCHEMES]:
        raise ValueError(f"unknown scheme {unknown[0]!r}; choose from {', '.join(SCHEMES)}.")
    if args.vectors < 1 or args.seed < 0:
        raise ValueError("--vectors must be at least 1 and --seed at least 0.")
    return args


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    try:
        args = parse(arguments)
        simulator.prepare()
        outcomes = run(
            find_designs(args.rtl, args.schemes), args.build,
            vectors=args.vectors, seed=args.seed, waves=args.waves,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        os._exit(130)  # without waiting for the simulators, which the same key has ended
    print(table(outcomes))
    print(f"seed {args.seed}")
    wrong = [outcome for outcome in outcomes if outcome.error]
    for outcome in wrong:
        print(f"error: {outcome.error}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

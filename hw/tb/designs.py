"""What the benches share: designs to test, what came of it, and the ends of their commands."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Generic, Self, TypeVar

from hw.command import INTERRUPTED, Parser, guarded, whole
from hw.rtl.spec import ArraySpec, MacSpec
from hw.tb import simulator
from hw.tb.coverage import Summary

JOBS = 2
"""Simulators at a time."""

Spec = TypeVar("Spec", MacSpec, ArraySpec)


@dataclass(frozen=True, kw_only=True)
class Design(Generic[Spec]):
    """A MAC or an array to test: its spec and the Verilog that claims to be it."""

    spec: Spec
    sources: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What testing a design gave; `error` is empty where every result was right.

    `seconds` are the wall clock's, of the simulation and of preparing and checking it.
    """

    name: str
    coverage: tuple[Summary, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, told: dict[str, Any], seconds: float) -> Self:
        """The outcome of what the bench in the simulator told."""
        coverage = tuple(Summary(**summary) for summary in told.get("coverage", ()))
        return cls(name=name, **told | {"coverage": coverage, "seconds": seconds})

    @property
    def errors(self) -> list[str]:
        """A sentence for the wrong result, or for every cross that is not full."""
        if self.error:
            return [self.error]
        return [summary.sentence(self.name) for summary in self.coverage if not summary.full]

    @property
    def verdict(self) -> str:
        """One word."""
        return "FAILED" if self.errors else "passed"


AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


def netlist(folder: Path, name: str) -> tuple[Path, Path]:
    """The netlist of a design and its cells' models; ValueError where one is missing."""
    path = folder / f"{name}.synth.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        files = folder / f"{name}.netlist.v", folder / f"{report['library']}.cells.v"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise _no_netlist(folder, f"{path} is missing or no report of a synthesis") from None
    for file in files:
        if not file.is_file():
            raise _no_netlist(folder, f"{file} is missing")
    return files


def _no_netlist(folder: Path, what: str) -> ValueError:
    return ValueError(
        f"{what}; make the netlists with python -m flows.synth --rtl build/rtl --out {folder}."
    )


def with_sources(
    specs: Sequence[Spec], folder: Path, netlists: Path | None = None
) -> list[Design[Spec]]:
    """The designs of the specs: their Verilog from `folder`, or with `netlists` gates from there.

    Raises ValueError for a file that is missing.
    """
    if netlists:
        return [Design(spec=spec, sources=netlist(netlists, spec.name)) for spec in specs]
    files = {spec.name: folder / f"{spec.name}.v" for spec in specs}
    for file in files.values():
        if not file.is_file():
            raise ValueError(
                f"{file} is missing beside its spec; write both with python -m hw.rtl.verilog."
            )
    return [Design(spec=spec, sources=(files[spec.name],)) for spec in specs]


def build(
    top: str, designs: Sequence[Design[Spec]], place: Path, kind: str, waves: bool = False
) -> Path:
    """One simulator of `top` and all the designs under `place`; returns its own folder."""
    sources = list(dict.fromkeys(path for design in designs for path in design.sources))
    with waiting(f"building a simulator of {counted(len(designs), kind)}"):
        return simulator.build(top, sources, place, waves)


def run_all(count: int, check: Callable[[int], AnyOutcome]) -> list[AnyOutcome]:
    """What `check` says of designs 0 to `count - 1`, in order; a line is printed as each ends."""
    with ThreadPoolExecutor(JOBS) as pool:
        tasks = [pool.submit(check, number) for number in range(count)]
        for done, task in enumerate(as_completed(tasks), 1):
            outcome = task.result()
            line = f"{done}/{count} {outcome.name}: {outcome.verdict}, {outcome.seconds:.1f} s"
            print(line, flush=True)
    return [task.result() for task in tasks]


def counted(count: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "MAC"), counted(19, "MAC")
    ('1 MAC', '19 MACs')
    """
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


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


def bench_parser(prog: str, description: str | None, drawn: str) -> Parser:
    """The options of every bench; `drawn` says what the seed is of."""
    parser = Parser(prog, description)
    parser.add_argument(
        "--build", type=Path, default=Path("build/sim"), metavar="DIR",
        help="for simulators, which later runs use again (build/sim)",
    )  # fmt: skip
    parser.add_argument("--seed", type=whole(0), default=1, metavar="N", help=f"of {drawn} (1)")
    parser.add_argument("--waves", action="store_true", help="keep a dump of every simulation")
    parser.add_json()
    return parser


def add_netlists(parser: Parser) -> None:
    """The option of a bench that takes gates in place of Verilog."""
    parser.add_argument(
        "--netlists", type=Path, metavar="DIR", help="test the netlists that flows.synth wrote here"
    )


def bench_command(body: Callable[[], int]) -> int:
    """The exit status of `body`; Ctrl-C does not wait for simulators, which it has ended too."""
    status = guarded(body)
    if status == INTERRUPTED:
        os._exit(status)
    return status


def passed_of(outcomes: Sequence[Outcome], kind: str) -> str:
    """How many of the designs passed, in words."""
    passed = sum(not outcome.errors for outcome in outcomes)
    return f"{passed} of {counted(len(outcomes), kind)} passed"


def status_of(outcomes: Sequence[Outcome]) -> int:
    """Print every error; 1 where there is one, else 0."""
    errors = [error for outcome in outcomes for error in outcome.errors]
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0

"""What the benches share: designs to test, what came of it, and the ends of their commands."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Generic, TypeVar

from hw.command import INTERRUPTED, Parser, guarded
from hw.rtl.spec import ArraySpec, MacSpec
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
    """What testing a design gave; `error` is empty where every result was right."""

    name: str
    coverage: tuple[Summary, ...] = ()
    error: str = ""

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


def netlist(folder: Path, name: str) -> tuple[Path, Path]:
    """The netlist of a design and its cells' models; ValueError where one is missing."""
    try:
        report = json.loads((folder / f"{name}.synth.json").read_text(encoding="utf-8"))
        files = folder / f"{name}.netlist.v", folder / f"{report['library']}.cells.v"
    except (OSError, ValueError, KeyError, TypeError):
        files = (folder / f"{name}.synth.json",)
    missing = [file for file in files if not file.exists()]
    if missing or len(files) < 2:
        raise ValueError(
            f"{missing[0] if missing else files[0]} is missing or no report of a synthesis; make "
            f"the netlists with python -m flows.synth --rtl build/rtl --out {folder}."
        )
    return files


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
    parser.add_argument("--build", type=Path, default=Path("build/sim"), help="builds (build/sim)")
    parser.add_argument("--seed", type=int, default=1, help=f"of {drawn} (1)")
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


def status_of(outcomes: Sequence[Outcome]) -> int:
    """Print every error; 1 where there is one, else 0."""
    errors = [error for outcome in outcomes for error in outcome.errors]
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0

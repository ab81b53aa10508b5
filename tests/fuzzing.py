"""What all fuzz tests share: a parser and a good file of its, spoilt again and again.

`nox -s fuzz` spoils each file 10,000 times (QUANOS_FUZZ), the ordinary tests fewer.
"""

import contextlib
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from mutations import STEPS, spoil_bytes, spoil_tree

EXAMPLES = int(os.environ.get("QUANOS_FUZZ", "60"))
SHOW = 1000
CPU_S = 10.0
MEMORY = 1 << 30


class HangError(BaseException):
    """A parser took longer than it may; none can catch this."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most `CPU_S` seconds of processor time, and on Linux `MEMORY` bytes more than now."""

    def stop(*_: object) -> None:
        raise HangError(f"more than {CPU_S} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: to a writer the same as a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@dataclass(frozen=True)
class Case:
    """A parser and a good file of its: bytes, or a tree of JSON that `pack` turns into bytes.

    An error names the file.
    """

    name: str
    good: Any
    read: Callable[[Path], object]
    refuses: type[Exception]
    pack: Callable[[Any], bytes] | None = None

    def spoilt(self, steps: list[Any]) -> bytes:
        """The file after the steps of a mutation."""
        if self.pack is None:
            return spoil_bytes(self.good, steps)
        return self.pack(spoil_tree(self.good, steps))


def outcome(case: Case, path: Path, raw: bytes) -> str:
    """ "read" or "refused"; whatever else the parser does goes on as it is."""
    path.write_bytes(raw)
    error = None
    try:
        with bounded():
            case.read(path)
    except case.refuses as refusal:
        error = refusal
    if error is None:
        return "read"
    said = str(error)
    assert type(error) is case.refuses, f"{type(error).__name__}: {said}"
    assert str(path.parent) in said, said
    assert said.endswith((".", "?")), said
    return "refused"


def spoil_often(case: Case, path: Path) -> None:
    """Every spoilt file is read or refused; the good one is read.

    So that the mutations are worth something, at least a fifth has to be refused.
    """
    whole = case.good if case.pack is None else case.pack(case.good)
    assert outcome(case, path, whole) == "read"
    counts: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize="QUANOS_FUZZ" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def spoil(steps: list[Any]) -> None:
        counts[outcome(case, path, case.spoilt(steps))] += 1
        if (done := counts.total()) % SHOW == 0:
            print(f"{case.name} {done}: {dict(counts)}", file=sys.__stderr__, flush=True)

    spoil()
    assert counts["refused"] > 0.2 * counts.total()

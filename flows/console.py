"""What every command of the flow shares: errors in one sentence, progress, whole files or none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NoReturn, TypeVar

from hw.command import guarded
from hw.command import print_json as print_json
from hw.writing import write_text as write_text
from hw.writing import writing as writing

T = TypeVar("T")


class FlowError(ValueError):
    """Bad input; the text is one sentence: what is wrong, what is allowed, what to do."""


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run a command's body and leave with its status: 2 for bad input, 130 for Ctrl-C."""
    sys.exit(guarded(command, "flows"))


def track(
    items: Iterable[T], title: str, total: int | None = None, label: Callable[[T], str] = str
) -> Iterator[T]:
    """Yield the items with a bar on a terminal's standard error, or a plain line for each."""
    if total is None and isinstance(items, Sequence):
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, title, total)
        return
    for done, item in enumerate(items, 1):
        print(f"{title} {done}/{total or '?'}: {label(item)}", file=sys.stderr, flush=True)
        yield item


def _bar(items: Iterable[T], title: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, description=title, total=total, console=console)

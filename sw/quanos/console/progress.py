"""Progress of long work on standard error: a bar on a terminal, plain lines where it is none."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """`advance` moves the bar of one task; `line` says on one line what has been reached."""

    def __init__(self, label: str, total: int, *, quiet: bool = False) -> None:
        self.label = label
        self.quiet = quiet
        console = Console(stderr=True)
        self._bar: Bar | None = None
        if console.is_terminal and not quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[info]}"),
            )
            self._bar = Bar(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._task = self._bar.add_task(label, total=total, info="")

    def advance(self, amount: int, info: str = "") -> None:
        """Move the bar by `amount` of the total; `info` beside it stays where none is given."""
        if self._bar:
            self._bar.update(self._task, advance=amount)
            if info:
                self._bar.update(self._task, info=info)

    @property
    def live(self) -> bool:
        """Whether there is a bar to show something beside."""
        return self._bar is not None

    def show(self, info: str) -> None:
        """Put `info` beside the bar."""
        if self._bar:
            self._bar.update(self._task, info=info)

    def line(self, text: str) -> None:
        """A line that stays, above the bar where there is one."""
        if self._bar:
            self._bar.console.print(f"{self.label}: {text}", highlight=False)
        elif not self.quiet:
            print(f"{self.label}: {text}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar:
            self._bar.stop()

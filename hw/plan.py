"""What a long command would do and how long it may take, said before it does anything.

A command with `--plan` builds a `Plan`, prints it and ends with status 0; it writes nothing. Times
are estimates of the wall clock, and the plan says what they rest on. Standard library alone, so
that every room may use it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One part of the work; `seconds` is None where nothing tells how long it takes.

    `kept` says that its result is there already and will be used as it is.
    """

    name: str
    work: str = ""
    seconds: float | None = None
    kept: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All steps, the files and folders that will be written, and what the times rest on.

    `workers` steps are done at a time.
    """

    steps: Sequence[Step]
    writes: Sequence[str]
    basis: str
    workers: int = 1

    @property
    def left(self) -> list[Step]:
        """The steps that are not done yet."""
        return [step for step in self.steps if not step.kept]

    @property
    def seconds(self) -> float | None:
        """Estimate for all that is left; None where a part of it is unknown.

        >>> steps = [Step(name=n, seconds=s, kept=s > 8) for n, s in (("a", 2), ("b", 6), ("c", 9))]
        >>> Plan(steps=steps, writes=[], basis="", workers=2).seconds
        6.0
        """
        known = [step.seconds for step in self.left if step.seconds is not None]
        if len(known) < len(self.left):
            return None
        return float(max(sum(known) / self.workers, max(known))) if known else 0.0

    def text(self) -> str:
        """For people: a line per step, what is written, and how long it may take."""
        wide = max((len(step.name) for step in self.steps), default=0)
        lines = [f"  {step.name:{wide}}  {_note(step)}".rstrip() for step in self.steps]
        kept = len(self.steps) - len(self.left)
        head = f"{len(self.left)} to do, {kept} kept" if kept else f"{len(self.left)} to do"
        lines = [f"plan: {head}", *lines]
        if not self.left:
            return "\n".join([*lines, "everything is there: nothing is left to do"])
        lines += [f"writes {place}" for place in self.writes]
        time = "unknown" if self.seconds is None else duration(self.seconds)
        return "\n".join([*lines, f"may take {time}: {self.basis}"])

    def give(self, *, as_json: bool) -> None:
        """Print the plan, as one JSON object where that is asked for."""
        if as_json:
            parts = {"steps": [asdict(step) for step in self.steps], "writes": list(self.writes)}
            rest = {"seconds": self.seconds, "workers": self.workers, "basis": self.basis}
            print(json.dumps({"plan": parts | rest}, allow_nan=False))
        else:
            print(self.text())
        sys.stdout.flush()


def _note(step: Step) -> str:
    if step.kept:
        return f"kept: {step.work}" if step.work else "kept"
    time = "" if step.seconds is None else duration(step.seconds)
    return ", ".join(filter(None, (step.work, time)))


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(0.2), duration(42), duration(600), duration(9000), duration(400000)
    ('less than 1 s', '42 s', '10 min', '2.5 h', '4.6 d')
    """
    if seconds < 1:
        return "less than 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} d"

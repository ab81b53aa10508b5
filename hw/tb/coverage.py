"""Functional coverage: crosses of named bins, which a bench samples and a run must fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product


@dataclass
class Cross:
    """Counts how often each combination of its axes' bins was seen.

    `axes` maps an axis' name to its bins; `impossible` are combinations that cannot be seen.
    """

    name: str
    axes: Mapping[str, Sequence[str]]
    impossible: frozenset[tuple[str, ...]] = frozenset()
    seen: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def bins(self) -> list[tuple[str, ...]]:
        """Every combination that must be seen."""
        return [bins for bins in product(*self.axes.values()) if bins not in self.impossible]

    def sample(self, *bins: str, count: int = 1) -> None:
        """Count a combination; raises ValueError for one that the cross does not have."""
        if len(bins) != len(self.axes) or bins in self.impossible:
            raise ValueError(f"{self.name} has no combination {bins}.")
        for bin_, (axis, known) in zip(bins, self.axes.items(), strict=True):
            if bin_ not in known:
                raise ValueError(f"{self.name}: {axis} has no bin {bin_!r}, only {list(known)}.")
        self.seen[bins] += count

    def missing(self) -> list[tuple[str, ...]]:
        """The combinations not yet seen."""
        return [bins for bins in self.bins() if not self.seen[bins]]

    def counts(self) -> list[list[str | int]]:
        """What was seen, for a JSON file: bins and their count."""
        return [[*bins, count] for bins, count in self.seen.items()]

    def add(self, counts: Iterable[Sequence[str | int]]) -> None:
        """Take in what `counts` gave."""
        for *bins, count in counts:
            self.sample(*map(str, bins), count=int(count))

    def line(self) -> str:
        """One line: the axes' sizes, the bins seen and the least full one."""
        bins = self.bins()
        axes = " x ".join(f"{len(known)} {axis}" for axis, known in self.axes.items())
        full, least = len(bins) - len(self.missing()), min(self.seen[b] for b in bins)
        return f"{self.name}: {axes}: {full} of {len(bins)} seen, each at least {least} times"

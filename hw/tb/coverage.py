"""Functional coverage: crosses of named bins, which a bench samples and a run must fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMED = 5  # missing bins that a summary names


class Cross:
    """Which combinations of the points' bins have been hit; all that can occur are required.

    Bins are sampled by their numbers, arrays of them at once where a cross has a million, or by
    their names.

    >>> stalls = Cross("stalls", {"stream": ["weights", "sums"], "pattern": ["none", "random"]})
    >>> stalls.sample(0, [0, 1])
    >>> stalls.see("sums", "random")
    >>> stalls.summary()
    Summary(name='stalls', bins=4, hit=3, missing=('stream sums, pattern none',))
    """

    def __init__(self, name: str, points: Mapping[str, Sequence[Any]]):
        self.name, self.points = name, {point: list(bins) for point, bins in points.items()}
        shape = tuple(len(bins) for bins in self.points.values())
        self.hit = np.zeros(shape, dtype=bool)
        self.required = np.ones(shape, dtype=bool)

    def sample(self, *bins: int | slice | Sequence[int] | NDArray[np.integer]) -> None:
        """Hit bins by their number in every point; arrays are broadcast against each other."""
        self.hit[bins] = True

    def see(self, *names: Any) -> None:
        """Hit one combination; ValueError for one that the cross does not have."""
        try:
            pairs = zip(self.points.values(), names, strict=True)
            self.sample(*(bins.index(name) for bins, name in pairs))
        except ValueError:
            raise ValueError(f"{self.name} has no combination {names}.") from None

    def exclude(self, *bins: int | slice | Sequence[int] | NDArray[np.integer]) -> None:
        """Require the combinations of these bins no longer: they cannot occur."""
        self.required[bins] = False

    def name_of(self, numbers: Sequence[int]) -> str:
        """A combination in words."""
        pairs = zip(self.points.items(), numbers, strict=True)
        return ", ".join(f"{point} {bins[number]}" for (point, bins), number in pairs)

    def summary(self) -> Summary:
        """Numbers of bins required and hit, and the first missing ones by name."""
        missing = np.argwhere(self.required & ~self.hit)
        bins = int(self.required.sum())
        named = tuple(self.name_of(numbers) for numbers in missing[:NAMED].tolist())
        return Summary(name=self.name, bins=bins, hit=bins - len(missing), missing=named)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a cross came to; `missing` names the first bins that were not hit."""

    name: str
    bins: int
    hit: int
    missing: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether every required bin was hit."""
        return self.hit == self.bins

    def sentence(self, design: str) -> str:
        """What is missing."""
        more = self.bins - self.hit - len(self.missing)
        rest = f" and {more} more" if more else ""
        return (
            f"{design}: coverage of {self.name} is {self.hit} of {self.bins} bins; missing "
            f"({'), ('.join(self.missing)}){rest}."
        )


def table(summaries: Mapping[str, Sequence[Summary]]) -> str:
    """Bins hit of bins required, by design and cross, as aligned text."""
    names = list(dict.fromkeys(s.name for group in summaries.values() for s in group))
    width = max(26, *(len(design) + 2 for design in summaries))
    lines = [f"{'coverage, bins hit of all':<{width}}" + "".join(f"{name:>22}" for name in names)]
    for design, group in summaries.items():
        cells = {s.name: f"{s.hit}/{s.bins}" if s.bins else "-" for s in group}
        lines.append(
            f"{design:<{width}}" + "".join(f"{cells.get(name, '-'):>22}" for name in names)
        )
    return "\n".join(lines)

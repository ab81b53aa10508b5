"""A sweep as a page: its Pareto fronts, every point, and how one policy fares against the others.

Networks are compared in pairs of the same budget and seed, which share all that was drawn by
chance but the bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from quanos.pareto import VALUES, Point, front, over_seeds

REFERENCE = "ans"
VERDICTS = {
    "loses": f"`{REFERENCE}` loses by more than two standard errors",
    "wins": "it wins by more than two standard errors",
    "neither": "no difference is shown",
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The reference's value less another policy's, in points of accuracy, pair by pair."""

    policy: str
    value: str
    differences: Sequence[float]
    energy_ratio: float

    @property
    def mean(self) -> float:
        """Mean difference in points; 0 without pairs."""
        return fmean(self.differences) if self.differences else 0.0

    @property
    def error(self) -> float:
        """Standard error of the mean, in points; infinite below two pairs."""
        count = len(self.differences)
        return stdev(self.differences) / count**0.5 if count > 1 else float("inf")

    @property
    def verdict(self) -> str:
        """A key of `VERDICTS`."""
        if abs(self.mean) <= 2 * self.error:
            return "neither"
        return "wins" if self.mean > 0 else "loses"


def compare(points: Sequence[Point], policy: str, value: str) -> Comparison:
    """`REFERENCE` against `policy` in all pairs of networks that both have `value`."""
    places = {(p.policy, p.budget, p.seed): p for p in points if getattr(p, value) is not None}
    pairs = [
        (one, places[policy, budget, seed])
        for (name, budget, seed), one in places.items()
        if name == REFERENCE and (policy, budget, seed) in places
    ]
    return Comparison(
        policy=policy,
        value=value,
        differences=[100 * (getattr(a, value) - getattr(b, value)) for a, b in pairs],
        energy_ratio=fmean(a.energy_mj / b.energy_mj for a, b in pairs) if pairs else 1.0,
    )


def page(
    points: Sequence[Point], about: Mapping[str, Any], figures: Mapping[str, str], json: str
) -> str:
    """The page in Markdown; `figures` are files by value, `about` what `summary` says besides."""
    return "\n\n".join([*_head(points, about, figures, json), _table(points), *_findings(points)])


def _head(
    points: Sequence[Point], about: Mapping[str, Any], figures: Mapping[str, str], json: str
) -> Iterator[str]:
    yield "# Pareto fronts of the policies"
    yield (
        f"Made by `{about['command']}` at commit `{about['commit']}` with the energy table "
        f"`{about['table_sha256'][:12]}`: {about['model']} on {about['dataset']}, "
        f"{about['epochs']} epochs, seeds {', '.join(map(str, about['seeds']))}. Every network is "
        f"a run of its own; all numbers are in [{json}]({json})."
    )
    operating = " ".join(about["operating_point"].values())
    yield (
        f"Energy is that of all MACs of one image ({operating}), strong is the accuracy that the "
        f"strong protocol leaves at epsilon {points[0].epsilon:.3f}, clean is on all test images. "
        "A point is the mean over seeds, and the dashed front joins what no other point beats; of "
        "a network with masked gradients no robustness is told."
    )
    yield from (f"![{VALUES[value]} against energy]({name})" for value, name in figures.items())


def _table(points: Sequence[Point]) -> str:
    means = over_seeds(points)
    fronts = {value: {one.run for one in front(means, value)} for value in VALUES}
    rows = [
        "| budget | policy | mean bits | uJ an image | clean, % | strong, % | masked |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in sorted(means, key=lambda p: (p.budget, p.energy_mj)):
        own = [p for p in points if (p.policy, p.budget) == (one.policy, one.budget)]
        cells = [_range(own, value, one.run in fronts[value]) for value in VALUES]
        masked = sum(p.robust_accuracy is None for p in own)
        rows.append(
            f"| {one.budget} | {one.policy} | {one.mean_bits:.2f} | {one.energy_mj * 1e3:.3f} | "
            f"{' | '.join(cells)} | {masked} of {len(own)} |"
        )
    return "\n".join(["Bold is on the front; in brackets the least and the most.", "", *rows])


def _range(own: Sequence[Point], value: str, on_front: bool) -> str:
    found = [100 * getattr(p, value) for p in own if getattr(p, value) is not None]
    if len(found) < len(own):
        return "-"
    mark = "**" if on_front else ""
    spread = f" ({min(found):.2f} to {max(found):.2f})" if len(found) > 1 else ""
    return f"{mark}{fmean(found):.2f}{mark}{spread}"


def _findings(points: Sequence[Point]) -> Iterator[str]:
    """What the data says, in a table and in sentences that follow from it."""
    others = [p for p in dict.fromkeys(one.policy for one in points) if p != REFERENCE]
    if len(others) == len({one.policy for one in points}):
        return
    found = [compare(points, policy, value) for policy in others for value in VALUES]
    yield f"## What the data says of `{REFERENCE}`"
    yield (
        f"`{REFERENCE}` less each other policy at the same budget and seed, in points of accuracy, "
        "with the standard error of the mean; its energy over the other's."
    )
    rows = ["| against | accuracy | pairs | won | mean | energy |", "|---|---|---|---|---|---|"]
    rows += [_row(one) for one in found if one.differences]
    yield "\n".join(rows)
    for verdict, says in VERDICTS.items():
        listed = [
            f"{VALUES[one.value]} against `{one.policy}`"
            for one in found
            if one.verdict == verdict and one.differences
        ]
        yield f"- {says}: {', '.join(listed) or 'nothing'}."


def _row(one: Comparison) -> str:
    won = sum(difference > 0 for difference in one.differences)
    error = f" ± {one.error:.2f}" if len(one.differences) > 1 else ""
    return (
        f"| {one.policy} | {VALUES[one.value]} | {len(one.differences)} | {won} | {one.mean:+.2f}"
        f"{error} | {one.energy_ratio:.2f} |"
    )

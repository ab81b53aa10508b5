"""Pareto fronts of trained networks: accuracy, clean and under the strong protocol, against energy.

A network is on a front if no other one costs at most as much and is at least as accurate, one of
the two strictly. Networks whose gate found masked gradients have no place on the robust front. What
differs in the seed alone is one point, the mean: of many seeds the best is luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from quanos.reporting.svg import STYLES, Axis, Series, document
from quanos.results import Column, Run
from quanos.sensing.figures import STYLE


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network, or the mean over seeds; accuracies are shares of 1, energy in mJ of one image.

    `robust_accuracy` is the worst case of the strong protocol at `epsilon`; None where the gate
    says that gradients are masked. `seed` is None for a mean.
    """

    run: str
    policy: str
    budget: str
    seed: int | None
    mean_bits: float
    energy_mj: float
    clean_accuracy: float
    robust_accuracy: float | None
    epsilon: float
    verdict: str


def point(run: Run, column: Column, key: tuple[str, str, str]) -> Point:
    """A column of a finished run at an operating point (scheme, reading, supply).

    Raises ValueError where the run was not priced there, or not attacked by the strong protocol.
    """
    if key not in column.prices or not column.worst_case:
        there = ", ".join(" ".join(price) for price in column.prices)
        raise ValueError(
            f"{run.folder} has no price for {' '.join(key)} or no strong attack; it has {there}."
        )
    worst = column.worst_case[0]
    return Point(
        run=run.folder.name,
        policy=column.policy,
        budget=_budget(run.config),
        seed=run.seed,
        mean_bits=column.mean_bits,
        energy_mj=column.prices[key].energy_mj,
        clean_accuracy=column.clean_accuracy,
        robust_accuracy=None if column.gate.masked else worst.accuracy,
        epsilon=worst.epsilon,
        verdict=column.gate.verdict,
    )


def _budget(config: Mapping[str, Any]) -> str:
    for key, unit in (("mean_bits", "mean bits"), ("energy_mj", "mJ")):
        if config.get(key):
            return f"{config[key]:g} {unit}"
    return "none"


def over_seeds(points: Iterable[Point]) -> list[Point]:
    """The mean of the points of each policy and budget, named `policy, budget`.

    A robust accuracy is the mean of all seeds or, where one is masked, none.
    """
    groups: dict[tuple[str, str], list[Point]] = {}
    for one in points:
        groups.setdefault((one.policy, one.budget), []).append(one)
    return [_mean(group) for group in groups.values()]


def _mean(group: Sequence[Point]) -> Point:
    first = group[0]
    robust = [one.robust_accuracy for one in group if one.robust_accuracy is not None]
    masked = [one.verdict for one in group if one.robust_accuracy is None]
    return replace(
        first,
        run=f"{first.policy}, {first.budget}",
        seed=None,
        mean_bits=fmean(one.mean_bits for one in group),
        energy_mj=fmean(one.energy_mj for one in group),
        clean_accuracy=fmean(one.clean_accuracy for one in group),
        robust_accuracy=None if masked else fmean(robust),
        verdict=masked[0] if masked else first.verdict,
    )


def front(points: Sequence[Point], value: str) -> list[Point]:
    """The points that no other one beats in energy and `value`, cheapest first.

    Of points that are equal in both, the first stays.
    """
    there = [p for p in points if getattr(p, value) is not None]
    best, found = float("-inf"), []
    for one in sorted(there, key=lambda p: (p.energy_mj, -getattr(p, value))):
        if getattr(one, value) > best:
            best = getattr(one, value)
            found.append(one)
    return found


VALUES: Mapping[str, str] = {
    "clean_accuracy": "clean accuracy",
    "robust_accuracy": "accuracy under the strong protocol",
}


def summary(points: Sequence[Point], key: tuple[str, str, str]) -> dict[str, Any]:
    """All points, and what is on each front over seeds, as JSON has them."""
    means = over_seeds(points)
    return {
        "operating_point": dict(zip(("scheme", "reading", "supply"), key, strict=True)),
        "points": [asdict(one) for one in points],
        "fronts": {value: [one.run for one in front(means, value)] for value in VALUES},
    }


def figure(points: Sequence[Point], value: str, key: tuple[str, str, str]) -> str:
    """The means over seeds, a line a policy, and the front, as an SVG file of its own.

    Raises ValueError where no network has the value.
    """
    there = [one for one in over_seeds(points) if getattr(one, value) is not None]
    if not there:
        raise ValueError(f"no network has a {VALUES[value]}; every gate found masked gradients.")
    best = [_place(one, value) for one in front(there, value)]
    lines = [Series(name="front", style=STYLES - 1, points=best, dashed=True, markers=False)]
    lines += [
        Series(name=policy, style=style % (STYLES - 1), points=_line(there, policy, value))
        for style, policy in enumerate(dict.fromkeys(one.policy for one in there))
    ]
    energies = [one.energy_mj * 1e3 for one in there]
    values = [100 * getattr(one, value) for one in there]
    return str(
        document(
            f"{VALUES[value][:1].upper()}{VALUES[value][1:]} against energy",
            Axis(label=f"uJ an image ({' '.join(key)})", low=min(energies), high=max(energies)),
            Axis(label=f"{VALUES[value]}, %", low=min(values), high=max(values)),
            lines,
            PALETTE,
        )
    )


PALETTE = (
    STYLE
    + """
.line.s3 { stroke: #8e4585; } .marker.s3 { fill: #8e4585; }
.line.s4, .marker.s4 { stroke: #8c6d1f; } .marker.s4 { stroke-width: 2; }
.line.s5 { stroke: #a8323e; } .marker.s5 { fill: #a8323e; }
.line.dashed { stroke: #1c2126; stroke-width: 1.2; }
"""
)


def _line(points: Sequence[Point], policy: str, value: str) -> list[tuple[float, float, str]]:
    """The policy's points, cheapest first."""
    own = sorted((p for p in points if p.policy == policy), key=lambda one: one.energy_mj)
    return [_place(one, value) for one in own]


def _place(one: Point, value: str) -> tuple[float, float, str]:
    reached = 100 * getattr(one, value)
    text = f"{one.run}: {one.mean_bits:.2f} bits, {one.energy_mj * 1e3:.3g} uJ, {reached:.2f} %"
    return one.energy_mj * 1e3, reached, text


def text(points: Iterable[Point]) -> str:
    """The means over seeds as an aligned table; `*` marks the fronts."""
    rows = over_seeds(points)
    fronts = {value: {p.run for p in front(rows, value)} for value in VALUES}
    lines = [f"{'policy, budget':34}{'bits':>6}{'uJ':>9}{'clean':>9}{'strong':>9}  gate"]
    for p in sorted(rows, key=lambda one: one.energy_mj):
        clean = f"{100 * p.clean_accuracy:.2f}{'*' if p.run in fronts['clean_accuracy'] else ' '}"
        strong = "masked" if p.robust_accuracy is None else f"{100 * p.robust_accuracy:.2f}"
        strong += "*" if p.run in fronts["robust_accuracy"] else " "
        lines.append(
            f"{p.run:34}{p.mean_bits:>6.2f}{p.energy_mj * 1e3:>9.3f}{clean:>9}{strong:>9}  "
            f"{p.verdict}"
        )
    return "\n".join(lines)

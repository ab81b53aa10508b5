"""Pareto fronts of trained networks: accuracy, clean and under the strong protocol, against energy.

A network is on a front if no other one costs at most as much and is at least as accurate, one of
the two strictly. Networks whose gate found masked gradients have no place on the robust front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from quanos.results import Column, Run
from quanos.sense_figures import STYLE
from quanos.svg import STYLES, Axis, Series, document


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network; accuracies are shares of 1, energy in mJ of one image.

    `robust_accuracy` is the worst case of the strong protocol at `epsilon`; None where the gate
    says that gradients are masked.
    """

    run: str
    policy: str
    seed: int
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
        seed=run.seed,
        mean_bits=column.mean_bits,
        energy_mj=column.prices[key].energy_mj,
        clean_accuracy=column.clean_accuracy,
        robust_accuracy=None if column.gate.masked else worst.accuracy,
        epsilon=worst.epsilon,
        verdict=column.gate.verdict,
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
    """All points and the runs on each front, as JSON has them."""
    return {
        "operating_point": dict(zip(("scheme", "reading", "supply"), key, strict=True)),
        "points": [asdict(one) for one in points],
        "fronts": {value: [one.run for one in front(points, value)] for value in VALUES},
    }


def figure(points: Sequence[Point], value: str, key: tuple[str, str, str]) -> str:
    """The points by policy and the front through them, as an SVG file of its own."""
    there = [one for one in points if getattr(one, value) is not None]
    if not there:
        raise ValueError(f"no network has a {VALUES[value]}; every gate found masked gradients.")
    policies = list(dict.fromkeys(one.policy for one in there))
    series = [
        Series(
            name=policy,
            style=style % STYLES,
            points=[_place(one, value) for one in there if one.policy == policy],
            line=False,
        )
        for style, policy in enumerate(policies)
    ]
    line = [_place(one, value) for one in front(there, value)]
    series.append(Series(name="front", style=0, points=line, dashed=True, markers=False))
    energies = [one.energy_mj * 1e3 for one in there]
    values = [getattr(one, value) for one in there]
    return str(
        document(
            f"{VALUES[value][:1].upper()}{VALUES[value][1:]} against energy",
            Axis(label=f"uJ an image ({' '.join(key)})", low=min(energies), high=max(energies)),
            Axis(label=VALUES[value], low=min(values), high=max(values)),
            series,
            PALETTE,
        )
    )


PALETTE = (
    STYLE
    + """
.line.s3 { stroke: #8e4585; } .marker.s3 { fill: #8e4585; }
.line.s4 { stroke: #8c6d1f; } .marker.s4 { fill: #8c6d1f; }
.line.s5 { stroke: #a8323e; } .marker.s5 { fill: #a8323e; }
.line.s6 { stroke: #2f4858; } .marker.s6 { fill: #2f4858; }
"""
)


def _place(one: Point, value: str) -> tuple[float, float, str]:
    reached = getattr(one, value)
    text = f"{one.run}: {one.mean_bits:.2f} bits, {one.energy_mj * 1e3:.3g} uJ, {reached:.4f}"
    return one.energy_mj * 1e3, reached, text


def text(points: Iterable[Point]) -> str:
    """The points as an aligned table; `*` marks the fronts."""
    rows = list(points)
    fronts = {value: {p.run for p in front(rows, value)} for value in VALUES}
    lines = [f"{'run':34}{'bits':>6}{'uJ':>9}{'clean':>9}{'strong':>9}  gate"]
    for p in sorted(rows, key=lambda one: one.energy_mj):
        clean = f"{100 * p.clean_accuracy:.2f}{'*' if p.run in fronts['clean_accuracy'] else ' '}"
        strong = "masked" if p.robust_accuracy is None else f"{100 * p.robust_accuracy:.2f}"
        strong += "*" if p.run in fronts["robust_accuracy"] else " "
        lines.append(
            f"{p.run:34}{p.mean_bits:>6.2f}{p.energy_mj * 1e3:>9.3f}{clean:>9}{strong:>9}  "
            f"{p.verdict}"
        )
    return "\n".join(lines)

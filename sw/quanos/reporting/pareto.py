"""The report's figures of accuracy against energy: every network, and the front through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from quanos import pareto
from quanos.pareto import Point
from quanos.reporting.charts import percent
from quanos.reporting.figures import POINT, figure
from quanos.reporting.markup import Markup, element
from quanos.reporting.result_table import epsilon_text
from quanos.reporting.svg import STYLES, Axis, Series, chart
from quanos.results import Column, Run

FRONT = 4
"""The style of the front; grey, so that no policy has it."""

CAPTIONS = {
    "clean_accuracy": "On all test images.",
    "robust_accuracy": "Worst case of the strong protocol at epsilon {}; masked networks have no "
    "place here.",
}


def accuracy_energy(runs: Sequence[Run], names: Sequence[str]) -> Markup | None:
    """Both figures with their fronts, of each data set its own, as no accuracy on one is better
    than another's on the next; nothing where fewer than two networks can be compared.

    `names` are what the runs are called.
    """
    points: dict[str, list[Point]] = {}
    for run, name in zip(runs, names, strict=True):
        found = (_point(run, name, column) for column in run.columns)
        points.setdefault(run.dataset, []).extend(filter(None, found))
    styles = _styles([point for some in points.values() for point in some])
    drawn = [
        _figure([one for one in some if _has(one, value)], value, styles, dataset)
        for dataset, some in points.items()
        for value in pareto.VALUES
    ]
    return element("div", drawn, class_="figures") if any(drawn) else None


def _point(run: Run, name: str, column: Column) -> Point | None:
    """A network's place, called by its run and its title; None where it has no price."""
    if POINT not in column.prices or not column.worst_case:
        return None
    return replace(pareto.point(run, column, POINT), run=f"{name}, {column.title}")


def _has(point: Point, value: str) -> bool:
    return getattr(point, value) is not None


def _styles(points: Sequence[Point]) -> dict[str, int]:
    """A style for every policy, the same in both figures."""
    free = [style for style in range(STYLES) if style != FRONT]
    policies = dict.fromkeys(one.policy for one in points)
    return {policy: free[number % len(free)] for number, policy in enumerate(policies)}


def _figure(
    points: Sequence[Point], value: str, styles: Mapping[str, int], dataset: str
) -> Markup | None:
    """Networks by policy; those attacked at another epsilon than the first are left out."""
    if value == "robust_accuracy":
        points = [one for one in points if one.epsilon == points[0].epsilon]
    if len(points) < 2:
        return None
    corners = _places(pareto.front(points, value), value)
    drawn = {style: [p for p in points if p.policy == name] for name, style in styles.items()}
    series = [_front(corners)]
    series += [
        Series(name=members[0].policy, style=style, points=_places(members, value), line=False)
        for style, members in drawn.items()
        if members
    ]
    what = pareto.VALUES[value]
    title = f"{what[:1].upper()}{what[1:]} against energy, {dataset}"
    high = max(1e3 * one.energy_mj for one in points)
    top = max(getattr(one, value) for one in points)
    low = min(getattr(one, value) for one in points)
    low -= 0.1 if top - low < 1e-9 else 0.0  # accuracy does not go on above what all of them reach
    drawing = chart(
        title,
        Axis(label="energy of one image, µJ", low=0, high=high),
        Axis(label=pareto.VALUES[value], low=low, high=top, write=percent),
        series,
    )
    text = CAPTIONS[value].format(epsilon_text(points[0].epsilon))
    return figure(
        title,
        drawing,
        f"{text} Energy: DVAFS, measured, nominal supply. Point at a network for its numbers. "
        "The upright axis does not start at 0.",
    )


def _front(corners: Sequence[tuple[float, float, str]]) -> Series:
    name = "front: none cheaper is as accurate"
    return Series(name=name, style=FRONT, points=_stairs(corners), dashed=True, markers=False)


def _stairs(corners: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """The front as it is: between two networks the cheaper one's accuracy is what can be had.

    >>> [(x, y) for x, y, _ in _stairs([(1, 0.7, ""), (2, 0.9, "")])]
    [(1, 0.7), (2, 0.7), (2, 0.9)]
    """
    steps = list(corners[:1])
    for (_, low, _), right in pairwise(corners):
        steps += [(right[0], low, ""), right]
    return steps


def _places(points: Sequence[Point], value: str) -> list[tuple[float, float, str]]:
    return [_place(one, value) for one in points]


def _place(one: Point, value: str) -> tuple[float, float, str]:
    reached = 100 * getattr(one, value)
    energy = 1e3 * one.energy_mj
    text = f"{one.run}: {one.mean_bits:.2f} bits, {energy:.4g} µJ, {reached:.2f} %"
    return energy, getattr(one, value), text

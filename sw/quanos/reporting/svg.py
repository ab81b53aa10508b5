"""Line charts as SVG: colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quanos.reporting import tips
from quanos.reporting.markup import Markup, element, join

WIDTH, HEIGHT = 460, 308
LEFT, RIGHT, TOP, BOTTOM = 80, 22, 30, 44  # a tick of 8 letters, as a phone draws them
STYLES = 7
"""How many series the style sheet can tell apart; shape and colour change together."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line; `style` picks colour and marker, `points` are (x, y, text shown on hover)."""

    name: str
    style: int
    points: Sequence[tuple[float, float, str]]
    dashed: bool = False
    line: bool = True
    markers: bool = True


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Label, range and how its numbers are written; the range widens to whole ticks.

    `step` is the distance of ticks, chosen round where it is None.
    """

    label: str
    low: float
    high: float
    write: Callable[[float], str] = "{:g}".format
    step: float | None = None

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers that cover the range.

        >>> Axis(label="", low=0, high=0.93).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        """
        span = self.high - self.low
        span = span if span > 1e-12 else 1.0
        power = 10.0 ** math.floor(math.log10(span / count))
        steps = (power * m for m in (1, 2, 2.5, 5, 10))
        step = self.step or min(steps, key=lambda s: abs(span / s - count))
        first, last = math.floor(self.low / step + 1e-9), math.ceil(self.high / step - 1e-9)
        return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True)
class _Frame:
    """Where data coordinates lie in the drawing."""

    x_ticks: list[float]
    y_ticks: list[float]

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def chart(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    marks: Sequence[float] = (),
) -> Markup:
    """A line chart with its legend; `marks` are places of dashed vertical lines.

    The texts of markers show on hover, and on touch, by the page's style sheet.
    """
    frame = _Frame(x.ticks(), y.ticks())
    body = _drawing(frame, x, y, series, marks)
    spots = [_place(frame, point) for one in series if one.markers for point in one.points]
    box = f"0 0 {WIDTH} {HEIGHT}"
    drawing = element(
        "svg", body, tips.layer(spots, WIDTH, HEIGHT), viewBox=box, role="img", aria_label=title
    )
    return join(legend(series), drawing)


def document(title: str, x: Axis, y: Axis, series: Sequence[Series], style: str) -> Markup:
    """A line chart as an SVG file of its own, title and legend inside; `style` is its CSS."""
    names = [one.name for one in series]
    rows = [
        join(
            element("path", d=f"M{LEFT} {16 * i - 4}h24", class_=_line_class(one), fill="none"),
            element("text", name, x=LEFT + 32, y=16 * i),
        )
        for i, (one, name) in enumerate(zip(series, names, strict=True), 2)
    ]
    head = 16 * (len(rows) + 2)
    heading = element("text", title, x=LEFT, y=14, class_="title")
    frame = _Frame(x.ticks(), y.ticks())
    drawing = _drawing(frame, x, y, series, (), titles=True)
    body = element("g", drawing, transform=f"translate(0 {head})")
    return element(
        "svg",
        element("style", Markup(style)), heading, rows, body,
        xmlns="http://www.w3.org/2000/svg", role="img", aria_label=title,
        viewBox=f"0 0 {WIDTH} {HEIGHT + head}", width=WIDTH, height=HEIGHT + head,
    )  # fmt: skip


def _drawing(
    frame: _Frame,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    marks: Sequence[float],
    *,
    titles: bool = False,
) -> list[Markup]:
    """Grid, marks and lines; with `titles` the texts of markers are theirs, as SVG alone has it."""
    drawn = [_mark(frame, mark) for mark in marks]
    drawn += [_line(frame, one, titles=titles) for one in series]
    return [_grid(frame, x, y), *drawn]


def _place(frame: _Frame, point: tuple[float, float, str]) -> tuple[float, float, str]:
    x, y, text = point
    return frame.x(x), frame.y(y), text


def legend(series: Sequence[Series]) -> Markup:
    """Names of the series beside their lines."""
    entries = []
    for one in series:
        stroke = (
            element("path", d="M0 7H26", class_=_line_class(one), fill="none") if one.line else None
        )
        marker = _marker(one, 13, 7) if one.markers else None
        swatch = element(
            "svg", stroke, marker, viewBox="0 0 26 14", class_="swatch", aria_hidden="true"
        )
        entries.append(element("li", swatch, one.name))
    return element("ul", entries, class_="legend")


def _grid(frame: _Frame, x: Axis, y: Axis) -> Markup:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    horizontal = "".join(f"M{LEFT} {frame.y(v):.1f}H{right}" for v in frame.y_ticks)
    parts = [element("path", d=horizontal, class_="grid")]
    for value in frame.y_ticks:
        at = f"{frame.y(value) + 4:.1f}"
        parts.append(element("text", y.write(value), x=LEFT - 7, y=at, text_anchor="end"))
    for value in frame.x_ticks:
        at = f"{frame.x(value):.1f}"
        parts.append(element("text", x.write(value), x=at, y=bottom + 17, text_anchor="middle"))
    middle = (LEFT + right) / 2
    parts.append(element("text", x.label, x=middle, y=HEIGHT - 7, text_anchor="middle"))
    parts.append(element("text", y.label, x=4, y=15))
    return join(*parts)


def _mark(frame: _Frame, value: float) -> Markup:
    path = f"M{frame.x(value):.1f} {TOP}V{HEIGHT - BOTTOM}"
    return element("path", d=path, class_="mark")


def _line(frame: _Frame, one: Series, *, titles: bool) -> Markup:
    places = [_place(frame, point) for point in one.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
    line = element("path", d=path, class_=_line_class(one), fill="none")
    if not one.markers:
        return line
    markers = [_marker(one, x, y, text if titles else "") for x, y, text in places]
    return join(line if one.line and places else None, markers)


def _line_class(one: Series) -> str:
    return f"line s{one.style % STYLES}" + (" dashed" if one.dashed else "")


def _marker(one: Series, x: float, y: float, text: str = "") -> Markup:
    """A shape a style, from circle to plus; hollow where no line joins the points."""
    shapes = (
        "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        "m-3.5-3.5h7v7h-7z",
        "m0-4.5l4.4 8h-8.8z",
        "m0-4.8l4.8 4.8l-4.8 4.8l-4.8-4.8z",
        "m-4-4l8 8m0-8l-8 8",
        "m0 4.5l4.4-8h-8.8z",
        "m0-5v10m-5-5h10",
    )
    style = one.style % STYLES
    kind = "marker" if one.line else "marker hollow"
    title = element("title", text) if text else None
    return element("path", title, d=f"M{x:.1f} {y:.1f}{shapes[style]}", class_=f"{kind} s{style}")

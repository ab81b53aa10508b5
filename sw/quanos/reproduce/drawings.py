"""The paper's figures from kept results, as SVG files that stand alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from flows.table import EnergyTable
from quanos.figures import mac_energy, percent
from quanos.markup import Markup, element, join
from quanos.svg import HEIGHT, WIDTH, Axis, Series, chart

ROW = 20
"""Height of a line of the legend."""


def standalone(drawing: Markup, title: str) -> str:
    """A chart and its legend, which is HTML on a page, as one SVG with its own style."""
    entries = re.findall(r"<li>(<svg.*?</svg>)(.*?)</li>", drawing, re.DOTALL)
    top = ROW * ((len(entries) + 1) // 2) + 26
    parts = [element("text", title, x=4, y=16, class_="title")]
    for place, (swatch, name) in enumerate(entries):
        x, y = 4 + WIDTH // 2 * (place % 2), 24 + ROW * (place // 2)
        parts.append(_moved(_inside(swatch), x, y))
        parts.append(element("text", Markup(name), x=x + 32, y=y + 11))
    body = drawing[drawing.rindex("</ul>") + 5 :] if "</ul>" in drawing else drawing
    parts.append(_moved(_inside(body), 0, top))
    css = resources.files("quanos").joinpath("report.css").read_text("utf-8")
    style = element(
        "style", Markup(css + "svg { background: var(--paper); } .title { font-weight: bold; }")
    )
    return str(
        element(
            "svg",
            join(style, *parts),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {WIDTH} {HEIGHT + top}",
            role="img",
            aria_label=title,
        )
    )


def _inside(svg: str) -> Markup:
    return Markup(svg[svg.index(">") + 1 : svg.rindex("</svg>")])


def _moved(content: Markup, x: float, y: float) -> Markup:
    return element("g", content, transform=f"translate({x} {y})")


def sensitivity(title: str, lines: dict[str, dict[str, float]]) -> str:
    """ANS of every layer, a line per measurement (Figures 1(a) and 3(a))."""
    series = [
        Series(
            name=name,
            style=style,
            points=[
                (place, value, f"{layer}: {value:.3f}")
                for place, (layer, value) in enumerate(values.items(), 1)
            ],
        )
        for style, (name, values) in enumerate(lines.items())
    ]
    high = max(y for one in series for _, y, _ in one.points)
    layers = max(len(one.points) for one in series)
    drawing = chart(
        title,
        Axis(label="layer, in forward order", low=1, high=layers),
        Axis(label="ANS", low=0, high=high),
        series,
    )
    return standalone(drawing, title)


def losses(title: str, columns: dict[str, dict[str, Any]], attack: str) -> str:
    """Adversarial loss against epsilon by the paper's protocol (Figures 3(b, c) and 4)."""
    series = []
    for style, (name, column) in enumerate(columns.items()):
        masked = column["gate"]["verdict"] != "passes"
        rows = sorted(
            (r for r in column["paper"] if r["attack"] == attack), key=lambda r: r["epsilon"]
        )
        points = [
            (r["epsilon"], r["adversarial_loss"], f"{100 * r['adversarial_loss']:.1f} points")
            for r in rows
        ]
        label = f"{name} (masked)" if masked else name
        series.append(Series(name=label, style=style, points=points, dashed=masked))
    high = max((x for one in series for x, _, _ in one.points), default=1.0)
    low = min([0.0, *(y for one in series for _, y, _ in one.points)])
    drawing = chart(
        title,
        Axis(label="epsilon, pixels in 0..1", low=0, high=high),
        Axis(label="adversarial loss", low=low, high=1, write=percent),
        series,
    )
    return standalone(drawing, title)


def energy_per_mac(table: EnergyTable) -> str:
    """Energy per MAC against precision, with the paper's points (Figure 1(d))."""
    title = "Figure 1(d): energy per MAC, nominal supply"
    return standalone(mac_energy(table, "nominal", title) or Markup(""), title)


def titles(names: Sequence[str]) -> dict[str, str]:
    """Names of columns as a legend shows them."""
    return {n: "QUANOS" if n == "quanos" else f"{n} bit" if n.isdigit() else n for n in names}

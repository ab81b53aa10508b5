"""The paper's figures from kept results, as SVG files that stand alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.table import EnergyTable
from quanos.reporting.charts import mac_energy_parts, percent
from quanos.reporting.svg import Axis, Series, document
from quanos.sensing.figures import STYLE

# Two more series than a measurement has, and the points that the paper implies.
STYLE += """
.line.s3 { stroke: #a3478a; } .marker.s3 { fill: #a3478a; }
.line.s4, .marker.s4 { stroke: #6b6b6b; fill: none; }
.marker.hollow { fill: #fff; stroke-width: 2; }
.hollow.s0 { stroke: #0072b2; } .hollow.s1 { stroke: #d55e00; } .hollow.s2 { stroke: #00845f; }
"""


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
    drawing = document(
        title,
        Axis(label="layer, in forward order", low=1, high=layers),
        Axis(label="ANS", low=0, high=high),
        series,
        STYLE,
    )
    return str(drawing)


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
    drawing = document(
        title,
        Axis(label="epsilon, pixels in 0..1", low=0, high=high),
        Axis(label="adversarial loss", low=low, high=1, write=percent),
        series,
        STYLE,
    )
    return str(drawing)


def energy_per_mac(table: EnergyTable) -> str:
    """Energy per MAC against precision, with the paper's points (Figure 1(d))."""
    parts = mac_energy_parts(table, "nominal")
    title = "Figure 1(d): energy per MAC, nominal supply"
    return str(document(title, *parts, STYLE)) if parts else ""


def titles(names: Sequence[str]) -> dict[str, str]:
    """Names of columns as a legend shows them."""
    return {n: "QUANOS" if n == "quanos" else f"{n} bit" if n.isdigit() else n for n in names}

"""Figures of what `quanos sense` measures, as SVG files of their own."""

from __future__ import annotations

from collections.abc import Sequence

from quanos.ablation import ORDERS, Ablation
from quanos.reporting.svg import Axis, Series, document
from quanos.sensing.measurement import Measurement

LABELS = {
    "ans": "adversarial noise sensitivity",
    "activation-density": "activation density",
    "hessian": "mean Hessian eigenvalue",
    "lipschitz": "spectral norm, batch norm folded in",
}
# The report's colours; a file that stands alone has a white ground.
STYLE = """
svg { background: #fff; font-family: sans-serif; font-size: 12.5px; }
text { fill: #66707a; } .title { fill: #1c2126; font-size: 14px; }
.grid { stroke: #d9dde1; } .line { stroke-width: 2; stroke-linejoin: round; }
.line.dashed { stroke-dasharray: 6 4; } .marker { stroke: #fff; }
.line.s0 { stroke: #0072b2; } .marker.s0 { fill: #0072b2; }
.line.s1 { stroke: #d55e00; } .marker.s1 { fill: #d55e00; }
.line.s2 { stroke: #00845f; } .marker.s2 { fill: #00845f; }
"""


def measurement_figure(measurement: Measurement) -> str:
    """The number of every layer over its place in the network; names show on hover."""
    points = [
        (place, value, f"{name}: {value:.4g}")
        for place, (name, value) in enumerate(measurement.layers.items(), 1)
    ]
    label = LABELS[measurement.kind]
    high = max(value for _, value, _ in points)
    return str(
        document(
            f"{label[:1].upper()}{label[1:]} by layer",
            Axis(label="layer", low=1, high=len(points)),
            Axis(label=label, low=0, high=high),
            [Series(name=measurement.kind, style=0, points=points)],
            STYLE,
        )
    )


def ablation_figure(rows: Sequence[Ablation], fraction: float = 0.5) -> str:
    """Accuracy under attack by layer, with `fraction` of its units clamped, in both orders."""
    whole = next(row.accuracy for row in rows if not row.layer)
    names = list(dict.fromkeys(row.layer for row in rows if row.layer))
    lines = [
        Series(
            name=f"{order} units" if order == "random" else "most sensitive units",
            style=style,
            points=[
                (names.index(row.layer) + 1, row.accuracy, f"{row.layer}: {row.accuracy:.4f}")
                for row in rows
                if (row.layer, row.order, row.fraction) == (row.layer or None, order, fraction)
            ],
        )
        for style, order in enumerate(ORDERS)
    ]
    level = [(place, whole, f"all units: {whole:.4f}") for place in (1, len(names))]
    lines.append(Series(name="all units", style=2, points=level, dashed=True, markers=False))
    return str(
        document(
            f"Accuracy under FGSM, {100 * fraction:.0f} % of one layer's units clamped",
            Axis(label="layer", low=1, high=len(names)),
            Axis(label="accuracy", low=0, high=1),
            lines,
            STYLE,
        )
    )

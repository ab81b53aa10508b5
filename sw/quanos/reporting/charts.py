"""The report's figures: each takes results or the energy table and gives one drawing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flows.table import MAX_BITS, SCHEMES, EnergyRow, EnergyTable
from quanos.paper import NET_MAC_ENERGY
from quanos.reporting.markup import Markup, element, join
from quanos.reporting.svg import Axis, Series, chart
from quanos.results import Attacked, Column

Segment = tuple[str, float]
"""Style class and value of a part of a bar."""


def percent(value: float) -> str:
    """A share of 1 as a tick.

    >>> percent(0.25)
    '25 %'
    """
    return f"{100 * value:g} %"


def adversarial_loss(
    columns: Sequence[Column],
    attacks: Sequence[Sequence[Attacked]],
    title: str,
    names: Sequence[str] = (),
) -> Markup | None:
    """Clean minus adversarial accuracy against epsilon, a line per network; masked ones dashed.

    `attacks` holds each column's rows to draw, `names` what to call them other than by title.
    """
    lines = []
    names = names or [column.title for column in columns]
    for style, (name, column, rows) in enumerate(zip(names, columns, attacks, strict=True)):
        points = [
            (row.epsilon, row.adversarial_loss, _attack_text(name, row))
            for row in sorted(rows, key=lambda row: row.epsilon)
        ]
        masked = column.gate.masked
        label = f"{name} (masked: no robustness)" if masked else name
        lines.append(Series(name=label, style=style, points=points, dashed=masked))
    high = max((x for line in lines for x, _, _ in line.points), default=0)
    if high <= 0:
        return None
    low = min(0.0, *(y for line in lines for _, y, _ in line.points))
    return chart(
        title,
        Axis(label="epsilon, pixels in 0..1", low=0, high=high),
        Axis(label="adversarial loss, points of accuracy", low=low, high=1, write=points_of),
        lines,
    )


def points_of(value: float) -> str:
    """A share of 1 in percentage points."""
    return f"{100 * value:g}"


def _attack_text(name: str, row: Attacked) -> str:
    accuracy = f"accuracy {100 * row.accuracy:.1f} %, loss {100 * row.adversarial_loss:.1f} points"
    return f"{name}, {row.attack} at {row.epsilon:.4f}: {accuracy}"


def training(columns: Sequence[Column], title: str) -> Markup | None:
    """Test accuracy after every epoch; a baseline starts where its bits were assigned."""
    lines = [
        Series(
            name=column.title,
            style=style,
            points=[
                (
                    row.epoch,
                    row.test_accuracy,
                    f"epoch {row.epoch:g}: {100 * row.test_accuracy:.1f} %",
                )
                for row in column.metrics
            ],
            markers=False,
        )
        for style, column in enumerate(columns)
        if column.metrics
    ]
    if not lines:
        return None
    last = max(x for line in lines for x, _, _ in line.points)
    low = min(y for line in lines for _, y, _ in line.points)
    assigned = [one.epoch for one in columns[0].rounds if one.epoch <= last]
    return chart(
        title,
        Axis(label="epoch", low=0, high=last),
        Axis(label="test accuracy", low=low, high=1, write=percent),
        lines,
        marks=assigned,
    )


def mac_energy(table: EnergyTable, supply: str, title: str) -> Markup | None:
    """Energy per MAC over that of the conventional 16-bit MAC at nominal supply, by scheme."""
    parts = mac_energy_parts(table, supply)
    return parts and chart(title, *parts)


def mac_energy_parts(table: EnergyTable, supply: str) -> tuple[Axis, Axis, list[Series]] | None:
    """Axes and lines of `mac_energy`; None where the table lacks the conventional MAC."""
    unit = conventional_fj(table)
    if unit is None:
        return None
    lines = _by_scheme(table, supply, lambda row: row.energy_fj / unit, _energy_text)
    if supply == "nominal":
        lines += [_paper(scheme) for scheme in NET_MAC_ENERGY]
    high = max((y for line in lines for _, y, _ in line.points), default=0)
    return (
        Axis(label="bits of both operands", low=0, high=MAX_BITS, step=2),
        Axis(label="energy per MAC, conventional 16 bit = 1", low=0, high=high),
        lines,
    )


def conventional_fj(table: EnergyTable) -> float | None:
    """Energy of the conventional 16-bit MAC at nominal supply in fJ; None where it is not there."""
    for row in table.rows:
        if row.key == ("fixed", MAX_BITS, MAX_BITS, "uniform", "nominal") and row.energy_fj > 0:
            return row.energy_fj
    return None


def glitch_share(table: EnergyTable, title: str) -> Markup:
    """The share of the energy that zero-delay simulation would miss, at nominal supply."""

    def share(row: EnergyRow) -> float:
        return row.glitch_fj / row.energy_fj if row.energy_fj else 0.0

    lines = _by_scheme(table, "nominal", share, lambda row: f"{100 * share(row):.1f} % glitches")
    high = max((y for line in lines for _, y, _ in line.points), default=0)
    return chart(
        title,
        Axis(label="bits of both operands", low=0, high=MAX_BITS, step=2),
        Axis(label="glitch energy / energy per MAC", low=0, high=high, write=percent),
        lines,
    )


def _by_scheme(
    table: EnergyTable,
    supply: str,
    value: Callable[[EnergyRow], float],
    text: Callable[[EnergyRow], str],
) -> list[Series]:
    lines = []
    for style, scheme in enumerate(SCHEMES):
        rows = [
            row
            for row in sorted(table.rows, key=lambda row: row.w_bits)
            if row.key == (scheme, row.w_bits, row.w_bits, "uniform", supply)
        ]
        points = [
            (row.w_bits, value(row), f"{scheme}, {row.w_bits} bit: {text(row)}") for row in rows
        ]
        if points:
            lines.append(Series(name=scheme, style=style, points=points))
    return lines


def _energy_text(row: EnergyRow) -> str:
    return f"{row.energy_fj:.0f} ± {row.ci95_fj:.0f} fJ per MAC at {row.vdd_v:.2f} V"


def _paper(scheme: str) -> Series:
    points = [
        (bits, value, f"{scheme} of the paper, {bits} bit: {value:g} of its 16 bit")
        for bits, value in NET_MAC_ENERGY[scheme].items()
    ]
    name = f"{scheme} as the paper implies"
    return Series(name=name, style=SCHEMES.index(scheme), points=points, line=False)


def bars(rows: Mapping[str, Sequence[tuple[Sequence[Segment], str]]], high: float) -> Markup:
    """Horizontal bars by layer: each row has bars, each bar segments and the text at its end."""
    cells = []
    for name, row in rows.items():
        drawn = [_bar(segments, text, high) for segments, text in row]
        cells += [element("span", name, class_="layer"), element("div", drawn, class_="bars")]
    return element("div", cells, class_="bar-chart")


def _bar(segments: Sequence[Segment], text: str, high: float) -> Markup:
    parts = [
        element("i", class_=style, style=f"width:{100 * value / (high or 1):.2f}%")
        for style, value in segments
    ]
    return element("div", element("div", parts, class_="track"), element("b", text), class_="bar")


def key(entries: Mapping[str, str]) -> Markup:
    """What the bars' colours mean: style class -> text."""
    items = [element("li", element("i", class_=f"box {c}"), text) for c, text in entries.items()]
    return join(element("ul", items, class_="legend"))

"""The report's tables: results of every network, and whether the attacks on it can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from quanos.reporting.markup import Markup, element, join, scrolled, table
from quanos.reporting.result_table import ATTACKS, PARTS, Row, digits, epsilon_text, result_rows
from quanos.reporting.verdict import verdict
from quanos.results import Run

ABSENT = "\N{EN DASH}"
"""What stands for a number that is not there."""

PARTS_NOTE = (
    "FGSM and PGD are tried on every image that is classified right. Each of the others is tried "
    "on the images that withstood all before it, in this order, and its figure counts those that "
    "withstand it too: where it does not fall, the attack found nothing new."
)


def results(run: Run) -> Markup:
    """The table of results; the parts of the strong protocol can be unfolded."""
    rows = list(result_rows(run))
    note = "Small figures under an energy: share of the same network at 16 bits on the same MAC."
    return join(
        _table(run, [row for row in rows if row.group != PARTS]),
        element("p", note, class_="small"),
        element(
            "details",
            element("summary", "What the worst case is made of, attack by attack"),
            element("p", PARTS_NOTE, class_="small"),
            _table(run, [row for row in rows if row.group == PARTS]),
        ),
    )


def _table(run: Run, rows: Sequence[Row]) -> Markup:
    titles = [element("th", c.title, class_="number", scope="col") for c in run.columns]
    head = [element("td", ""), *titles]
    bodies = [
        element("tbody", _group(group, members := list(found), len(head)), _rows(run, members))
        for group, found in groupby(rows, key=lambda row: row.group)
    ]
    whole = element("table", element("thead", element("tr", head)), bodies)
    return scrolled(whole)


def _group(name: str, rows: Sequence[Row], columns: int) -> Markup:
    """The heading of a group, with the unit where all its rows have the same."""
    units = {row.unit for row in rows}
    text = f"{name}, {units.pop()}" if len(units) == 1 else name
    title = element("th", text, colspan=columns, scope="colgroup")
    return element("tr", title, class_="group")


def _rows(run: Run, rows: Sequence[Row]) -> list[Markup]:
    same = len({row.unit for row in rows}) == 1
    shown = []
    for row in rows:
        unit = None if same else element("small", row.unit)
        cells = [element("th", row.label, " ", unit, scope="row")]
        ratios = row.ratios or (None,) * len(row.values)
        for column, value, ratio in zip(run.columns, row.values, ratios, strict=True):
            cells.append(_cell(row, value, ratio, masked=row.attacked and column.gate.masked))
        shown.append(element("tr", cells))
    return shown


def _cell(row: Row, value: float | None, ratio: float | None, *, masked: bool) -> Markup:
    text = ABSENT if value is None else digits(value, row.unit)
    if masked:
        return element("td", element("s", text), element("small", "masked"), class_="number masked")
    below = None if ratio is None else element("small", f"{100 * ratio:.1f} %")
    return element("td", text, below, class_="number")


def gates(run: Run) -> Markup:
    """The gate's verdict on every column in plain words, with its numbers to unfold."""
    rows = [
        element("li", element("b", column.title), " ", verdict(column, run.classes))
        for column in run.columns
    ]
    title = element("h3", "Can the attacks be believed?")
    return join(title, element("ul", rows), element("details", _gate_numbers(run)))


GATE_COLUMNS = (
    ("FGSM", "fgsm_accuracy"),
    ("PGD", "pgd_accuracy"),
    ("all white boxes", "white_box_accuracy"),
    ("all attacks", "worst_accuracy"),
    ("random noise", "noise_accuracy"),
    ("survive 8-bit rounding", "survives_rounding"),
)
"""Heading and field of the gate's numbers at an epsilon."""


def _gate_numbers(run: Run) -> Markup:
    head = ("network", "epsilon", *(title for title, _ in GATE_COLUMNS))
    rows = [
        [
            column.title,
            epsilon_text(row.epsilon),
            *(_percent(getattr(row, name)) for _, name in GATE_COLUMNS),
        ]
        for column in run.columns
        for row in column.gate.rows
    ]
    title = element("summary", "The gate's numbers: accuracy under each, and what stands beside it")
    texts = element("ul", [element("li", text) for text in _beside(run)], class_="small")
    return join(title, table(head, rows, numbers=2), texts)


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.1f} %"


def _beside(run: Run) -> Iterator[str]:
    """Per network: zero gradients, epsilon 0.5, longer attacks, and what could not be made."""
    for column in run.columns:
        gate = column.gate
        text = (
            f"{column.title}: {_percent(gate.zero_gradient_share)} of the images have a gradient "
            f"of zero; accuracy at epsilon 0.5 is {_percent(gate.accuracy_at_half)}"
        )
        if gate.longer:
            text += (
                "; three times the steps and restarts take the worst case from "
                f"{_percent(gate.longer.before)} to {_percent(gate.longer.after)} "
                f"at epsilon {epsilon_text(gate.longer.epsilon)}"
            )
        missing = [f"{ATTACKS.get(n, n)} ({reason})" for n, reason in gate.absent.items()]
        yield f"{text}. Not made: {'; '.join(missing)}." if missing else f"{text}."

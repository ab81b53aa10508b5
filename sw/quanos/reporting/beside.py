"""Several runs side by side: a row each, their bits layer by layer, accuracy against energy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os.path import commonpath
from pathlib import Path

from quanos.reporting import charts
from quanos.reporting.figures import POINT, figure
from quanos.reporting.markup import Markup, element
from quanos.reporting.pareto import accuracy_energy
from quanos.reporting.result_table import digits
from quanos.reporting.results import ABSENT
from quanos.reporting.svg import STYLES
from quanos.results import WORST_CASE, Column, Run

HEAD = ("network", "mean bits", "clean accuracy, %", "energy, µJ", "gate", "memory saved")


def short_names(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart: their folders below the folder they share; a run alone by its own.

    Runs of one folder are numbered.
    """
    folders = [run.folder.resolve() for run in runs]
    shared = Path(commonpath([folder.parent for folder in folders])) if folders else Path()
    names = [folder.relative_to(shared).as_posix() for folder in folders]
    same = [name for name in names if names.count(name) > 1]
    return [f"{n} ({i})" if n in same else n for i, n in enumerate(names, 1)]


def beside(runs: Sequence[Run], names: Sequence[str], anchors: Sequence[str]) -> Markup | None:
    """The section on all runs; nothing where there is one alone. `anchors` are their sections."""
    if len(runs) < 2:
        return None
    return element(
        "section",
        element("p", "QUANOS report", class_="kicker"),
        element("h1", f"{len(runs)} runs side by side"),
        _table(runs, names, anchors),
        element("p", "Energy: DVAFS, measured, nominal supply.", class_="small"),
        accuracy_energy(runs, names),
        element("h2", "Bits of each layer"),
        _bits(runs, names),
        element("div", _worst_case(runs, names), class_="figures"),
    )


def _table(runs: Sequence[Run], names: Sequence[str], anchors: Sequence[str]) -> Markup:
    styles = {text: None if text in ("network", "gate") else "number" for text in HEAD}
    head = [element("th", text, class_=style) for text, style in styles.items()]
    bodies = [
        element("tbody", _heading(name, anchor), [_row(column) for column in run.columns])
        for run, name, anchor in zip(runs, names, anchors, strict=True)
    ]
    whole = element("table", element("thead", element("tr", head)), bodies)
    return element("div", whole, class_="scroll")


def _heading(name: str, anchor: str) -> Markup:
    link = element("a", name, href=f"#{anchor}")
    return element("tr", element("th", link, colspan=len(HEAD), scope="rowgroup"), class_="group")


def _row(column: Column) -> Markup:
    price = column.prices.get(POINT)
    numbers = (
        f"{column.mean_bits:.2f}",
        f"{100 * column.clean_accuracy:.2f}",
        digits(1e3 * price.energy_mj, "µJ") if price else ABSENT,
    )
    cells = [element("td", text, class_="number") for text in numbers]
    cells.append(element("td", "masked" if column.gate.masked else "passes"))
    cells.append(element("td", f"{column.memory_compression:.2f} x", class_="number"))
    return element("tr", element("th", column.title, scope="row"), cells)


def _bits(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """A row per layer, a column per run's main network; the more bits, the stronger the tint."""
    layers = dict.fromkeys(layer for run in runs for layer in run.main.bits)
    head = element("tr", element("th", "layer"), [element("th", n, class_="bits") for n in names])
    rows = [
        element("tr", element("th", layer, scope="row"), [_width(run, layer) for run in runs])
        for layer in layers
    ]
    whole = element("table", element("thead", head), element("tbody", rows), class_="heat")
    return element("div", whole, class_="scroll")


def _width(run: Run, layer: str) -> Markup:
    width = run.main.bits.get(layer)
    if width is None:
        return element("td", ABSENT, class_="bits")
    return element("td", width, class_="bits", style=f"--share:{100 * width / 16:.0f}%")


def _worst_case(runs: Sequence[Run], names: Sequence[str]) -> Iterator[Markup | None]:
    """The main networks' curves, where there are styles to tell them apart."""
    if len(runs) > STYLES:
        return
    columns = [run.main for run in runs]
    rows = [[row for row in column.strong if row.attack == WORST_CASE] for column in columns]
    title = "Worst case, strong protocol"
    drawing = charts.adversarial_loss(columns, rows, title, names)
    yield figure(title, drawing, "Adversarial loss of each run's network against epsilon.")

"""Several runs side by side: a row each, their bits layer by layer, accuracy against energy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os.path import commonpath
from pathlib import Path

from quanos.reporting import charts
from quanos.reporting.figures import POINT, figure
from quanos.reporting.glossary import link
from quanos.reporting.markup import Markup, element, join, scrolled
from quanos.reporting.pareto import accuracy_energy
from quanos.reporting.result_table import digits, epsilon_text
from quanos.reporting.results import ABSENT
from quanos.reporting.svg import STYLES
from quanos.results import WORST_CASE, Column, Run

HEAD = (
    *("network", "mean bits", "clean accuracy, %", "withstand all attacks, %"),
    *("energy, µJ", "memory saved"),
)

NOTE = (
    "Withstand all attacks: the worst case of the strong protocol at the run's smallest epsilon, "
    "or masked, where the gate does not let it be read. Energy of one image: DVAFS, measured, "
    "nominal supply."
)


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
    fronts = accuracy_energy(runs, names)
    return element(
        "section",
        element("p", "QUANOS report · ", link(), class_="kicker"),
        element("h1", f"{len(runs)} runs side by side"),
        _table(runs, names, anchors),
        element("p", NOTE, class_="small"),
        fronts and element("h2", "Accuracy against energy"),
        fronts,
        element("h2", "Bits of each layer"),
        _bits(runs, names),
        element("div", _worst_case(runs, names), class_="figures"),
    )


def _table(runs: Sequence[Run], names: Sequence[str], anchors: Sequence[str]) -> Markup:
    head = [
        element("th", text, class_="number" if number else None, scope="col")
        for number, text in enumerate(HEAD)
    ]
    bodies = [
        element("tbody", _heading(name, anchor), [_row(column) for column in run.columns])
        for run, name, anchor in zip(runs, names, anchors, strict=True)
    ]
    return scrolled(element("table", element("thead", element("tr", head)), bodies))


def _heading(name: str, anchor: str) -> Markup:
    link = element("a", name, href=f"#{anchor}")
    return element("tr", element("th", link, colspan=len(HEAD), scope="rowgroup"), class_="group")


def _row(column: Column) -> Markup:
    price = column.prices.get(POINT)
    numbers = (
        f"{column.mean_bits:.2f}",
        f"{100 * column.clean_accuracy:.2f}",
        _withstood(column),
        digits(1e3 * price.energy_mj, "µJ") if price else ABSENT,
    )
    cells = [element("td", text, class_="number") for text in numbers]
    cells.append(element("td", f"{column.memory_compression:.2f} x", class_="number"))
    return element("tr", element("th", column.title, scope="row"), cells)


def _withstood(column: Column) -> Markup:
    """Worst case at the smallest epsilon; nothing to read where the gate does not pass."""
    if column.gate.masked:
        return join("masked")
    first = min(column.worst_case, key=lambda row: row.epsilon, default=None)
    if first is None:
        return join(ABSENT)
    below = element("small", f"at {epsilon_text(first.epsilon)}")
    return join(f"{100 * first.accuracy:.1f}", below)


def _bits(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """A table for the runs of each network, as layers of the next have other names."""
    alike: dict[tuple[str, ...], list[tuple[Run, str]]] = {}
    for run, name in zip(runs, names, strict=True):
        alike.setdefault(tuple(run.main.bits), []).append((run, name))
    return element("div", [_heat(found) for found in alike.values()], class_="figures narrow")


def _heat(found: Sequence[tuple[Run, str]]) -> Markup:
    """A row per layer, a column per run's main network; the more bits, the stronger the tint."""
    runs = [run for run, _ in found]
    layers = dict.fromkeys(layer for run in runs for layer in run.main.bits)
    titles = [element("th", name, class_="bits", scope="col") for _, name in found]
    head = element("tr", element("th", "layer", scope="col"), titles)
    rows = [
        element("tr", element("th", layer, scope="row"), [_width(run, layer) for run in runs])
        for layer in layers
    ]
    return scrolled(element("table", element("thead", head), element("tbody", rows), class_="heat"))


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

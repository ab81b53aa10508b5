"""The report as one HTML page: no script, nothing fetched, light and dark as the reader has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from flows.table import EnergyTable
from quanos import __version__
from quanos.reporting.beside import beside, short_names
from quanos.reporting.figures import POINT, curves, layers, mac_energy
from quanos.reporting.glossary import glossary, link
from quanos.reporting.headline import compared, headline, losses, paragraphs
from quanos.reporting.layers import own_operands
from quanos.reporting.markup import Markup, element, join
from quanos.reporting.pareto import accuracy_energy
from quanos.reporting.result_table import epsilon_text
from quanos.reporting.results import ABSENT, gates, results
from quanos.results import Column, Run
from quanos.storage.jsonfile import printable


def page(runs: Sequence[Run], prices: EnergyTable | None, layers_path: Path | None = None) -> str:
    """The whole page; `prices` is the table that the runs were priced with, if it is at hand.

    `layers_path` is what flows.network measured on the first run's layers.
    """
    style = resources.files("quanos.reporting").joinpath("report.css").read_text("utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"QUANOS report: {', '.join(run.name for run in runs)}"),
        element("style", Markup(style)),
    )
    names = short_names(runs)
    anchors = [f"run-{number}" for number in range(1, len(runs) + 1)]
    alone = len(runs) == 1
    sections = [
        _run(run, prices, name, anchor, alone=alone)
        for run, name, anchor in zip(runs, names, anchors, strict=True)
    ]
    own = own_operands(runs, layers_path)
    main = [beside(runs, names, anchors), sections, own, mac_energy(prices)]
    foot = element("footer", _provenance(runs, prices))
    body = element("body", element("main", main, glossary()), foot)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _run(run: Run, prices: EnergyTable | None, name: str, anchor: str, *, alone: bool) -> Markup:
    """A run's section: what it came to, figures, results, and the same in words."""
    kicker = f"QUANOS report · {run.name}" if alone else name
    parts = _parts(run, prices, name, alone=alone)
    folded = element(
        "details", element("summary", "Layers, attacks and results of this run"), parts
    )
    return element(
        "section",
        element("p", kicker, [" · ", link()] if alone else None, class_="kicker"),
        element("h1" if alone else "h2", headline(run), class_="headline"),
        _tiles(run),
        _losses(run),
        parts if alone else folded,
        id=anchor,
    )


def _parts(run: Run, prices: EnergyTable | None, name: str, *, alone: bool) -> Markup:
    own = accuracy_energy([run], [name]) if alone else None
    return join(
        element("h2", "Layers"),
        layers(run, prices),
        element("h2", "Attacks and training"),
        gates(run),
        curves(run),
        own and element("h2", "Accuracy against energy"),
        own,
        element("h2", "Results"),
        results(run),
        element("h2", "In words"),
        [element("p", _unbroken(text)) for text in paragraphs(run)],
    )


def _unbroken(text: str) -> str:
    """No line ends between a number and its unit."""
    for unit in ("%", "µJ", "mJ", "Mbit", "Gbit"):
        text = text.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return text


def _tiles(run: Run) -> Markup:
    """The key numbers at a glance."""
    column = run.main
    tiles = [
        (f"{100 * column.clean_accuracy:.1f} %", "clean accuracy"),
        (f"{column.mean_bits:.2f}", "bits on average"),
        (f"{column.memory_compression:.1f} x", "less weight memory than 16 bit"),
    ]
    if POINT in column.prices:
        share = 100 * column.prices[POINT].ratio_to_16
        tiles.insert(2, (f"{share:.0f} %", "of the 16-bit energy, DVAFS, nominal"))
    tiles.append(_gate(column))
    shown = [element("div", element("b", value), text, class_="tile") for value, text in tiles]
    return element("div", shown, class_="tiles")


def _gate(column: Column) -> tuple[str, str]:
    """What withstands all attacks, if the gate lets it be read."""
    if column.gate.masked:
        return "masked", "the gate: attacks cannot be believed, no robustness to report"
    if not column.worst_case:
        return "passes", "the gate: attacks can be believed"
    first = min(column.worst_case, key=lambda row: row.epsilon)
    epsilon = epsilon_text(first.epsilon)
    return f"{100 * first.accuracy:.1f} %", f"withstand all attacks at {epsilon}; the gate passes"


def _losses(run: Run) -> Markup | None:
    if not run.baselines:
        return None
    found = list(losses(run))
    if not found:
        text = f"{run.main.title} is behind no baseline in {compared(run)}."
        return element("p", text, class_="note")
    items = element("ul", [element("li", text) for text in found])
    return element("div", element("b", f"Where {run.main.title} lost"), items, class_="note")


def _provenance(runs: Sequence[Run], prices: EnergyTable | None) -> Markup:
    parts: list[Markup] = []
    for run in runs:
        about = {"seed": run.seed, **run.origin}
        parts.append(_list(f"Run {run.name}", about, shown=len(runs) == 1))
        parts.append(_list(f"Configuration of {run.name}", run.config))
    if prices is not None:
        parts.append(_list("Energy table", {"sha256": prices.sha256, **vars(prices.header)}))
    end = (
        f"Written by quanos {__version__}: quanos report {' '.join(run.name for run in runs)}. "
        "Every number is from the files of these runs and the energy table. Accuracy in % of "
        "the test images (of those attacked where it says so), epsilon for pixels in 0..1, energy "
        "of one image's forward pass without the classifier, 1 Gbit = 1e9 bits."
    )
    return join(element("h2", "Where this comes from"), parts, element("p", end, class_="small"))


def _list(title: str, values: Mapping[str, Any], *, shown: bool = False) -> Markup:
    entries = [join(element("dt", key), element("dd", value)) for key, value in flatten("", values)]
    summary = element("summary", title)
    return element("details", summary, element("dl", entries), open="" if shown else None)


def flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The leaves of nested objects as (path, text)."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(printable(f"{name} {key}").strip(), inner)
    elif isinstance(value, list | tuple):
        yield name, printable(", ".join(map(str, value)))
    else:
        yield name, ABSENT if value is None else printable(str(value))

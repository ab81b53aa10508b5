"""The report as one HTML page: no script, nothing fetched, light and dark as the reader has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from flows.table import EnergyTable
from quanos import __version__, figures
from quanos.headline import MEASURED, compared, headline, losses, paragraphs, reasons
from quanos.jsonfile import printable
from quanos.layer_energy import layer_energy
from quanos.markup import Content, Markup, element, join
from quanos.result_table import PARTS, Row, digits, energy_unit, result_rows
from quanos.results import WORST_CASE, Column, Run

POINT = MEASURED[0]
"""The operating point that layers are priced at."""

ABSENT = "\N{EN DASH}"


def page(runs: Sequence[Run], table: EnergyTable | None) -> str:
    """The whole page; `table` is the one that the runs were priced with, None if not at hand."""
    style = resources.files("quanos").joinpath("report.css").read_text("utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"QUANOS report: {', '.join(run.name for run in runs)}"),
        element("style", Markup(style)),
    )
    main = [_beside(runs), [_run(run, table) for run in runs], _table_section(table)]
    foot = element("footer", _provenance(runs, table))
    body = element("body", element("main", main), foot)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _beside(runs: Sequence[Run]) -> Markup | None:
    """Several runs side by side."""
    if len(runs) < 2:
        return None
    drawing = figures.pareto(runs, POINT, "Clean accuracy against energy")
    text = "Clean accuracy against energy of one image; dvafs, measured, nominal supply."
    head = ("run", "network", "mean bits", "clean accuracy", "energy", "memory saved", "gate")
    rows = [_cells("td", *_short(run, column)) for run in runs for column in run.columns]
    table = element("table", element("thead", _cells("th", *head)), element("tbody", rows))
    return element(
        "section",
        element("h1", f"{len(runs)} runs"),
        element("div", table, class_="scroll"),
        figure(drawing, text),
    )


def _short(run: Run, column: Column) -> Iterator[str]:
    yield from (run.name, column.title, f"{column.mean_bits:.2f}")
    yield f"{100 * column.clean_accuracy:.2f} %"
    price = column.prices.get(POINT)
    yield f"{digits(1e3 * price.energy_mj, 'µJ')} µJ" if price else ABSENT
    yield f"{column.memory_compression:.2f} x"
    yield "masked" if column.gate.masked else "passes"


def figure(drawing: Markup | None, caption: Content) -> Markup | None:
    """A drawing with its caption; nothing where there is no drawing."""
    return element("figure", drawing, element("figcaption", caption)) if drawing else None


def _run(run: Run, table: EnergyTable | None) -> Markup:
    return element(
        "section",
        element("p", f"QUANOS report · {run.name}", class_="kicker"),
        element("h1", headline(run)),
        _tiles(run),
        [element("p", _unbroken(text)) for text in paragraphs(run)],
        _losses(run),
        element("h2", "Results"),
        _results(run),
        _gates(run),
        element("h2", "Layers"),
        _layers(run, table),
        element("h2", "Attacks and training"),
        _curves(run),
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
    tiles.append(("masked" if column.gate.masked else "passes", "gate: can the attacks be read?"))
    shown = [element("div", element("b", value), text, class_="tile") for value, text in tiles]
    return element("div", shown, class_="tiles")


def _losses(run: Run) -> Markup | None:
    if not run.baselines:
        return None
    found = list(losses(run))
    if not found:
        text = f"{run.main.title} is behind no baseline in {compared(run)}."
        return element("p", text, class_="note")
    items = element("ul", [element("li", text) for text in found])
    return element("div", element("b", f"Where {run.main.title} lost"), items, class_="note")


def _results(run: Run) -> Markup:
    """The table of results; the parts of the strong protocol can be unfolded."""
    rows = list(result_rows(run))
    note = "Small figures under an energy: share of the same network at 16 bits on the same MAC."
    return join(
        _table(run, [row for row in rows if row.group != PARTS]),
        element("p", note, class_="small"),
        element(
            "details",
            element("summary", "What the worst case is made of"),
            _table(run, [row for row in rows if row.group == PARTS]),
        ),
    )


def _table(run: Run, rows: Sequence[Row]) -> Markup:
    head = [element("th", ""), *(element("th", c.title, class_="number") for c in run.columns)]
    bodies = [
        element("tbody", _group(group, members := list(found), len(head)), _rows(run, members))
        for group, found in groupby(rows, key=lambda row: row.group)
    ]
    whole = element("table", element("thead", element("tr", head)), bodies)
    return element("div", whole, class_="scroll")


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


def _gates(run: Run) -> Markup:
    """The gate's verdict on every column in plain words, with its numbers to unfold."""
    rows = []
    for column in run.columns:
        if column.gate.masked:
            text = (
                f"masked: {reasons(column)}. The attacks cannot see through this network, so its "
                "accuracy under attack is no robustness."
            )
        else:
            text = (
                "passes: no sign of masked gradients, so the accuracies under attack can be read "
                "as they stand."
            )
        rows.append(element("li", element("b", column.title), " ", text))
    title = element("h3", "Can the attacks be believed?")
    return join(title, element("ul", rows), element("details", _gate_numbers(run)))


def _gate_numbers(run: Run) -> Markup:
    head = ("network", "epsilon", "FGSM", "PGD", "random noise", "epsilon 0.5", "zero gradients")
    rows = []
    for column in run.columns:
        gate = column.gate
        ends = (gate.accuracy_at_half, gate.zero_gradient_share)
        for row in gate.rows:
            shares = (row.fgsm_accuracy, row.pgd_accuracy, row.noise_accuracy, *ends)
            numbers = [f"{row.epsilon:.4f}", *(f"{100 * share:.1f} %" for share in shares)]
            rows.append(_cells("td", column.title, *numbers))
    table = element("table", element("thead", _cells("th", *head)), element("tbody", rows))
    title = element("summary", "The gate's numbers: accuracy under each, zero gradients by image")
    return join(title, element("div", table, class_="scroll"))


def _cells(kind: str, *texts: str) -> Markup:
    return element("tr", [element(kind, text) for text in texts])


def _layers(run: Run, table: EnergyTable | None) -> Markup:
    column = run.main
    bits = {name: [([("s0", width)], str(width))] for name, width in column.bits.items()}
    text = f"Bits of each layer in {column.title}, of 16. A baseline has the same in every layer."
    return element(
        "div",
        figure(figures.bars(bits, 16), text),
        _ans(column),
        _layer_energy(run, table),
        class_="figures narrow",
    )


def _ans(column: Column) -> Markup | None:
    """ANS at the sensing epoch, which the bits come from, and at the end."""
    names = {"s0": f"at epoch {column.sense_epoch}", "s1": f"at the end, epoch {column.epochs}"}
    measured = (("s0", column.ans_sensed), ("s1", column.ans_final))
    rows = {
        name: [([(s, ans[name])], f"{ans[name]:.3f}") for s, ans in measured if name in ans]
        for name in column.bits
    }
    high = max((value for _, ans in measured for value in ans.values()), default=0.0)
    if high <= 0:
        return None
    text = "Adversarial noise sensitivity (ANS, Eq. 2) of each layer; the first decides the bits."
    return figure(join(figures.key(names), figures.bars(rows, high)), text)


def _layer_energy(run: Run, table: EnergyTable | None) -> Markup | None:
    if table is None or POINT not in run.main.prices:
        return None
    layers = layer_energy(run, run.main, table, POINT)
    high = max((layer.energy_uj for layer in layers), default=0.0)
    names = {"s0": "memory accesses", "s1": "MACs"}
    rows = {
        layer.name: [
            ([("s0", layer.access_uj), ("s1", layer.compute_uj)], digits(layer.energy_uj, "µJ"))
        ]
        for layer in layers
    }
    if not rows:
        return None
    scale, unit = energy_unit(run)
    total = digits(scale * run.main.prices[POINT].energy_mj, unit)
    text = (
        f"Energy of each layer for one image in µJ, {run.main.title}; dvafs, measured, nominal "
        f"supply. Together {total} {unit}."
    )
    return figure(join(figures.key(names), figures.bars(rows, high)), text)


def _curves(run: Run) -> Markup:
    drawings = [figure(*item) for item in _curve_list(run)]
    return element("div", drawings, class_="figures")


def _curve_list(run: Run) -> Iterator[tuple[Markup | None, str]]:
    note = "Lower is better, unless the gate says masked."
    for protocol, attack, text in (
        ("paper", "fgsm", "FGSM, the paper's protocol."),
        ("paper", "pgd", "PGD, the paper's protocol (few small steps: it flatters every network)."),
        ("strong", WORST_CASE, "Worst case of the strong protocol: the number to go by."),
    ):
        rows = {
            column.name: [row for row in getattr(column, protocol) if row.attack == attack]
            for column in run.columns
        }
        title = f"Adversarial loss against epsilon: {text}"
        drawing = figures.adversarial_loss(run.columns, rows, title)
        yield drawing, f"Adversarial loss against epsilon. {text} {note}"
    text = "Test accuracy after every epoch; baselines start from the same epochs at 16 bits."
    yield figures.training(run.columns, text), text


def _table_section(table: EnergyTable | None) -> Markup:
    title = element("h2", "Energy of one multiply-accumulate")
    if table is None:
        text = "The energy table at hand is not the one that priced the run; name it with --table."
        return element("section", title, element("p", text, class_="note"))
    unit = figures.conventional_fj(table)
    scale = f"1 is {unit:.0f} fJ, the conventional 16-bit MAC at nominal supply. " if unit else ""
    nominal = f"Nominal supply. {scale}Hollow: what the paper's tables imply, of its own 16 bit."
    scaled = f"The lowest supply that keeps the throughput. {scale}"
    glitches = "Glitches: the share of the energy that zero-delay simulation would miss."
    drawings = [
        figure(figures.mac_energy(table, "nominal", nominal), nominal),
        figure(figures.mac_energy(table, "scaled", scaled), scaled),
        figure(figures.glitch_share(table, glitches), glitches),
    ]
    return element("section", title, element("div", drawings, class_="figures"))


def _provenance(runs: Sequence[Run], table: EnergyTable | None) -> Markup:
    parts: list[Markup] = []
    for run in runs:
        parts.append(_list(f"Run {run.name}", {"seed": run.seed, **run.origin}, shown=True))
        parts.append(_list(f"Configuration of {run.name}", run.config))
    if table is not None:
        parts.append(_list("Energy table", {"sha256": table.sha256, **vars(table.header)}))
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

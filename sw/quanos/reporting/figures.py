"""The report's figures with titles and captions, as sections of the page."""

from __future__ import annotations

from collections.abc import Iterator

from flows.table import EnergyTable
from quanos.models import UnknownModelError
from quanos.reporting import charts
from quanos.reporting.headline import MEASURED
from quanos.reporting.layer_energy import layer_energy
from quanos.reporting.markup import Markup, element, join
from quanos.reporting.result_table import digits, energy_unit
from quanos.reporting.results import ABSENT
from quanos.results import WORST_CASE, Column, Run

POINT = MEASURED[0]
"""The operating point that layers are priced at and runs are compared at."""

LOSSES = (
    ("paper", "fgsm", "FGSM, paper's protocol", "One step of epsilon."),
    ("paper", "pgd", "PGD, paper's protocol", "Few small steps: it flatters every network."),
    ("strong", WORST_CASE, "Worst case, strong protocol", "The number to go by."),
)
"""Protocol, attack, title and remark of the figures of adversarial loss."""


def figure(title: str, drawing: Markup | None, caption: str) -> Markup | None:
    """A drawing with title and caption; nothing where there is no drawing."""
    if drawing is None:
        return None
    return element("figure", element("h3", title), drawing, element("figcaption", caption))


def layers(run: Run, table: EnergyTable | None) -> Markup:
    """Bits, ANS and energy of every layer of the run's main network."""
    drawn = (_bits(run.main), _ans(run.main), _layer_energy(run, table))
    return element("div", drawn, class_="figures narrow")


def _bits(column: Column) -> Markup | None:
    rows = {name: [([("s0", width)], str(width))] for name, width in column.bits.items()}
    text = f"{column.title}, of 16. A baseline has the same bits in every layer."
    if len(column.rounds) > 1:
        means = [f"{one.mean_bits:.2f} (epoch {one.epoch})" for one in column.rounds]
        text += f" Mean bits round by round: {', '.join(means)}."
    if column.rounds and (reason := column.rounds[-1].stopped):
        text += f" The last round was undone: {reason}."
    return figure("Bits of each layer", charts.bars(rows, 16), text)


def _ans(column: Column) -> Markup | None:
    """ANS in the first and the last round, which bits come from, and at the end of training."""
    ends = dict.fromkeys((0, len(column.rounds) - 1)) if column.rounds else {}
    found = [(f"epoch {column.rounds[n].epoch}", column.rounds[n].ans) for n in ends]
    found.append((f"the end, epoch {column.epochs}", column.ans_final))
    names = {f"s{style}": text for style, (text, _) in enumerate(found)}
    measured = [(f"s{style}", ans) for style, (_, ans) in enumerate(found)]
    rows = {
        name: [([(s, ans[name])], f"{ans[name]:.3f}") for s, ans in measured if name in ans]
        for name in column.bits
    }
    high = max((value for _, ans in measured for value in ans.values()), default=0.0)
    if high <= 0:
        return None
    drawing = join(charts.key(names), charts.bars(rows, high))
    text = (
        "ANS, Eq. 2: how far FGSM moves a layer's activations. "
        f"{_rounds(len(column.rounds))} the bits; the end decides nothing."
    )
    return figure("Adversarial noise sensitivity", drawing, text)


def _rounds(count: int) -> str:
    return "One round of sensing decides" if count == 1 else f"{count} rounds of sensing decide"


def _layer_energy(run: Run, table: EnergyTable | None) -> Markup | None:
    if table is None or POINT not in run.main.prices:
        return None
    try:
        priced = layer_energy(run, run.main, table, POINT)
    except UnknownModelError:
        text = (
            f"The network {run.model} is not known here: quanos --import MODULE report ..., with "
            "the module that registers it, shows them."
        )
        return figure("Energy of each layer", element("p", ABSENT), text)
    if not priced:
        return None
    names = {"s0": "memory accesses", "s1": "MACs"}
    rows = {
        layer.name: [
            ([("s0", layer.access_uj), ("s1", layer.compute_uj)], digits(layer.energy_uj, "µJ"))
        ]
        for layer in priced
    }
    high = max(layer.energy_uj for layer in priced)
    scale, unit = energy_unit(run)
    total = f"{digits(scale * run.main.prices[POINT].energy_mj, unit)} {unit}"
    text = f"{run.main.title}; dvafs, measured, nominal supply. Together {total}."
    drawing = join(charts.key(names), charts.bars(rows, high))
    return figure("Energy of each layer, µJ an image", drawing, text)


def curves(run: Run) -> Markup:
    """Adversarial loss by attack, and the course of training."""
    return element("div", list(_curves(run)), class_="figures")


def _curves(run: Run) -> Iterator[Markup | None]:
    note = "Lower is better" + (
        ", but a masked network's curve is no robustness."
        if any(column.gate.masked for column in run.columns)
        else "."
    )
    for protocol, attack, title, remark in LOSSES:
        rows = [
            [row for row in getattr(column, protocol) if row.attack == attack]
            for column in run.columns
        ]
        drawing = charts.adversarial_loss(run.columns, rows, f"Adversarial loss: {title}")
        yield figure(title, drawing, f"Adversarial loss against epsilon. {remark} {note}")
    text = "After every epoch; dashed: bits assigned. Baselines share the epochs before the first."
    yield figure("Test accuracy", charts.training(run.columns, "Test accuracy"), text)


def mac_energy(table: EnergyTable | None) -> Markup:
    """Energy per MAC of every scheme, from the energy table."""
    title = element("h2", "Energy of one multiply-accumulate (MAC)")
    if table is None:
        text = "The energy table at hand is not the one that priced the run; name it with --table."
        return element("section", title, element("p", text, class_="note"))
    unit = charts.conventional_fj(table)
    scale = f"1 is {unit:.0f} fJ, the conventional 16-bit MAC at nominal supply." if unit else ""
    implied = "Hollow: what the paper's tables imply, of its own 16-bit MAC."
    drawn = []
    for supply, name, more in (
        ("nominal", "Nominal supply", implied),
        ("scaled", "Lowest supply that keeps the throughput", ""),
    ):
        drawing = charts.mac_energy(table, supply, f"Energy per MAC: {name}")
        drawn.append(figure(name, drawing, f"{scale} {more}".strip()))
    text = "The share of the energy that zero-delay simulation would miss; nominal supply."
    drawn.append(figure("Glitches", charts.glitch_share(table, "Share of glitches"), text))
    return element("section", title, element("div", drawn, class_="figures"))

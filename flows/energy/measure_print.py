"""The energy table for the eye: relative to the conventional 16-bit MAC, beside the literature."""

from __future__ import annotations

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flows.energy import anchors
from flows.table import SCHEMES, EnergyRow, EnergyTable

UNEQUAL = (2, 4, 8, 16)  # widths of the printed part of the unequal rows
WIDTH = 100  # characters, where the output is no terminal
Column = dict[tuple[str, int], EnergyRow]  # rows by (scheme, bits)
PAPER = {ratio.of: ratio.value for ratio in anchors.PAPER}


def show(table: EnergyTable) -> None:
    """Print a table per stimulus and supply, unequal bits, and the published figures.

    Energies are relative to the conventional 16-bit MAC at the nominal supply with the same
    stimulus, or in fJ where the table does not hold it.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for stimulus in dict.fromkeys(row.stimulus for row in table.rows):
        every = [row for row in table.rows if row.stimulus == stimulus]
        rows = [row for row in every if row.w_bits == row.a_bits]
        nominal = _column(rows, "nominal")
        reference = nominal.get(("fixed", 16))
        for supply in sorted({row.supply for row in rows}):
            title = f"{stimulus} codes, {supply} supply"
            console.print(_table(_column(rows, supply), reference, title))
        for scheme in SCHEMES:
            _print_unequal(console, scheme, every, reference, stimulus)
        if reference and stimulus == "uniform":
            anchors.show(console, rows)
    console.print(f"Scaled supply: {table.header.voltage_model}.", highlight=False)


def _column(rows: list[EnergyRow], supply: str) -> Column:
    return {(r.scheme, r.w_bits): r for r in rows if r.supply == supply}


def _table(rows: Column, reference: EnergyRow | None, title: str) -> Table:
    schemes = sorted({scheme for scheme, _ in rows}, key=SCHEMES.index)
    told = sorted({s for s, k in PAPER if (s, k) in rows}) if reference else []
    scale = reference.energy_fj if reference else 1.0
    title = f"Energy per MAC ({'relative' if reference else 'fJ'}), {title}"
    view = Table(title=title, box=SIMPLE_HEAD, min_width=len(title))
    view.add_column("bits", justify="right")
    for scheme in schemes:
        view.add_column(scheme, justify="right", no_wrap=True)
    for scheme in told:
        view.add_column(f"{scheme}*", justify="right", no_wrap=True)
    for bits in sorted({k for _, k in rows}):
        cells = [_cell(rows.get((scheme, bits)), scale) for scheme in schemes]
        paper = [PAPER.get((scheme, bits)) for scheme in told]
        view.add_row(str(bits), *cells, *("" if x is None else f"{x:g}" for x in paper))
    view.caption = "beside each energy its 95 % interval and its glitch share"
    if reference:
        view.caption += (
            f"; 1 = fixed 16 bits, {reference.energy_fj:.0f} +- {reference.ci95_fj:.0f} fJ at "
            f"{reference.vdd_v:.2f} V and {reference.clock_ps:.0f} ps"
        )
    if told:
        view.caption += "; * the paper's, solved back from its Table III"
    return view


def _cell(row: EnergyRow | None, scale: float) -> str:
    if row is None:
        return ""
    share = row.glitch_fj / row.energy_fj
    digits = 3 if scale > 1.0 else 1
    return f"{row.energy_fj / scale:.{digits}f} ±{row.ci95_fj / scale:.{digits}f} {share:3.0%}"


def _print_unequal(
    console: Console,
    scheme: str,
    rows: list[EnergyRow],
    reference: EnergyRow | None,
    stimulus: str,
) -> None:
    """Some of the pairs of widths, where the table holds them."""
    found = {(r.w_bits, r.a_bits): r for r in rows if (r.scheme, r.supply) == (scheme, "nominal")}
    if reference is None or not all((w, a) in found for w in UNEQUAL for a in UNEQUAL):
        return
    title = f"{scheme}, weights (w) x activations (a), {stimulus}"
    view = Table(title=title, box=SIMPLE_HEAD, min_width=len(title))
    view.add_column("w \\ a", justify="right")
    for a in UNEQUAL:
        view.add_column(str(a), justify="right")
    for w in UNEQUAL:
        energies = (found[w, a].energy_fj / reference.energy_fj for a in UNEQUAL)
        view.add_row(str(w), *(f"{energy:.3f}" for energy in energies))
    console.print(view)

"""The energy table for the eye: relative to the conventional 16-bit MAC, beside the paper."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flows.table import EnergyRow, EnergyTable

# Fig. 1(d) of the paper, solved back from its Table III: energy of a MAC relative to 16 bits.
PAPER = {("dg", 8): 0.33, ("dg", 5): 0.16, ("dvafs", 8): 0.10, ("dvafs", 5): 0.056}


ORDER = ("fixed", "dg", "dvafs", "dvafs_st")


def show(table: EnergyTable) -> None:
    """Print one table per stimulus and supply.

    Energies are relative to the conventional 16-bit MAC at the nominal supply with the same
    stimulus, or in fJ where the table does not hold it.
    """
    console = Console()
    for stimulus in sorted({row.stimulus for row in table.rows}):
        rows = [r for r in table.rows if r.stimulus == stimulus and r.w_bits == r.a_bits]
        found = [r for r in rows if (r.scheme, r.w_bits, r.supply) == ("fixed", 16, "nominal")]
        reference = found[0] if found else None
        for supply in sorted({row.supply for row in rows}):
            chosen = {(r.scheme, r.w_bits): r for r in rows if r.supply == supply}
            title = f"{stimulus} codes, {supply} supply"
            console.print(_table(chosen, reference, title))


def _table(
    rows: dict[tuple[str, int], EnergyRow], reference: EnergyRow | None, title: str
) -> Table:
    schemes = sorted({scheme for scheme, _ in rows}, key=ORDER.index)
    told = sorted({s for s, k in PAPER if (s, k) in rows}) if reference else []
    scale = reference.energy_fj if reference else 1.0
    view = Table(
        title=f"Energy per MAC ({'relative' if reference else 'fJ'}), {title}", box=SIMPLE_HEAD
    )
    view.add_column("bits", justify="right")
    for scheme in schemes:
        view.add_column(scheme, justify="right", no_wrap=True)
    for scheme in told:
        view.add_column(f"{scheme}*", justify="right", no_wrap=True)
    for bits in sorted({k for _, k in rows}):
        cells = [_cell(rows.get((scheme, bits)), scale) for scheme in schemes]
        paper = [PAPER.get((scheme, bits)) for scheme in told]
        view.add_row(str(bits), *cells, *("" if x is None else f"{x:g}" for x in paper))
    view.caption = "beside each energy its glitch share"
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
    return f"{row.energy_fj / scale:.3f} {row.glitch_fj / row.energy_fj:3.0%}"

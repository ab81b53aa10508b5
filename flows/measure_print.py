"""The energy table for the eye: relative to the conventional 16-bit MAC, beside the paper."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from flows.table import EnergyRow, EnergyTable

# Fig. 1(d) of the paper, solved back from its Table III: energy of a MAC relative to 16 bits.
PAPER = {("dg", 8): 0.33, ("dg", 5): 0.16, ("dvafs", 8): 0.10, ("dvafs", 5): 0.056}


def show(table: EnergyTable) -> None:
    """Print one table per stimulus and supply; nothing where the 16-bit reference is missing."""
    groups = sorted({(row.stimulus, row.supply) for row in table.rows})
    for stimulus, supply in groups:
        rows = {
            (r.scheme, r.w_bits): r
            for r in table.rows
            if (r.stimulus, r.supply) == (stimulus, supply) and r.w_bits == r.a_bits
        }
        Console().print(_table(rows, f"{stimulus}, {supply} supply"))


def _table(rows: dict[tuple[str, int], EnergyRow], title: str) -> Table:
    schemes = sorted({scheme for scheme, _ in rows}, key=("fixed", "dg", "dvafs", "dvafs_st").index)
    reference = rows.get(("fixed", 16))
    unit = "relative to fixed 16" if reference else "fJ"
    scale = reference.energy_fj if reference else 1.0
    paper = {key: value for key, value in PAPER.items() if reference and key in rows}
    view = Table(title=f"Energy per MAC, {unit} (glitch share): {title}")
    view.add_column("bits", justify="right")
    for scheme in schemes:
        view.add_column(scheme, justify="right")
    for scheme in sorted({s for s, _ in paper}):
        view.add_column(f"paper {scheme}", justify="right")
    for bits in sorted({k for _, k in rows}):
        cells = [_cell(rows.get((scheme, bits)), scale) for scheme in schemes]
        told = [paper.get((scheme, bits)) for scheme in sorted({s for s, _ in paper})]
        view.add_row(str(bits), *cells, *("" if x is None else f"{x:g}" for x in told))
    if reference:
        view.caption = (
            f"fixed 16: {reference.energy_fj:.0f} +- {reference.ci95_fj:.0f} fJ at "
            f"{reference.vdd_v:.2f} V, {reference.clock_ps:.0f} ps; the paper gives no more than "
            "two points, its DVAFS with supplies down to 0.8 V"
        )
    return view


def _cell(row: EnergyRow | None, scale: float) -> str:
    if row is None:
        return ""
    return f"{row.energy_fj / scale:.3g} ({row.glitch_fj / row.energy_fj:.0%})"

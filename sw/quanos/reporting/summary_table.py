"""A run's results as a table on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from quanos.results import PASSES


def summary_table(summary: dict[str, Any]) -> Table:
    """A column per network; energies are shares of the same network's at 16 bits."""
    columns = summary["columns"]
    table = Table(title=f"{summary['dataset']}, {summary['model']}, seed {summary['seed']}")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for label, cells in rows(columns):
        table.add_row(label, *cells)
    return table


def print_summary(summary: dict[str, Any], folder: Path) -> None:
    """The table, what energies it lacks and why, and where the run lies."""
    console = Console(width=None if Console().is_terminal else 100)
    console.print(summary_table(summary))
    for scheme, reason in missing(summary["columns"]).items():
        console.print(f"no energy by {scheme}: {reason}", highlight=False, markup=False)
    console.print(f"run folder {folder}", highlight=False)


def missing(columns: dict[str, Any]) -> dict[str, str]:
    """Why an energy table that was given prices no network, or not all, by a scheme."""
    found: dict[str, str] = {}
    for column in columns.values():
        for scheme, reason in column.get("energy_missing", {}).items():
            found.setdefault(scheme, reason)
    return found


def rows(columns: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """(label, a cell per network).

    What a masked network withstands is no robustness, and is not told.
    """
    every = list(columns.values())
    yield "bits per layer", [" ".join(map(str, c["bits"].values())) for c in every]
    yield "mean bits", [f"{c['mean_bits']:.2f}" for c in every]
    if any("after" in one for c in every for one in c["rounds"]):
        yield "rounds kept", [_kept(c["rounds"]) for c in every]
    yield "clean accuracy, %", [f"{100 * c['clean_accuracy']:.2f}" for c in every]
    for protocol, shown in (("paper", ("fgsm", "pgd")), ("strong", ("worst_case",))):
        for row in every[0][protocol]:
            if row["attack"] in shown:
                label = f"{protocol}: {row['attack']} at {row['epsilon']:.3f}, %"
                yield label, [_withstood(c, protocol, row) for c in every]
    yield "gate", [c["gate"]["verdict"] for c in every]
    yield "weights, Mbit", [f"{1e3 * c['memory_gbit']:.3f}" for c in every]
    # A table may lack a scheme at the widths of one network alone.
    for scheme, reading, supply in dict.fromkeys(_point(row) for c in every for row in c["energy"]):
        if reading == "measured" or scheme == "standard":
            label = f"energy, % of 16 bit: {scheme}, {supply}"
            yield label, [_share(c, (scheme, reading, supply)) for c in every]


def _kept(rounds: list[dict[str, Any]]) -> str:
    """How many rounds of assigning were kept, of those that there were."""
    return f"{sum('stopped' not in one for one in rounds)} of {len(rounds)}"


def _point(row: dict[str, Any]) -> tuple[str, str, str]:
    """What identifies an energy: scheme, reading, supply."""
    return row["scheme"], row["reading"], row["supply"]


def _share(column: dict[str, Any], point: tuple[str, str, str]) -> str:
    """Energy at an operating point in percent of 16 bits, or a dash where the table has no row."""
    for row in column["energy"]:
        if _point(row) == point:
            return f"{100 * row['ratio_to_16']:.1f}"
    return "-"


def _withstood(column: dict[str, Any], protocol: str, like: dict[str, Any]) -> str:
    """Accuracy at the same attack; a dash where that was not made, as parts of `strong` may not."""
    if column["gate"]["verdict"] != PASSES:
        return "masked"
    wanted = like["attack"], like["epsilon"]
    found = (r["accuracy"] for r in column[protocol] if (r["attack"], r["epsilon"]) == wanted)
    value = next(found, None)
    return "-" if value is None else f"{100 * value:.2f}"

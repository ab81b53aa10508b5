"""`quanos report`: one file that shows what runs found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from quanos.cli import print_json


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write the report of one or several finished runs.

    The HTML page holds everything it shows: no network is needed to open it, and every number in
    it is from the run folders and the energy table.

    Example: quanos report runs/digits --out report.html
    """

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="RUN ...", help_behavior_hint="(required)"),
    ]
    """Run folders that quanos train made."""
    table: Path | None = None
    """Energy table that the runs were priced with; without it the one that ships."""
    layers: Path | None = None
    """What python -m flows.network measured on the first run's layers; without it
    network_table.json in a run's folder, where there is one. HTML alone shows it."""
    out: Path | None = None
    """File to write; without it report.html, .json, .md or .csv by the format."""
    format: Literal["html", "json", "markdown", "csv"] = "html"
    """html is the page; json holds all files of the runs; markdown and csv the table of results."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Write the report and say where it is."""
        if not self.runs:
            raise ValueError("no run is named; give at least one folder that quanos train made.")
        from quanos.report import SUFFIXES, write_report

        out = self.out or Path(f"report.{SUFFIXES[self.format]}")
        written = write_report(
            self.runs, out, table_path=self.table, layers_path=self.layers, kind=self.format
        )
        if self.json:
            print_json(written)
        else:
            print(f"{out}: {written['bytes'] / 1e3:.0f} kB, {len(self.runs)} run(s)")

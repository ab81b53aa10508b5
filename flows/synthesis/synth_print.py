"""The table of a synthesis for the eye and as a page: cells, area, path of every design."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.synth import Synthesis
    from flows.synthesis.synth_jobs import Job

HEADER = ("design", "cells", "area um2", "um2/element", "critical path ps", "area / fixed")
CAPTION = "area / fixed: of a MAC to mac_fixed_w16a16, of an array to the fixed array of its shape"


def _rows(results: list[Synthesis], jobs: list[Job]) -> Iterator[tuple[str, ...]]:
    """Design by design; areas also relative to those of the conventional 16-bit design."""
    areas = {result.top: result.area_um2 for result in results}
    for r, job in zip(results, jobs, strict=True):
        elements = job.spec.get("rows", 1) * job.spec.get("columns", 1)
        each = f"{r.area_um2 / elements:.1f}" if "rows" in job.spec else "-"
        base = areas.get(_conventional(job))
        ratio = f"{r.area_um2 / base:.3f}" if base else "-"
        yield r.top, str(r.cells), f"{r.area_um2:.1f}", each, f"{r.critical_path_ps:.0f}", ratio


def show(results: list[Synthesis], jobs: list[Job]) -> None:
    """Print the table, without the columns that these designs have nothing in."""
    from rich.console import Console
    from rich.table import Table

    rows = list(_rows(results, jobs))
    columns = {name: cells for name, *cells in zip(HEADER, *rows, strict=True) if {*cells} != {"-"}}
    caption = CAPTION if HEADER[-1] in columns else None
    table = Table(title=f"Synthesis onto {results[0].library}", caption=caption)
    for name in columns:
        table.add_column(name, justify="left" if name == "design" else "right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def page(results: list[Synthesis], jobs: list[Job]) -> str:
    """The table as a page of Markdown."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *_rows(results, jobs)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    first = results[0]
    return (
        "# Cells, area and critical path\n\n"
        f"Library {first.library} at its own supply, clock aim {first.options['clock_ps']:g} ps, "
        f"Yosys {first.yosys}. Written by `nox -s synth -- --page docs/area.md`.\n"
        f"{CAPTION}.\n\n{table}\n"
    )


def _conventional(job: Job) -> str:
    """The conventional 16-bit design that a design is compared with."""
    if "rows" in job.spec:
        return f"array_fixed_w16a16_{job.spec['rows']}x{job.spec['columns']}"
    return "mac_fixed_w16a16"

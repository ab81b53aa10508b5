"""The report of one or several runs as one file: HTML for people, JSON, Markdown and CSV for more.

A pure function of the run folders and the energy table: same files, same report.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.table import EnergyTable
from quanos.reporting.headline import headline, losses, paragraphs
from quanos.reporting.page import page
from quanos.reporting.result_table import digits, result_rows
from quanos.results import Run, read_run
from quanos.run import write_text
from quanos.storage.jsonfile import FileContentError

FORMATS = ("html", "json", "markdown", "csv")
SUFFIXES = {"html": "html", "json": "json", "markdown": "md", "csv": "csv"}


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    table_path: Path | None = None,
    layers_path: Path | None = None,
    kind: str = "html",
) -> dict[str, Any]:
    """Read the runs in `folders` and write their report to `out`; returns what was written.

    Raises FileContentError for a folder without a finished run, TableError for a bad table.
    """
    runs = [read_run(folder) for folder in folders]
    table = find_table(runs, table_path)
    try:
        text = render(runs, table, kind, layers_path)
    except RecursionError:
        raise FileContentError("a file of these runs is nested too deeply to be one.") from None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    except OSError as error:
        reason = f"{out} cannot be written ({error.strerror}); name another file with --out."
        raise FileContentError(reason) from None
    names = [run.name for run in runs]
    return {"out": str(out), "format": kind, "bytes": len(text.encode()), "runs": names}


def find_table(runs: Sequence[Run], path: Path | None) -> EnergyTable | None:
    """The table that priced the runs; None where none is named and the shipped one did not.

    Raises FileContentError for a named table that did not price a run.
    """
    table = EnergyTable.load(path)
    for run in runs:
        if run.table_sha256 != table.sha256:
            if path is None:
                return None
            raise FileContentError(
                f"{run.name} was priced with energy table {run.table_sha256[:12]}, but {path} is "
                f"{table.sha256[:12]}; name the table that the run was given."
            )
    return table


def render(
    runs: Sequence[Run], table: EnergyTable | None, kind: str, layers_path: Path | None = None
) -> str:
    """The report's text in one of FORMATS."""
    if kind == "html":
        return page(runs, table, layers_path)
    return {"json": _json, "markdown": _markdown, "csv": _csv}[kind](runs)


def _json(runs: Sequence[Run]) -> str:
    content = [
        {
            "folder": run.name,
            "headline": headline(run),
            "lost": list(losses(run)),
            "summary": run.summary,
            "run": run.origin,
            "config": run.config,
        }
        for run in runs
    ]
    return json.dumps({"runs": content}, indent=1, default=str) + "\n"


def _markdown(runs: Sequence[Run]) -> str:
    return "\n".join(line for run in runs for line in _markdown_run(run))


def _markdown_run(run: Run) -> list[str]:
    titles = " | ".join(_plain(column.title) for column in run.columns)
    lines = [f"# {_plain(headline(run))}", ""]
    lines += [text for paragraph in paragraphs(run) for text in (_plain(paragraph), "")]
    lines += [f"- lost: {_plain(text)}" for text in losses(run)] + [""]
    lines += [f"| quantity | unit | {titles} |", "|---|---|" + "---:|" * len(run.columns)]
    for row in result_rows(run):
        cells = [
            _cell(value, row.unit) + (" (masked)" if row.attacked and column.gate.masked else "")
            for column, value in zip(run.columns, row.values, strict=True)
        ]
        lines.append(
            f"| {_plain(f'{row.group}: {row.label}')} | {row.unit} | {' | '.join(cells)} |"
        )
    return [*lines, ""]


def _cell(value: float | None, unit: str) -> str:
    return "" if value is None else digits(value, unit)


def _plain(text: str) -> str:
    """Text that Markdown takes as text."""
    for char in "\\`*_<>[]|#&":
        text = text.replace(char, f"\\{char}")
    return text


def _csv(runs: Sequence[Run]) -> str:
    """A line per number: run, network, group, quantity, unit, value, ratio to 16 bits, masked."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("run", "network", "group", "quantity", "unit", "value", "ratio_to_16", "masked")
    )
    for run in runs:
        for row in result_rows(run):
            ratios = row.ratios or (None,) * len(row.values)
            for column, value, ratio in zip(run.columns, row.values, ratios, strict=True):
                masked = "masked" if row.attacked and column.gate.masked else ""
                names = (run.name, column.name, row.group, row.label, row.unit)
                writer.writerow((*names, value, ratio, masked))
    return out.getvalue()

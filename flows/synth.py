"""Synthesis: a Verilog design mapped onto the cells of a Liberty library.

`python -m flows.synth DESIGN.v... --top NAME --out DIR` writes `NAME.netlist.json`,
`NAME.netlist.v` and `NAME.synth.json`, and `LIBRARY.cells.v`, functional models of the cells, with
which any simulator runs the netlists; `python -m flows.synth --rtl DIR --out DIR` does so for
every design in a folder (one top per file, named as the file) and prints a table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows import console, yosys
from flows.cell_models import cell_models
from flows.console import FlowError, write_text
from flows.library import Library
from flows.netlist import Netlist
from flows.netlist_write import tidy, to_json, to_verilog
from flows.synth_script import Options, check_log, script
from flows.timing import critical_path_ps

BASELINE = "mac_dg_16"  # the conventional 16-bit MAC
FLOW = 4  # counts up when the script below gives other netlists


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What NAME.synth.json holds."""

    top: str
    cells: int
    area_um2: float
    critical_path_ps: float
    by_cell: dict[str, int]
    library: str
    library_sha256: str
    netlist_sha256: str
    inputs_sha256: str
    yosys: str
    options: dict[str, Any]


def synthesize(
    sources: list[Path], top: str, out: Path, library: Library, options: Options | None = None
) -> Synthesis:
    """Synthesise one top into `out`; what is there already from the same inputs is kept.

    Raises FlowError, with the name of the signal or cell, for what Yosys refuses and for latches,
    loops, undriven or multiply driven nets and x in the result.
    """
    options = options or Options()
    if not re.fullmatch(r"[A-Za-z_][\w$]*", top):
        raise FlowError(f"{top!r} is no name of a Verilog module.")
    inputs = _hash_inputs(sources, top, library, options)
    report = out / f"{top}.synth.json"
    if (kept := _kept(report, inputs)) is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="quanos-synth-") as folder:
        raw = Path(folder) / "netlist.json"
        yosys.run(script(sources, top, library, options, Path(folder), raw), top, check_log)
        netlist = tidy(Netlist.load(raw, library, top), library)
    if not netlist.instances:
        raise FlowError(f"{top} has no cell left: all its outputs are constants or inputs.")
    result = _describe(netlist, library, options, inputs)
    write_text(out / f"{top}.netlist.json", to_json(netlist, library))
    write_text(out / f"{top}.netlist.v", to_verilog(netlist))
    write_text(report, json.dumps(asdict(result), indent=1) + "\n")
    return result


def _hash_inputs(sources: list[Path], top: str, library: Library, options: Options) -> str:
    """Of everything that decides the result."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    rest = [FLOW, top, library.sha256, asdict(options), yosys.version()]
    digest.update(json.dumps(rest).encode())
    return digest.hexdigest()


def _kept(report: Path, inputs: str) -> Synthesis | None:
    """The finished synthesis of the same inputs, if its files are all there."""
    try:
        data = json.loads(report.read_text(encoding="utf-8"))
        known = Synthesis(**data)
    except (OSError, ValueError, TypeError):
        return None
    files = [report.with_name(f"{known.top}.netlist.{end}") for end in ("json", "v")]
    return known if known.inputs_sha256 == inputs and all(f.exists() for f in files) else None


def _describe(netlist: Netlist, library: Library, options: Options, inputs: str) -> Synthesis:
    by_cell = Counter(instance.cell for instance in netlist.instances)
    area = sum(count * library.cells[name].area_um2 for name, count in by_cell.items())
    return Synthesis(
        top=netlist.top,
        cells=len(netlist.instances),
        area_um2=round(area, 6),
        critical_path_ps=round(critical_path_ps(netlist, library), 3),
        by_cell=dict(sorted(by_cell.items())),
        library=library.name,
        library_sha256=library.sha256,
        netlist_sha256=netlist.sha256,
        inputs_sha256=inputs,
        yosys=yosys.version(),
        options=asdict(options),
    )


@dataclass(frozen=True)
class Job:
    """One design to synthesise."""

    top: str
    sources: tuple[Path, ...]


def jobs_in(folder: Path) -> list[Job]:
    """A job for every Verilog file in the folder, its top named as the file."""
    files = sorted(folder.glob("*.v"), key=_natural)
    if not files:
        raise FlowError(
            f"{folder} holds no .v files; write them with `python -m hw.rtl.verilog --all "
            f"--out {folder}`."
        )
    return [Job(file.stem, (file,)) for file in files]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts w9 before w10."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D+)(\d*)", path.stem)]


def synthesize_all(
    jobs: list[Job], out: Path, library: Library, options: Options, workers: int = 2
) -> Iterator[Synthesis]:
    """Results in the jobs' order, `workers` designs at a time."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [
            pool.submit(synthesize, list(job.sources), job.top, out, library, options)
            for job in jobs
        ]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.synth", description=__doc__)
    parser.add_argument("sources", nargs="*", type=Path, metavar="DESIGN.v")
    parser.add_argument("--top", help="name of the top module")
    parser.add_argument("--rtl", type=Path, metavar="DIR", help="synthesise every .v file in DIR")
    parser.add_argument("--liberty", type=Path, help="library to map to (default: the shipped one)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--clock-ps", type=float, default=Options.clock_ps, metavar="N")
    parser.add_argument("--no-clockgate", action="store_true", help="enables become multiplexers")
    parser.add_argument("--booth", action="store_true", help="Booth recoding of `*`")
    parser.add_argument(
        "--extract-fa",
        action=argparse.BooleanOptionalAction,
        help="use full and half adder cells (default: where the library has them)",
    )
    parser.add_argument("--dont-use", action="append", default=[], metavar="CELL")
    parser.add_argument("--workers", type=int, default=2, help="designs at a time (default: 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.rtl and (arguments.sources or arguments.top):
        parser.error("give either --rtl DIR or DESIGN.v with --top NAME")
    if not arguments.rtl and not (arguments.sources and arguments.top):
        parser.error("give DESIGN.v... --top NAME, or --rtl DIR")
    if not arguments.clock_ps > 0 or arguments.workers < 1:
        parser.error("--clock-ps and --workers must be positive")
    options = Options(
        clock_ps=arguments.clock_ps,
        clock_gating=not arguments.no_clockgate,
        booth=arguments.booth,
        extract_fa=arguments.extract_fa,
        dont_use=tuple(arguments.dont_use),
    )
    library = Library.load(arguments.liberty)
    jobs = (
        jobs_in(arguments.rtl) if arguments.rtl else [Job(arguments.top, tuple(arguments.sources))]
    )
    results = list(
        console.track(
            synthesize_all(jobs, arguments.out, library, options, arguments.workers),
            "synth",
            total=len(jobs),
            label=lambda r: f"{r.top}, {r.cells} cells, {r.area_um2:.0f} um2",
        )
    )
    write_text(arguments.out / f"{library.name}.cells.v", cell_models(library))
    if arguments.json:
        console.print_json({"designs": [asdict(result) for result in results]})
    else:
        _print_table(results)
    return 0


def _print_table(results: list[Synthesis]) -> None:
    """Design by design; areas also relative to the conventional 16-bit MAC where it is there."""
    from rich.console import Console
    from rich.table import Table

    base = next((r.area_um2 for r in results if r.top == BASELINE), None)
    table = Table(title=f"Synthesis onto {results[0].library}")
    for name in ("design", "cells", "area um2", "critical path ps", f"area / {BASELINE}"):
        table.add_column(name, justify="left" if name == "design" else "right", no_wrap=True)
    for r in results:
        ratio = f"{r.area_um2 / base:.3f}" if base else "-"
        table.add_row(r.top, str(r.cells), f"{r.area_um2:.1f}", f"{r.critical_path_ps:.0f}", ratio)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    console.run(main)

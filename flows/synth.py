"""Synthesis: a Verilog design mapped onto the cells of a Liberty library.

`python -m flows.synth DESIGN.v... --top NAME --out DIR` writes `NAME.netlist.json`,
`NAME.netlist.v` and `NAME.synth.json`, and `LIBRARY.cells.v`, functional models of the cells, with
which any simulator runs the netlists; `python -m flows.synth --rtl DIR --out DIR` does so for
every design in a folder (one top per file, named as the file) and prints a table. An array, which
has NAME.array.json beside its Verilog, is synthesised element by element and then flattened.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows import console
from flows.cells.cell_models import cell_models
from flows.console import FlowError, write_text
from flows.gates.netlist_write import tidy, to_json, to_verilog
from flows.library import Library
from flows.netlist import Netlist
from flows.synthesis import synth_print, yosys
from flows.synthesis.sources import taken
from flows.synthesis.synth_jobs import Job, jobs_in
from flows.synthesis.synth_script import SOURCE, Options, check_log, script
from flows.synthesis.unknowns import check_unknowns
from flows.timing import critical_path_ps
from hw.command import Parser

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
        check_unknowns((Path(folder) / SOURCE).read_text(encoding="utf-8"), top)
        netlist = tidy(_mapped(raw, library, top), library)
    if not netlist.instances:
        raise FlowError(f"{top} has no cell left: all its outputs are constants or inputs.")
    result = _describe(netlist, library, options, inputs)
    write_text(out / f"{top}.netlist.json", to_json(netlist, library))
    write_text(out / f"{top}.netlist.v", to_verilog(netlist))
    write_text(report, json.dumps(asdict(result), indent=1) + "\n")
    return result


def _mapped(raw: Path, library: Library, top: str) -> Netlist:
    """Yosys' netlist; its place says nothing to whoever reads what is wrong with it."""
    try:
        return Netlist.load(raw, library, top)
    except FlowError as error:
        raise FlowError(str(error).removeprefix(f"{raw}: ").replace(str(raw), top)) from None


def synthesized(
    sources: Sequence[Path], top: str, out: Path, library: Library, options: Options
) -> Synthesis | None:
    """What `synthesize` left in `out` from the same inputs; None where it would have to work."""
    inputs = _hash_inputs(list(sources), top, library, options)
    return _kept(out / f"{top}.synth.json", inputs)


def _hash_inputs(sources: list[Path], top: str, library: Library, options: Options) -> str:
    """Of everything that decides the result."""
    digest = hashlib.sha256()
    for source in [*sources, *taken(sources, options.include)]:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    rest = [FLOW, top, library.sha256, options.stated(), yosys.version()]
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
        options=options.stated(),
    )


def synthesize_all(
    jobs: list[Job],
    out: Path,
    library: Library,
    options: Options,
    workers: int = 2,
    clock_gating: bool | None = None,
) -> Iterator[Synthesis]:
    """Results in the jobs' order, `workers` designs at a time."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [
            pool.submit(
                synthesize, list(job.sources), job.top, out, library,
                job.options(options, clock_gating),
            )
            for job in jobs
        ]  # fmt: skip
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.synth", __doc__)
    _add_design(parser)
    _add_mapping(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the results")
    add("--page", type=Path, metavar="FILE.md", help="write the table as Markdown")
    add("--workers", type=int, default=2, help="designs at a time (default: 2)")
    parser.add_plan()
    parser.add_json()
    arguments = parser.parse_args()
    if arguments.rtl and (arguments.sources or arguments.top):
        parser.error("give either --rtl DIR or DESIGN.v with --top NAME")
    if not arguments.rtl and not (arguments.sources and arguments.top):
        parser.error("give DESIGN.v... --top NAME, or --rtl DIR")
    if not arguments.clock_ps > 0 or arguments.workers < 1:
        parser.error("--clock-ps and --workers must be positive")
    return arguments


def _add_design(parser: Parser) -> None:
    """What is synthesised."""
    add = parser.add_argument
    add("sources", nargs="*", type=Path, metavar="DESIGN.v")
    add("--top", help="name of the top module")
    add(
        "-I", "--include", action="append", default=[], metavar="DIR",
        help="folder of included files; may be given again",
    )  # fmt: skip
    add(
        "-D", "--define", action="append", default=[], metavar="NAME[=VALUE]",
        help="define a macro; may be given again",
    )  # fmt: skip
    add(
        "--parameter", action="append", default=[], metavar="NAME=VALUE",
        help="set a parameter of the top; may be given again",
    )  # fmt: skip
    add(
        "--rtl", type=Path, action="append", default=[], metavar="DIR",
        help="synthesise every .v file in DIR; may be given again",
    )  # fmt: skip


def _add_mapping(parser: Parser) -> None:
    """Onto which cells, and how."""
    add = parser.add_argument
    add("--liberty", type=Path, help="library to map to (default: the shipped one)")
    add(
        "--clock-ps", type=float, default=Options.clock_ps, metavar="N",
        help="period that mapping aims at (default: 2000)",
    )  # fmt: skip
    add(
        "--clockgate",
        action=argparse.BooleanOptionalAction,
        help="enables become clock gates, not multiplexers (default: but for data-gated arrays)",
    )
    add("--hierarchical", action="store_true", help="map every module once, flatten afterwards")
    add("--booth", action="store_true", help="Booth recoding of `*`")
    add(
        "--extract-fa",
        action=argparse.BooleanOptionalAction,
        help="use full and half adder cells (default: where the library has them)",
    )
    add(
        "--dont-use", action="append", default=[], metavar="CELL",
        help="map without this cell; may be given again",
    )  # fmt: skip


def main() -> int:
    """Synthesise what the arguments name; write netlists and cell models, print the table."""
    arguments = _arguments()
    options = _options(arguments)
    library = Library.load(arguments.liberty)
    jobs = [job for folder in arguments.rtl for job in jobs_in(folder)]
    jobs = jobs or [Job.of(arguments.top, arguments.sources)]
    if arguments.plan:
        from flows.planning import synth_plan

        plan = synth_plan(
            jobs, arguments.out, library, options,
            clock_gating=arguments.clockgate, workers=arguments.workers,
        )  # fmt: skip
        plan.give(as_json=arguments.json)
        return 0
    run = synthesize_all(
        jobs, arguments.out, library, options, arguments.workers, arguments.clockgate
    )
    results = list(console.track(run, "synth", len(jobs), _label))
    write_text(arguments.out / f"{library.name}.cells.v", cell_models(library))
    if arguments.page:
        write_text(arguments.page, synth_print.page(results, jobs))
    if arguments.json:
        console.print_json({"designs": [asdict(result) for result in results]})
    else:
        synth_print.show(results, jobs)
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        clock_ps=arguments.clock_ps,
        hierarchical=arguments.hierarchical,
        booth=arguments.booth,
        extract_fa=arguments.extract_fa,
        dont_use=tuple(arguments.dont_use),
        include=tuple(arguments.include),
        define=tuple(arguments.define),
        parameters=tuple(arguments.parameter),
    )


def _label(result: Synthesis) -> str:
    return f"{result.top}, {result.cells} cells, {result.area_um2:.0f} um2"


if __name__ == "__main__":
    console.run(main)

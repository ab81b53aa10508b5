"""The energy table: every precision of every MAC, synthesised, simulated and priced.

`python -m flows.measure [--schemes ...] [--bits ...] [--stimuli ...] [--vectors N]
[--scheduler ADDRESS] --out FILE`. Points are independent and kept beside the output as they are
done, so that a sweep that was cut off goes on; the same seed gives the same table, to the last
digit, whatever the number of workers. Stimuli are uniform or gaussian codes, activations unsigned
or (`_signed`) signed, or a `.npz` with a layer's own (`OperandFile` of
`flows.simulator.code_files`), whose rows carry the file's name. A Dask cluster's workers must see
the same files at the same place.

All MACs share one clock: the longest path of any 16-bit MAC at the nominal supply, rounded up to
10 ps, unless --clock-ps says another. "nominal" rows run at that clock and supply. "scaled" rows
keep the throughput, one result per clock: a mode with N lanes runs at N times the period, and the
supply falls as far as the mode's longest path allows, --lowest-vdd (0.8 V) at the lowest.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from flows import console
from flows.console import FlowError
from flows.energy import measure_print
from flows.energy.measure_point import Settings, operands_of
from flows.energy.measure_table import make_table, table_plan
from flows.energy.points import STIMULI, UNEQUAL_STIMULUS, parse_bits, points
from flows.stimulus import CYCLES, rounds
from flows.supply import LAW, LOWEST_V
from flows.synthesis.synth_script import Options
from flows.table import SCHEMES
from flows.timing import Conditions
from hw.command import Parser

MIN_BATCHES = 10


def main() -> int:
    """Measure the points that the arguments name and write the energy table."""
    arguments = _arguments()
    files = _files(arguments.stimuli)
    names = [Path(s).stem if s.endswith(".npz") else s for s in arguments.stimuli]
    pairs = None if arguments.bits is None else parse_bits(arguments.bits)
    operands = {name: operands_of(path) for name, path in files.items()}
    chosen = points(arguments.schemes, pairs, names, operands)
    settings = _settings(arguments, files)
    kept = arguments.out.with_name(f"{arguments.out.name}.points")
    if arguments.plan:
        places = arguments.rtl, kept, arguments.out
        table_plan(chosen, settings, *places, arguments.workers).give(as_json=arguments.json)
        return 0
    table = make_table(
        chosen, settings, arguments.rtl, kept, arguments.workers, arguments.scheduler
    )
    table.save(arguments.out)
    if arguments.json:
        console.print_json(
            {"out": str(arguments.out), "rows": len(table.rows), "sha256": table.sha256}
        )
    else:
        measure_print.show(table)
        print(f"wrote {arguments.out}: {len(table.rows)} rows")
    return 0


def _files(stimuli: Sequence[str]) -> dict[str, Path]:
    """The files among the stimuli by the name that their rows carry."""
    paths = [Path(s).resolve() for s in stimuli if s.endswith(".npz")]
    files = {path.stem: path for path in paths}
    if len(files) < len(set(paths)) or files.keys() & set(STIMULI):
        raise FlowError(
            f"stimulus files {', '.join(p.name for p in paths)} need names of their own, not "
            f"{', '.join(STIMULI)}; rename them."
        )
    return files


def _settings(arguments: argparse.Namespace, files: dict[str, Path]) -> Settings:
    if rounds(arguments.vectors, arguments.seed)[0].batches < MIN_BATCHES:
        raise FlowError(
            f"{arguments.vectors} vectors are too few for a confidence interval; it takes "
            f"{MIN_BATCHES} batches of {CYCLES}, {MIN_BATCHES * CYCLES} vectors."
        )
    if arguments.workers < 1:
        raise FlowError(f"the number of workers must be 1 or more, not {arguments.workers}.")
    if arguments.clock_ps is not None and not arguments.clock_ps > 0:
        raise FlowError(f"the clock period must be more than 0 ps, not {arguments.clock_ps:g}.")
    LAW.check_lowest(arguments.lowest_vdd)
    if not arguments.wire_scale >= 0:
        raise FlowError(f"the wire scale must be 0 or more, not {arguments.wire_scale:g}.")
    return Settings(
        synth=arguments.synth.resolve(),  # a cluster's workers have other working directories
        liberty=arguments.liberty.resolve() if arguments.liberty else None,
        vectors=arguments.vectors,
        seed=arguments.seed,
        files=files,
        conditions=Conditions(wire_scale=arguments.wire_scale),
        synthesis=Options(extract_fa=arguments.extract_fa),
        clock_ps=arguments.clock_ps or 0.0,
        lowest_v=arguments.lowest_vdd,
    )


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.measure", __doc__)
    _add_points(parser)
    _add_circuits(parser)
    add = parser.add_argument
    add("--workers", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="local ones")
    add("--scheduler", metavar="ADDRESS", help="a Dask cluster's, instead of a local one")
    add("--out", type=Path, default=Path("build/energy_table.json"), metavar="FILE")
    parser.add_plan()
    parser.add_json()
    return parser.parse_args()


def _add_points(parser: Parser) -> None:
    """What is measured."""
    add = parser.add_argument
    add("--schemes", nargs="+", default=list(SCHEMES), metavar="NAME", help=", ".join(SCHEMES))
    add(
        "--bits",
        nargs="+",
        metavar="K|WxA",
        help="bits of both operands, or of weights x activations (default: 1 to 16 of both, and "
        f"with {UNEQUAL_STIMULUS} codes all pairs where one circuit has them)",
    )
    add(
        "--stimuli",
        nargs="+",
        default=["uniform", "uniform_signed"],
        metavar="NAME",
        help=f"{', '.join(STIMULI)}, or FILE.npz with arrays w and a",
    )
    add("--vectors", type=int, default=10_240, metavar="N", help="operand words per point")
    add("--seed", type=int, default=0, metavar="S")


def _add_circuits(parser: Parser) -> None:
    """What it is measured on."""
    add = parser.add_argument
    add("--rtl", type=Path, default=Path("build/rtl"), metavar="DIR", help="Verilog of the MACs")
    add("--synth", type=Path, default=Path("build/synth"), metavar="DIR", help="their netlists")
    add("--liberty", type=Path, help="library (default: the shipped one)")
    add(
        "--extract-fa",
        action=argparse.BooleanOptionalAction,
        help="synthesise with full adder cells (default: where the library has them)",
    )
    add("--clock-ps", type=float, metavar="N", help="common clock (default: the longest path)")
    add(
        "--lowest-vdd", type=float, default=LOWEST_V, metavar="V",
        help=f"end of the scaled supply's range (default: {LOWEST_V:g})",
    )  # fmt: skip
    add("--wire-scale", type=float, default=0.0, metavar="X", help="share of the library's wires")


if __name__ == "__main__":
    console.run(main)

"""Speed of the activity engine beside other simulators, in one run.

`python -m flows.bench NETLIST.json [--scale NETLIST.json] [--out docs/benchmarks.md]`. All take
uniform operands of the conventional 16-bit MAC on one core and are charged for processor time, so
that other work on the machine counts little. Their operands are ready, and none is charged for
compilation; ours counts transitions, the others are not charged for counting what they wrote.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from flows import console
from flows.activity import Simulator
from flows.benches import bench_scale
from flows.benches.bench_mac import LENGTH_REPEATS, LENGTHS, OPERATIONS_S, Bench
from flows.benches.bench_page import page
from flows.benches.bench_rivals import REPEATS
from flows.benches.bench_scale import SIDES, Size
from flows.console import FlowError
from flows.netlist import Netlist
from hw.command import Parser
from hw.plan import Plan, Step
from hw.rtl.spec import MacSpec


def main() -> int:
    """Race the engine against other simulators and write the page."""
    arguments = _arguments()
    if arguments.vectors < 1024:
        raise FlowError(f"{arguments.vectors} vectors are too few to time; take 1024 or more.")
    bench = Bench(arguments.netlist, arguments.vectors, arguments.seed)
    scaled = arguments.scale and Netlist.load(arguments.scale, bench.library)
    if arguments.plan:
        _plan(bench, scaled, arguments.out).give(as_json=arguments.json)
        return 0
    label = "{0.engine}, {0.delays}".format
    rows = [race.row() for race in console.track(bench.races(), "bench", label=label)]
    _write(arguments.out, page(bench, rows))
    sizes: list[Size] = []
    if scaled is not None:
        mac, spec = Simulator(scaled, bench.library), MacSpec(scheme="dvafs")
        for side in console.track(SIDES, "scale", label="{0} x {0}".format):
            sizes.append(bench_scale.measure(mac, spec, side, bench.seed))
            _write(arguments.out, page(bench, rows, sizes))  # a run that is cut off keeps these
    if arguments.json:
        lists = {"rows": [asdict(r) for r in rows], "sizes": [asdict(size) for size in sizes]}
        console.print_json({"out": str(arguments.out or ""), **lists})
    elif arguments.out is None:
        print(page(bench, rows, sizes), end="")
    return 0


def _plan(bench: Bench, scaled: Netlist | None, out: Path | None) -> Plan:
    """A step for every race and grid; the engines are those that are installed."""
    steps = [
        Step(name=f"{race.engine}, {race.delays}", work=f"{REPEATS} times", seconds=race.seconds)
        for race in bench.races()
    ]
    seconds = (LENGTH_REPEATS + 1) * sum(LENGTHS) / OPERATIONS_S["nldm"]
    steps.append(Step(name="cost by length", work=f"to {LENGTHS[-1]:,} vectors", seconds=seconds))
    if scaled is not None:
        for side in SIDES:
            cells = side * side * len(scaled.instances)
            seconds = cells * bench_scale.CELL_S
            steps.append(
                Step(name=f"grid {side} x {side}", work=f"{cells:,} cells", seconds=seconds)
            )
    basis = "rates of docs/benchmarks.md"
    return Plan(steps=steps, writes=[str(out)] if out else ["nothing"], basis=basis)


def _write(out: Path | None, text: str) -> None:
    if out is not None:
        console.write_text(out, text)


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.bench", __doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json", help="the conventional 16-bit MAC")
    add("--scale", type=Path, metavar="NETLIST.json", help="the DVAFS MAC, for cost by size")
    add("--out", type=Path, metavar="FILE.md", help="default: standard output")
    add("--vectors", type=int, default=65_536, metavar="N")
    add("--seed", type=int, default=0, metavar="S")
    parser.add_plan()
    parser.add_json()
    return parser.parse_args()


if __name__ == "__main__":
    console.run(main)

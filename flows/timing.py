"""Static timing with NLDM tables: worst arrivals and slews, longest path.

`python -m flows.timing NETLIST.json [--liberty LIB] [--case PIN=0|1 ...]`. The clock is ideal: it
reaches every register at 0 ps, through clock gates too. As in OpenSTA every net has its worst slew
and arrival by edge, and every state-dependent arc that can happen counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from flows import console
from flows.console import FlowError
from flows.gates import case as case_analysis
from flows.library import Edge, Library
from flows.netlist import Netlist
from hw.command import Parser


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What surrounds the netlist: slews in ps of inputs and of the clock at every register, fF on
    every output, and how much of the library's wire load counts (0: none).

    Raises FlowError for what is negative or not finite.
    """

    input_slew_ps: float = 20.0
    clock_slew_ps: float = 20.0
    port_ff: float = 2.0
    wire_scale: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < float("inf"):
                raise FlowError(f"{name} must be finite and 0 or more, not {value:g}.")


@dataclass(frozen=True)
class Step:
    """One point of a path: the edge at a net, by which instance, when and with what slew."""

    net: str
    edge: Edge
    instance: str
    cell: str
    arrival_ps: float
    slew_ps: float


@dataclass(frozen=True, eq=False)
class Timing:
    """Result of `analyse`; `arrival_ps[net][edge]` and `slew_ps[net][edge]` with edge 0 = rise.

    None stands for an edge that does not occur: constant, static and clock nets have no arrivals.
    `critical_path_ps` includes the setup time where the path ends in a register.
    """

    arrival_ps: list[list[float | None]]
    slew_ps: list[list[float]]
    critical_path_ps: float
    path: tuple[Step, ...]
    endpoint: str


def critical_path_ps(
    netlist: Netlist,
    library: Library,
    case: Mapping[str, int] | None = None,
    conditions: Conditions | None = None,
) -> float:
    """Longest path in ps, register to register, to and from the ports; 0 where there is none."""
    return analyse(netlist, library, case, conditions).critical_path_ps


def analyse(
    netlist: Netlist,
    library: Library,
    case: Mapping[str, int] | None = None,
    conditions: Conditions | None = None,
) -> Timing:
    """Propagate worst slews and arrivals with the inputs in `case` held constant."""
    from flows.gates.arrivals import Analysis  # which builds on this module

    return Analysis(netlist, library, case or {}, conditions or Conditions()).timing()


_WORDS = {
    "input_slew_ps": "slew of the inputs",
    "clock_slew_ps": "slew of the clock at every register",
    "port_ff": "load of an output",
    "wire_scale": "share of the library's wire loads",
}


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.timing", __doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json")
    add("--liberty", type=Path, help="its library (default: the shipped one)")
    add("--top", help="module, where the file holds several")
    add(
        "--case", action="append", default=[], metavar="PIN=0|1",
        help="hold an input pin, as in a[3]=1; may be given again",
    )  # fmt: skip
    add("--clock-ps", type=float, metavar="N", help="refuse a longer path than N")
    for condition in fields(Conditions):
        name = f"--{condition.name.replace('_', '-')}"
        told = f"{_WORDS[condition.name]} (default: {condition.default:g})"
        add(name, type=float, default=condition.default, metavar="X", help=told)
    parser.add_json()
    return parser.parse_args()


def main() -> int:
    """Find and print the longest path."""
    arguments = _arguments()
    library = Library.load(arguments.liberty)
    netlist = Netlist.load(arguments.netlist, library, arguments.top)
    chosen = {field.name: getattr(arguments, field.name) for field in fields(Conditions)}
    conditions = Conditions(**chosen)
    timing = analyse(netlist, library, case_analysis.parse(arguments.case), conditions)
    if arguments.clock_ps is not None and timing.critical_path_ps > arguments.clock_ps:
        raise FlowError(
            f"{netlist.top}: the longest path, to {timing.endpoint}, takes "
            f"{timing.critical_path_ps:.1f} ps, more than the clock of {arguments.clock_ps:g} ps; "
            "give a longer clock."
        )
    if arguments.json:
        console.print_json(
            {
                "top": netlist.top,
                "critical_path_ps": timing.critical_path_ps,
                "endpoint": timing.endpoint,
                "vdd_v": library.vdd_v,
                "path": [asdict(step) for step in timing.path],
            }
        )
    else:
        print_path(netlist, timing)
    return 0


def print_path(netlist: Netlist, timing: Timing) -> None:
    """The longest path as lines: arrival, slew, edge, net, cell."""
    for step in timing.path:
        print(
            f"{step.arrival_ps:9.1f} ps  slew {step.slew_ps:6.1f}  {step.edge}  "
            f"{step.net:<20} {step.instance} {step.cell}"
        )
    print(f"{timing.critical_path_ps:9.1f} ps  {netlist.top}: longest path, to {timing.endpoint}")


if __name__ == "__main__":
    console.run(main)

"""Static timing with NLDM tables: worst arrivals and slews, longest path.

`python -m flows.timing NETLIST.json [--liberty LIB] [--case PIN=0|1 ...]`. The clock is ideal: it
reaches every register at 0 ps, through clock gates too. As in OpenSTA every net has its worst slew
and arrival by edge, and every state-dependent arc that can happen counts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from flows import console
from flows.cells.boolean import Function
from flows.console import FlowError
from flows.gates import case as case_analysis
from flows.gates.case import State
from flows.gates.clocks import clock_nets
from flows.library import EDGES, Arc, Cell, Edge, Library
from flows.netlist import Instance, Netlist
from hw.command import Parser


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What surrounds the netlist: slews in ps of inputs and of the clock at every register, fF on
    every output, and how much of the library's wire load counts (0: none)."""

    input_slew_ps: float = 20.0
    clock_slew_ps: float = 20.0
    port_ff: float = 2.0
    wire_scale: float = 0.0


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
    return _Analysis(netlist, library, case or {}, conditions or Conditions()).timing()


class _Analysis:
    def __init__(
        self, netlist: Netlist, library: Library, case: Mapping[str, int], conditions: Conditions
    ) -> None:
        self.netlist, self.library, self.conditions = netlist, library, conditions
        self.states = case_analysis.states(netlist, library, case)
        self.any_constant = bool(case) or self._has_ties()
        loads = netlist.loads_ff(
            library, wire_scale=conditions.wire_scale, port_ff=conditions.port_ff
        )
        self.loads: list[list[float]] = loads.tolist()
        self.clocks = clock_nets(netlist, library)
        self.arrival: list[list[float | None]] = [[None, None] for _ in netlist.nets]
        self.slew = [[conditions.input_slew_ps] * 2 for _ in netlist.nets]
        self.before: dict[tuple[int, int], tuple[int, int, int]] = {}

    def _has_ties(self) -> bool:
        return any(state is not None for state in self.states[2:])

    def timing(self) -> Timing:
        for net in self.clocks:
            self.slew[net] = [self.conditions.clock_slew_ps] * 2
        for nets in self.netlist.inputs.values():
            for net in nets:
                if self.states[net] is None and net not in self.clocks:
                    self.arrival[net] = [0.0, 0.0]
        for i, instance in enumerate(self.netlist.instances):
            if self.library.cells[instance.cell].register:
                self._launch(i, instance)
        for level in self.netlist.levels(self.library):
            for i in level:
                self._propagate(i)
        return self._longest()

    def _launch(self, i: int, instance: Instance) -> None:
        cell = self.library.cells[instance.cell]
        clock = instance.pins.get(cell.clock_pin or "")
        for arc in cell.arcs:
            net = instance.pins.get(arc.pin)
            if net is None or clock is None or self.states[net] is not None:
                continue
            if arc.related_pin == cell.clock_pin and arc.kind in ("rising_edge", "falling_edge"):
                for edge in (0, 1):
                    self._arc(i, arc, edge, clock, arc.kind == "falling_edge", 0.0)

    def _propagate(self, i: int) -> None:
        instance = self.netlist.instances[i]
        cell = self.library.cells[instance.cell]
        for arc in cell.arcs:
            net = instance.pins.get(arc.pin)
            if net is None or self.states[net] is not None or net in self.clocks:
                continue
            source = instance.pins[arc.related_pin]
            for edge, source_edge in self._edges(arc, cell, instance):
                start = self.arrival[source][source_edge]
                if start is not None:
                    self._arc(i, arc, edge, source, source_edge, start)

    def _edges(self, arc: Arc, cell: Cell, instance: Instance) -> Iterator[tuple[int, int]]:
        """(output edge, input edge) pairs that the arc can make under the constants."""
        follows = arc.sense != "negative_unate"
        opposes = arc.sense != "positive_unate"
        if self.any_constant:
            if arc.when and self._restrict_when(arc, instance) == 0:
                return
            function = cell.pins[arc.pin].function
            if function and arc.related_pin in function.inputs:
                can = case_analysis.senses(
                    function, arc.related_pin, self._known(function, instance)
                )
                follows, opposes = follows and can[0], opposes and can[1]
        if follows:
            yield from ((0, 0), (1, 1))
        if opposes:
            yield from ((0, 1), (1, 0))

    def _restrict_when(self, arc: Arc, instance: Instance) -> int | None:
        assert arc.when is not None
        return case_analysis.restrict(arc.when, self._known(arc.when, instance))

    def _known(self, function: Function, instance: Instance) -> tuple[State, ...]:
        found = (self.states[instance.pins[name]] for name in function.inputs)
        return tuple(state if state in (0, 1) else None for state in found)

    def _arc(
        self, i: int, arc: Arc, edge: int, source: int, source_edge: int, start: float
    ) -> None:
        tables = arc.tables(EDGES[edge])
        if tables is None:
            return
        net = self.netlist.instances[i].pins[arc.pin]
        slew, load = self.slew[source][source_edge], self.loads[net][edge]
        arrival = start + tables[0].at(slew, load)
        known = self.arrival[net][edge]
        after = tables[1].at(slew, load)
        if not (math.isfinite(arrival) and math.isfinite(after)):
            raise FlowError(
                f"{self.library.path}: cell {self.netlist.instances[i].cell}: its tables give no "
                f"finite delay at a slew of {slew:g} ps and a load of {load:g} fF; mend them."
            )
        self.slew[net][edge] = after if known is None else max(self.slew[net][edge], after)
        if known is None or arrival > known:
            self.arrival[net][edge] = arrival
            self.before[net, edge] = (i, source, source_edge)

    def _longest(self) -> Timing:
        worst, end, where = 0.0, None, ""
        for arrival, key, name in self._endpoints():
            if arrival > worst:
                worst, end, where = arrival, key, name
        path = tuple(self._path(end)) if end else ()
        return Timing(self.arrival, self.slew, worst, path, where)

    def _endpoints(self) -> Iterator[tuple[float, tuple[int, int], str]]:
        for port, nets in self.netlist.outputs.items():
            for net in nets:
                for edge in (0, 1):
                    arrival = self.arrival[net][edge]
                    if arrival is not None:
                        yield arrival, (net, edge), f"output {port}"
        for instance in self.netlist.instances:
            cell = self.library.cells[instance.cell]
            if cell.clock_pin and self.states[instance.pins[cell.clock_pin]] is None:
                yield from self._setups(instance, cell)

    def _setups(
        self, instance: Instance, cell: Cell
    ) -> Iterator[tuple[float, tuple[int, int], str]]:
        for limit in cell.constraints:
            if not limit.kind.startswith("setup") or limit.pin not in instance.pins:
                continue
            net = instance.pins[limit.pin]
            for edge, table in enumerate((limit.rise, limit.fall)):
                arrival = self.arrival[net][edge]
                if arrival is not None and table is not None:
                    setup = table.at(self.slew[net][edge], self.conditions.clock_slew_ps)
                    yield arrival + setup, (net, edge), f"{limit.pin} of {instance.name}"
        limited = {limit.pin for limit in cell.constraints if limit.kind.startswith("setup")}
        data = cell.register.next_state.inputs if cell.register else ()
        for pin in (p for p in data if p in instance.pins and p not in limited):
            net = instance.pins[pin]  # the library asks for no time before the clock's edge
            for edge, arrival in enumerate(self.arrival[net]):
                if arrival is not None:
                    yield arrival, (net, edge), f"{pin} of {instance.name}"

    def _path(self, end: tuple[int, int]) -> list[Step]:
        steps: list[Step] = []
        key: tuple[int, int] | None = end
        while key is not None:
            net, edge = key
            link = self.before.get(key)
            instance = self.netlist.instances[link[0]] if link else None
            steps.append(
                Step(
                    self.netlist.nets[net],
                    EDGES[edge],
                    instance.name if instance else "",
                    instance.cell if instance else "input",
                    round(self.arrival[net][edge] or 0.0, 4),
                    round(self.slew[net][edge], 4),
                )
            )
            key = (link[1], link[2]) if link and link[1] not in self.clocks else None
        return steps[::-1]


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.timing", __doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json")
    add("--liberty", type=Path, help="its library (default: the shipped one)")
    add("--top", help="module, where the file holds several")
    add("--case", action="append", default=[], metavar="PIN=0|1")
    add("--clock-ps", type=float, metavar="N", help="refuse a longer path than N")
    for condition in fields(Conditions):
        name = f"--{condition.name.replace('_', '-')}"
        add(name, type=float, default=condition.default)
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

"""Static timing analysis: worst slews and arrivals carried from the sources to the endpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from flows.cells.boolean import Function
from flows.console import FlowError
from flows.gates import case as case_analysis
from flows.gates.case import State
from flows.gates.clocks import clock_nets
from flows.library import EDGES, Arc, Cell, Library
from flows.netlist import Instance, Netlist
from flows.timing import Conditions, Step, Timing


class Analysis:
    """Worst arrivals and slews of every net, level by level, and the path that ends last."""

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
        """The whole analysis; made once."""
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

"""Gate-level netlists: cells of one library joined by nets (`gates.netlist_read` reads them)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from flows.console import FlowError
from flows.library import Library

CONSTANTS = ("0", "1")
R = TypeVar("R")
ZERO, ONE = 0, 1  # their net numbers


def _once(method: Callable[[Any, Library], R]) -> Callable[[Any, Library], R]:
    """Keep a method's result for the library it was last asked about: case after case is analysed
    on the same netlist."""

    name = f"_{method.__name__}"

    @wraps(method)
    def kept(self: Any, library: Library) -> R:
        known = self.__dict__.get(name)  # a frozen dataclass lets no attribute be set
        if known is None or known[0] is not library:
            known = self.__dict__[name] = library, method(self, library)
        result: R = known[1]
        return result

    return kept


@dataclass(frozen=True, slots=True)
class Instance:
    """A cell in the netlist; `pins` maps pin to net number, unconnected outputs left out."""

    name: str
    cell: str
    pins: dict[str, int]


@dataclass(frozen=True)
class Netlist:
    """A flat netlist. Net 0 is constant 0, net 1 constant 1; ports are LSB first."""

    top: str
    nets: tuple[str, ...]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    instances: tuple[Instance, ...]

    @classmethod
    def load(cls, path: Path | str, library: Library, top: str | None = None) -> Self:
        """Read what Yosys' `write_json` wrote, and check it against the library.

        Raises FlowError, with the names of the file, module and cell or net, for an unknown or
        unusable cell, an undriven or multiply driven net, a constant x or z, a combinational loop.
        """
        from flows.gates.netlist_read import load  # which builds on this module

        return load(cls, Path(path), library, top)

    @cached_property
    def sha256(self) -> str:
        """Hash of top, ports and instances by the nets' names: independent of their order."""

        def named(pins: Mapping[str, int]) -> list[tuple[str, str]]:
            return sorted((pin, self.nets[net]) for pin, net in pins.items())

        ports = [
            sorted((port, [self.nets[net] for net in nets]) for port, nets in group.items())
            for group in (self.inputs, self.outputs)
        ]
        cells = sorted((x.name, x.cell, named(x.pins)) for x in self.instances)
        content = json.dumps([self.top, ports, cells], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def net_index(self) -> dict[str, int]:
        """Net number by name."""
        return {name: i for i, name in enumerate(self.nets)}

    @_once
    def drivers(self, library: Library) -> list[tuple[int, str] | None]:
        """For every net the (instance, output pin) that drives it; None for ports and constants."""
        drivers: list[tuple[int, str] | None] = [None] * len(self.nets)
        for i, instance in enumerate(self.instances):
            for pin in library.cells[instance.cell].outputs:
                if pin in instance.pins:
                    drivers[instance.pins[pin]] = (i, pin)
        return drivers

    @_once
    def sinks(self, library: Library) -> list[list[tuple[int, str]]]:
        """For every net the (instance, input pin) pairs that it feeds."""
        sinks: list[list[tuple[int, str]]] = [[] for _ in self.nets]
        for i, instance in enumerate(self.instances):
            for pin in library.cells[instance.cell].inputs:
                if pin in instance.pins:
                    sinks[instance.pins[pin]].append((i, pin))
        return sinks

    def loads_ff(
        self, library: Library, *, wire_scale: float = 0.0, port_ff: float = 0.0
    ) -> NDArray[np.float64]:
        """Capacitance of every net in fF, shape (nets, 2) for its (rise, fall).

        Sum of the sinks' pin capacitances, plus `wire_scale` times the library's wire load for
        that many sinks, plus `port_ff` for every output port on the net.
        """
        loads = np.zeros((len(self.nets), 2))
        counts = np.zeros(len(self.nets), int)
        for net, pins in enumerate(self.sinks(library)):
            counts[net] = len(pins)
            for i, name in pins:
                pin = library.cells[self.instances[i].cell].pins[name]
                loads[net] += (pin.rise_capacitance_ff, pin.fall_capacitance_ff)
        for port in self.outputs.values():
            np.add.at(loads, list(port), port_ff)
            np.add.at(counts, list(port), 1)
        if wire_scale:
            loads += wire_scale * self._wires_ff(library, counts)[:, None]
        loads[: len(CONSTANTS)] = 0.0
        return loads

    def _wires_ff(self, library: Library, counts: NDArray[np.int_]) -> NDArray[np.float64]:
        if library.wire_load is None:
            raise FlowError(f"library {library.name} has no wire load; leave the wire scale at 0.")
        return np.array([library.wire_load(int(n)) for n in counts])

    @_once
    def levels(self, library: Library) -> tuple[tuple[int, ...], ...]:
        """Combinational instances by logic level: each reads only earlier levels and registers.

        Flattened, it is a topological order. Raises FlowError with a net's name for a loop.
        """
        comb = {i for i, x in enumerate(self.instances) if library.cells[x.cell].kind == "comb"}
        drivers = self.drivers(library)
        sinks = self.sinks(library)
        waiting = {i: self._comb_fanin(i, library, drivers, comb) for i in comb}
        level = sorted(i for i, count in waiting.items() if count == 0)
        levels = []
        while level:
            levels.append(tuple(level))
            ready = []
            for i in level:
                for net in self._out_nets(i, library):
                    for sink, _ in sinks[net]:
                        if sink in waiting:
                            waiting[sink] -= 1
                            if waiting[sink] == 0:
                                ready.append(sink)
            level = sorted(ready)
        if stuck := [i for i, count in waiting.items() if count > 0]:
            self._refuse_loop(stuck, library)
        return tuple(levels)

    def _comb_fanin(
        self, i: int, library: Library, drivers: list[tuple[int, str] | None], comb: set[int]
    ) -> int:
        x = self.instances[i]
        sources = (drivers[x.pins[pin]] for pin in library.cells[x.cell].inputs)
        return sum(source is not None and source[0] in comb for source in sources)

    def _out_nets(self, i: int, library: Library) -> Iterator[int]:
        x = self.instances[i]
        return (x.pins[pin] for pin in library.cells[x.cell].outputs if pin in x.pins)

    def _refuse_loop(self, stuck: list[int], library: Library) -> None:
        """Walk backwards inside the instances that never got ready until one comes again."""
        drivers, pool, seen = self.drivers(library), set(stuck), []
        i = min(stuck)
        while i not in seen:
            seen.append(i)
            x = self.instances[i]
            sources = (drivers[x.pins[pin]] for pin in library.cells[x.cell].inputs)
            i = next(source[0] for source in sources if source and source[0] in pool)
        net = self.nets[next(self._out_nets(i, library))]
        raise FlowError(
            f"{self.top} has a combinational loop through net {net} (cell {self.instances[i].name})"
            "; break it with a register."
        )

"""Gate-level netlists: cells of one library joined by nets, read from Yosys' JSON and checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from flows.console import FlowError
from flows.library import Cell, Library

CONSTANTS = ("0", "1")
_BLANK = re.compile(r"[\s\x00-\x1f]")
N = TypeVar("N", bound="Netlist")
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
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise FlowError(
                f"{path} is no JSON netlist; write one with `python -m flows.synth`."
            ) from None
        try:
            netlist = _Reader(str(path), data, library, top).netlist(cls)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, FlowError):
                raise
            raise FlowError(
                f"{path} is no netlist of Yosys' write_json ({type(error).__name__}: {error})."
            ) from None
        try:
            netlist.check(library)
        except FlowError as error:
            raise FlowError(f"{path}: {error}") from None
        return netlist

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

    def check(self, library: Library) -> None:
        """Refuse what cannot be simulated or timed; see `load`."""
        driver: dict[int, str] = {ZERO: "constant 0", ONE: "constant 1"}

        def drive(net: int, by: str) -> None:
            if net in driver:
                raise FlowError(
                    f"{self.top}: net {self.nets[net]} is driven by {driver[net]} and by {by}; "
                    "one driver is allowed."
                )
            driver[net] = by

        for port, nets in self.inputs.items():
            for net in nets:
                drive(net, f"input {port}")
        for x in self.instances:
            for pin in _usable(x, library, self.top).outputs:
                if pin in x.pins:
                    drive(x.pins[pin], f"cell {x.name}")
        for net, reader in self._readers(library):
            if net not in driver:
                raise FlowError(
                    f"{self.top}: net {self.nets[net]} drives {reader} but nothing drives it."
                )
        self.levels(library)

    def _readers(self, library: Library) -> Iterator[tuple[int, str]]:
        for x in self.instances:
            for pin in library.cells[x.cell].inputs:
                if pin not in x.pins:
                    raise FlowError(f"{self.top}: pin {pin} of cell {x.name} is not connected.")
                yield x.pins[pin], f"pin {pin} of cell {x.name}"
        for port, nets in self.outputs.items():
            for net in nets:
                yield net, f"output {port}"


def _usable(instance: Instance, library: Library, top: str) -> Cell:
    """The instance's cell; FlowError where the library has none of use under that name."""
    cell = library.cells.get(instance.cell)
    if cell is None and instance.cell.startswith("$"):
        raise FlowError(
            f"{top}: library {library.name} has no cell for {instance.name}, a {instance.cell} "
            "(a register with asynchronous reset, a latch, a tri-state?); use a larger library."
        )
    if cell is None:
        raise FlowError(
            f"{top}: cell {instance.name} is a {instance.cell}, which library {library.name} does "
            "not have; give the library that the netlist was mapped to with --liberty."
        )
    if cell.kind not in ("comb", "flipflop", "clockgate"):
        why = cell.reason or f"a {cell.kind}"
        raise FlowError(
            f"{top}: cell {instance.name} is a {instance.cell}, {why}; combinational cells, "
            "flip-flops and clock gates are allowed."
        )
    if unknown := sorted(set(instance.pins) - set(cell.pins)):
        raise FlowError(f"{top}: cell {instance.name} ({cell.name}) has no pin {unknown[0]}.")
    return cell


class _Reader:
    """Turns Yosys' bits into net numbers, and gives every net the best of its names."""

    def __init__(self, path: str, data: Any, library: Library, top: str | None) -> None:
        modules = data["modules"]
        mapped = {k: m for k, m in modules.items() if not _is_library_cell(m, k, library)}
        tops = [k for k, m in mapped.items() if int(m.get("attributes", {}).get("top", "0"), 2)]
        name = top or (tops[0] if tops else next(iter(mapped), ""))
        if name not in modules:
            raise FlowError(f"{path} has no module {name!r}; it has {', '.join(sorted(mapped))}.")
        self.where, self.top, self.module = f"{path}: {name}", name, modules[name]
        self.names: dict[int, str] = {}
        for net, entry in sorted(self.module["netnames"].items(), key=self._name_rank):
            for k, bit in enumerate(entry["bits"]):
                if isinstance(bit, int):
                    offset = k + int(entry.get("offset", 0))
                    bus = len(entry["bits"]) > 1
                    self.names.setdefault(bit, f"{net}[{offset}]" if bus else net)
        self.number: dict[int, int] = {}

    def _name_rank(self, item: tuple[str, dict[str, Any]]) -> tuple[int, int, str]:
        """Inputs' names first, then outputs', then those of the source, then Yosys' own."""
        name, entry = item
        ports = ("input", "output")
        direction = self.module["ports"].get(name, {}).get("direction")
        rank = ports.index(direction) if direction in ports else 2 + entry.get("hide_name", 0)
        return rank, len(name), name

    def netlist(self, kind: type[N]) -> N:
        ports = self.module["ports"]
        for port, entry in ports.items():
            if entry["direction"] not in ("input", "output"):
                raise FlowError(f"{self.where}: port {port} is an inout, which is not supported.")
        inputs = self._ports("input")
        instances = tuple(
            Instance(name, cell["type"].removeprefix("\\"), self._pins(name, cell["connections"]))
            for name, cell in self.module["cells"].items()
            if cell["type"] != "$scopeinfo"
        )
        self._refuse_blanks([name for x in instances for name in (x.name, x.cell, *x.pins)])
        outputs = self._ports("output")
        nets = (*CONSTANTS, *(self.names.get(bit, f"_{bit}_") for bit in self.number))
        return kind(self.top, nets, inputs, outputs, instances)

    def _refuse_blanks(self, cells: list[str]) -> None:
        """A blank ends an escaped identifier of Verilog: what follows it would be read as code."""
        for name in (self.top, *self.module["ports"], *self.names.values(), *cells):
            if _BLANK.search(name):
                raise FlowError(f"{self.where}: name {name!r} has a blank in it; rename it.")

    def _ports(self, direction: str) -> dict[str, tuple[int, ...]]:
        return {
            port: tuple(self._net(bit, f"port {port}") for bit in entry["bits"])
            for port, entry in self.module["ports"].items()
            if entry["direction"] == direction
        }

    def _pins(self, name: str, connections: dict[str, list[Any]]) -> dict[str, int]:
        pins = {}
        for pin, bits in sorted(connections.items()):
            if len(bits) > 1:
                raise FlowError(f"{self.where}: pin {pin} of cell {name} is a bus; map it first.")
            if bits:
                pins[pin] = self._net(bits[0], f"pin {pin} of cell {name}")
        return pins

    def _net(self, bit: Any, where: str) -> int:
        if bit in CONSTANTS:
            return CONSTANTS.index(bit)
        if not isinstance(bit, int):
            raise FlowError(
                f"{self.where}: {where} is tied to {bit!r}; only 0 and 1 are allowed "
                "(look for an undriven or x-generating construct in the source)."
            )
        return self.number.setdefault(bit, len(CONSTANTS) + len(self.number))


def _is_library_cell(module: dict[str, Any], name: str, library: Library) -> bool:
    return name in library.cells or "blackbox" in module.get("attributes", {})

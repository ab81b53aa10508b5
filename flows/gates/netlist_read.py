"""Reading gate netlists from the JSON of Yosys' write_json, and refusing what cannot be run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from flows.console import FlowError
from flows.library import Cell, Library
from flows.netlist import CONSTANTS, ONE, ZERO, Instance, Netlist

_BLANK = re.compile(r"[\s\x00-\x1f]")
N = TypeVar("N", bound=Netlist)


def load(kind: type[N], path: Path, library: Library, top: str | None) -> N:
    """What `Netlist.load` gives: a netlist that was read and checked."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise FlowError(
            f"{path} is no JSON netlist; write one with `python -m flows.synth`."
        ) from None
    try:
        netlist = _Reader(str(path), data, library, top).netlist(kind)
    except FlowError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FlowError(
            f"{path} is no netlist of Yosys' write_json ({type(error).__name__}: {error})."
        ) from None
    try:
        check(netlist, library)
    except FlowError as error:
        raise FlowError(f"{path}: {error}") from None
    return netlist


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


def check(netlist: Netlist, library: Library) -> None:
    """Refuse what cannot be simulated or timed; see `Netlist.load`."""
    driver: dict[int, str] = {ZERO: "constant 0", ONE: "constant 1"}

    def drive(net: int, by: str) -> None:
        if net in driver:
            raise FlowError(
                f"{netlist.top}: net {netlist.nets[net]} is driven by {driver[net]} and by {by}; "
                "one driver is allowed."
            )
        driver[net] = by

    for port, nets in netlist.inputs.items():
        for net in nets:
            drive(net, f"input {port}")
    for x in netlist.instances:
        for pin in _usable(x, library, netlist.top).outputs:
            if pin in x.pins:
                drive(x.pins[pin], f"cell {x.name}")
    for net, reader in _readers(netlist, library):
        if net not in driver:
            raise FlowError(
                f"{netlist.top}: net {netlist.nets[net]} drives {reader} but nothing drives it."
            )
    netlist.levels(library)


def _readers(netlist: Netlist, library: Library) -> Iterator[tuple[int, str]]:
    for x in netlist.instances:
        for pin in library.cells[x.cell].inputs:
            if pin not in x.pins:
                raise FlowError(f"{netlist.top}: pin {pin} of cell {x.name} is not connected.")
            yield x.pins[pin], f"pin {pin} of cell {x.name}"
    for port, nets in netlist.outputs.items():
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

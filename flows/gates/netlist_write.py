"""Writing netlists: tidy names, Yosys JSON and structural Verilog, both with the same names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from flows.library import Library
from flows.netlist import CONSTANTS, ONE, ZERO, Instance, Netlist

_BIT = re.compile(r"(.+)\[(\d+)\]")
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_PRIVATE = re.compile(r"[$]|_\d+_")  # names that tools made up


def tidy(netlist: Netlist, library: Library) -> Netlist:
    """The same circuit with short names that depend on its structure alone.

    Registers and clock gates come first, then the rest in topological order. Names that the source
    gave to nets stay; other nets are n1, n2, ..; cells are named after the source's net that they
    drive (`acc[3]_reg`) or are U1, U2, .. Outputs that drive nothing are unconnected; cells that no
    output port depends on are left out, because Yosys keeps library cells whatever they do.
    """
    kept = _kept(netlist, library)
    ports = [net for nets in netlist.inputs.values() for net in nets]
    driven = [net for _, pins in kept for net in pins.values()]
    number = {net: k for k, net in enumerate(dict.fromkeys([ZERO, ONE, *ports, *driven]))}
    names = _net_names(netlist, list(number))

    def renumber(ports: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {port: tuple(number[net] for net in nets) for port, nets in ports.items()}

    return Netlist(
        netlist.top,
        tuple(names),
        renumber(netlist.inputs),
        renumber(netlist.outputs),
        tuple(_renamed(netlist, library, kept, number, names)),
    )


def _kept(netlist: Netlist, library: Library) -> list[tuple[int, dict[str, int]]]:
    """The instances that stay, in their new order, with the output pins that drive something."""
    live = _live(netlist, library)
    order = [i for i, x in enumerate(netlist.instances) if library.cells[x.cell].kind != "comb"]
    order += [i for level in netlist.levels(library) for i in level]
    used = {net for nets in netlist.outputs.values() for net in nets}
    used |= {
        net for net, sinks in enumerate(netlist.sinks(library)) if any(i in live for i, _ in sinks)
    }
    kept = []
    for i in (i for i in order if i in live):
        x = netlist.instances[i]
        outputs = library.cells[x.cell].outputs
        kept.append((i, {pin: x.pins[pin] for pin in outputs if x.pins.get(pin) in used}))
    return kept


def _renamed(
    netlist: Netlist,
    library: Library,
    kept: list[tuple[int, dict[str, int]]],
    number: dict[int, int],
    names: list[str],
) -> Iterator[Instance]:
    """The instances by their new names, on the new numbers of their nets."""
    taken = set(names)
    for k, (i, driven) in enumerate(kept, 1):
        x = netlist.instances[i]
        cell = library.cells[x.cell]
        pins = {p: number[n] for p, n in x.pins.items() if p not in cell.outputs or p in driven}
        name = _cell_name(k, cell.kind, [names[pins[p]] for p in driven])
        while name in taken:
            name += "_"
        taken.add(name)
        yield Instance(name, x.cell, pins)


def _live(netlist: Netlist, library: Library) -> set[int]:
    """Instances that an output port depends on, through registers and clocks too."""
    drivers = netlist.drivers(library)
    todo = [net for nets in netlist.outputs.values() for net in nets]
    live: set[int] = set()
    while todo:
        driver = drivers[todo.pop()]
        if driver is None or driver[0] in live:
            continue
        live.add(driver[0])
        x = netlist.instances[driver[0]]
        todo += [x.pins[pin] for pin in library.cells[x.cell].inputs]
    return live


def _net_names(netlist: Netlist, nets: list[int]) -> list[str]:
    taken = {netlist.nets[net] for net in nets}
    names, count = [], 0
    for net in nets:
        name = netlist.nets[net]
        if _PRIVATE.search(name):
            count += 1
            while f"n{count}" in taken:
                count += 1
            name = f"n{count}"
        names.append(name)
    return names


def _cell_name(number: int, kind: str, driven: list[str]) -> str:
    if kind == "comb" or not driven:
        return f"U{number}"
    return f"{driven[0]}_{'reg' if kind == 'flipflop' else 'gate'}"


def to_json(netlist: Netlist, library: Library) -> str:
    """The netlist as Yosys' write_json would write it, one cell or net a line."""

    def bit(net: int) -> int | str:
        return CONSTANTS[net] if net < len(CONSTANTS) else net

    ports = {
        port: {"direction": direction, "bits": [bit(n) for n in nets]}
        for direction, group in (("input", netlist.inputs), ("output", netlist.outputs))
        for port, nets in group.items()
    }
    cells = {}
    for x in netlist.instances:
        pins = library.cells[x.cell].pins
        cells[x.name] = {
            "type": x.cell,
            "port_directions": {pin: pins[pin].direction for pin in x.pins},
            "connections": {pin: [bit(net)] for pin, net in x.pins.items()},
        }
    named = list(enumerate(netlist.nets))[len(CONSTANTS) :]
    nets = {name: {"hide_name": 0, "bits": [net], "attributes": {}} for net, name in named}
    parts: dict[str, dict[str, Any]] = {"ports": ports, "cells": cells, "netnames": nets}
    body = ",\n".join(f'"{key}": {_lines(value)}' for key, value in parts.items())
    head = f'"attributes": {{"top": "{1:032b}"}}'
    return f'{{"modules": {{{json.dumps(netlist.top)}: {{\n{head},\n{body}\n}}}}}}\n'


def _lines(items: dict[str, Any]) -> str:
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(item)}" for key, item in items.items())
    return f"{{\n{rows}\n}}"


def to_verilog(netlist: Netlist) -> str:
    """The netlist as structural Verilog."""
    ports = {**netlist.inputs, **netlist.outputs}
    lines = [f"module {_escape(netlist.top)} ({', '.join(map(_escape, ports))});"]
    lines += [f"  input {_range(len(n))}{_escape(p)};" for p, n in netlist.inputs.items()]
    lines += [f"  output {_range(len(n))}{_escape(p)};" for p, n in netlist.outputs.items()]
    lines += [f"  wire {text};" for text in _wires(netlist, ports)]
    for x in netlist.instances:
        pins = ", ".join(f".{p}({_net(netlist, n)})" for p, n in x.pins.items())
        lines.append(f"  {x.cell} {_escape(x.name)} ({pins});")
    for port, nets in netlist.outputs.items():
        for k, net in enumerate(nets):
            own = f"{port}[{k}]" if len(nets) > 1 else port
            if netlist.nets[net] != own:
                lines.append(f"  assign {_reference(own)} = {_net(netlist, net)};")
    return "\n".join([*lines, "endmodule", ""])


def _wires(netlist: Netlist, ports: dict[str, tuple[int, ...]]) -> Iterator[str]:
    """Declarations of the nets that are no ports, bits of one name as one vector."""
    width: dict[str, int] = {}
    for name in netlist.nets[len(CONSTANTS) :]:
        base, index = _split(name)
        width[base] = max(width.get(base, -1), -1 if index is None else index)
    for base, last in width.items():
        if base not in ports:
            yield f"{f'[{last}:0] ' if last >= 0 else ''}{_escape(base)}"


def _split(name: str) -> tuple[str, int | None]:
    match = _BIT.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _escape(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f"\\{name} "


def _reference(name: str) -> str:
    base, index = _split(name)
    return _escape(base) + ("" if index is None else f"[{index}]")


def _net(netlist: Netlist, net: int) -> str:
    return f"1'b{net}" if net < len(CONSTANTS) else _reference(netlist.nets[net])

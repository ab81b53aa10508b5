"""Circuits cut at their registers, for proofs: what was a register is a pair of ports.

An input ``q:NAME`` is the register's state and an output ``d:NAME`` its next state, NAME being a
name of the net that it drives. Both a gate netlist and a Verilog design are cut so; where names
agree, equal cut circuits are equal circuits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flows.console import FlowError
from flows.gates.circuit import Circuit, FlipFlop
from flows.netlist import CONSTANTS

STATE, NEXT = "q:", "d:"
# Undefined bits (what a write port holds while it does not write) become 0: a netlist that is equal
# then does what the design leaves open in one of the allowed ways.
PASSES = (
    "proc",
    "flatten -noscopeinfo",
    "memory_map",
    "opt_clean",
    "opt_merge",
    "dffunmap",
    "setundef -zero",
    "opt_clean",
)


def cut_netlist(circuit: Circuit, name: str) -> str:
    """Verilog of a netlist's cut circuit, as module `name`.

    Raises FlowError for an inverted clock and for registers with asynchronous set or reset.
    """
    netlist, lines, ports = circuit.netlist, [], []
    clocks = {n for n, clock in circuit.clocks.items() if clock.parent is None}
    for port, nets in netlist.inputs.items():
        if not clocks & set(nets):
            ports.append(_port("input", len(nets), port))
            lines += [f"assign n{net} = {_bit(port, nets, k)};" for k, net in enumerate(nets)]
    for port, nets in netlist.outputs.items():
        ports.append(_port("output", len(nets), port))
        lines += [f"assign {_bit(port, nets, k)} = {_net(net)};" for k, net in enumerate(nets)]
    for register in circuit.flipflops:
        state, text = _register(circuit, register)
        ports += [_port("input", 1, STATE + state), _port("output", 1, NEXT + state)]
        lines += text
    for gate in circuit.gates:
        names = {p: _net(n) for p, n in zip(gate.function.inputs, gate.inputs, strict=True)}
        lines.append(f"assign n{gate.output} = {gate.function.expression(names)};")
    wires = [f"wire n{net};" for net in range(len(CONSTANTS), len(netlist.nets))]
    return "\n".join([f"module {name}({', '.join(ports)});", *wires, *lines, "endmodule", ""])


def _port(direction: str, width: int, name: str) -> str:
    return f"{direction} {f'[{width - 1}:0] ' if width > 1 else ''}\\{name} "


def _bit(port: str, nets: tuple[int, ...], index: int) -> str:
    return f"\\{port} [{index}]" if len(nets) > 1 else f"\\{port} "


def _net(net: int) -> str:
    return f"1'b{net}" if net < len(CONSTANTS) else f"n{net}"


def _register(circuit: Circuit, register: FlipFlop) -> tuple[str, list[str]]:
    """The register's name, and its state's and next state's assignments."""
    clock, netlist = circuit.clocks[register.clock], circuit.netlist
    if clock.inverted or register.asynchronous:
        raise FlowError(
            f"{netlist.top}: register {netlist.instances[register.instance].name} has an inverted "
            "clock or an asynchronous set or reset; proofs take registers of one rising clock."
        )
    first, inverted, _ = register.outputs[0]
    name = netlist.nets[first]
    state = f"{'~' * inverted}\\{STATE}{name} "
    lines = [f"assign n{net} = {'~' * inv}({state});" for net, inv, _ in register.outputs]
    names = {pin: _net(net) for pin, net in register.inputs.items()}
    names |= dict(zip(register.state, (f"({state})", f"(~{state})"), strict=True))
    after = register.next_state.expression(names)
    for enable in _enables(circuit, register.clock):
        after = f"({enable} ? {after} : {state})"
    return name, [*lines, f"assign \\{NEXT}{name}  = {'~' * inverted}({after});"]


def _enables(circuit: Circuit, net: int) -> Iterator[str]:
    """Of every clock gate on the way to `net`, when it lets the clock through."""
    clock = circuit.clocks[net]
    if clock.enables:
        yield f"({' | '.join(_net(e) for e in clock.enables)})"
    if clock.parent is not None:
        yield from _enables(circuit, clock.parent)


def register_names(circuit: Circuit) -> set[str]:
    """The names under which `cut_netlist` cuts registers."""
    return {circuit.netlist.nets[register.outputs[0][0]] for register in circuit.flipflops}


def cut_design(module: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """A flat module of Yosys' JSON, after `PASSES`, cut at its registers.

    A register gets the one of its names that is in `names`; one that has none, a name that starts
    with `?`. Its clock is a port no longer.
    """
    aliases = _aliases(module, names)
    ports, cells = dict(module["ports"]), {}
    for cell, told in module["cells"].items():
        if told["type"] != "$dff":
            cells[cell] = told
            continue
        pins = told["connections"]
        for d, q in zip(pins["D"], pins["Q"], strict=True):
            alias = aliases.get(q, f"?{q}")
            ports[STATE + alias] = {"direction": "input", "bits": [q]}
            ports[NEXT + alias] = {"direction": "output", "bits": [d]}
        for port in [p for p, x in ports.items() if x["bits"] == pins["CLK"]]:
            del ports[port]
    return module | {"ports": ports, "cells": cells}


def _aliases(module: dict[str, Any], names: set[str]) -> dict[int | str, str]:
    """For bits of which `names` has a name, that name."""
    found = {}
    for net, told in module["netnames"].items():
        for k, bit in enumerate(told["bits"], told.get("offset", 0)):
            alias = f"{net}[{k}]" if len(told["bits"]) > 1 else net
            if alias in names:
                found[bit] = alias
    return found

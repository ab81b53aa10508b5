"""Case analysis: which nets stand still once some inputs are held constant.

A register whose data input is constant is constant too, as is one that copies a constant operand
bit; a register whose clock is gated off for good stands still at a value that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

from flows.cells.boolean import Function
from flows.console import FlowError
from flows.library import Cell, Library
from flows.netlist import ONE, ZERO, Instance, Netlist

State = Literal[0, 1, "static"] | None  # None: the net may toggle


def parse(texts: list[str]) -> dict[str, int]:
    """`["mode=1", "w[0]=0"]` as a mapping; FlowError for anything else."""
    case = {}
    for text in texts:
        pin, _, value = text.partition("=")
        if not pin or value not in ("0", "1"):
            raise FlowError(f"--case {text!r} is not understood; write PIN=0 or PIN=1.")
        case[pin] = int(value)
    return case


def states(netlist: Netlist, library: Library, case: Mapping[str, int]) -> list[State]:
    """The state of every net with the named inputs (`port`, all its bits, or `port[bit]`) held.

    Raises FlowError for a name that is no input.
    """
    found: list[State] = [None] * len(netlist.nets)
    found[ZERO], found[ONE] = 0, 1
    for name, value in case.items():
        for net in _input_nets(netlist, name):
            found[net] = 1 if value else 0
    registers = [x for x in netlist.instances if library.cells[x.cell].kind != "comb"]
    order = [netlist.instances[i] for level in netlist.levels(library) for i in level]
    changed = True  # constants travel one register further in every round
    while changed:
        changed = False
        for instance in (*registers, *order):
            cell = library.cells[instance.cell]
            for pin in cell.outputs:
                output = instance.pins.get(pin)
                if output is not None and found[output] is None:
                    found[output] = _output(instance, cell, pin, found)
                    changed |= found[output] is not None
    return found


def _input_nets(netlist: Netlist, pin: str) -> tuple[int, ...]:
    if pin in netlist.inputs:
        return netlist.inputs[pin]
    base, _, index = pin.removesuffix("]").partition("[")
    nets = netlist.inputs.get(base, ())
    if index.isdecimal() and int(index) < len(nets):
        return (nets[int(index)],)
    ports = ", ".join(
        f"{p}[{len(n) - 1}:0]" if len(n) > 1 else p for p, n in netlist.inputs.items()
    )
    raise FlowError(f"{netlist.top} has no input {pin}; it has {ports}.")


def _output(instance: Instance, cell: Cell, pin: str, found: list[State]) -> State:
    pins = instance.pins
    if gate := cell.gate:
        enables = [found[pins[p]] for p in (gate.enable, gate.test) if p and p in pins]
        return 0 if all(e == 0 for e in enables) or found[pins[gate.clock]] == 0 else None
    function = cell.pins[pin].function
    if register := cell.register:
        if found[pins[register.clock_pin]] is not None:
            return "static"
        state = _apply(register.next_state, pins, found)
        if state in (0, 1):
            inverted = function is not None and function.inputs == (register.state[1],)
            return 1 if (state == 1) != inverted else 0
        return state
    return _apply(function, pins, found) if function else None


def _apply(function: Function, pins: Mapping[str, int], found: list[State]) -> State:
    # A register's own state, which it may keep, is no pin: it may toggle.
    inputs = [found[pins[name]] if name in pins else None for name in function.inputs]
    if inputs and inputs.count(None) == len(inputs):
        return None  # nearly all gates, so that it pays to look first
    known = tuple(x if x in (0, 1) else None for x in inputs)
    value = restrict(function, known)
    if value is None and all(x is not None for x in inputs):
        return "static"
    return value


@cache
def restrict(function: Function, known: tuple[Literal[0, 1] | None, ...]) -> Literal[0, 1] | None:
    """The function's value where its inputs (sorted by name) are partly known, if it has one."""
    values = {
        value
        for word, value in enumerate(function.truth_table())
        if all(k is None or word >> i & 1 == k for i, k in enumerate(known))
    }
    return None if len(values) > 1 else (1 if 1 in values else 0)


@cache
def senses(
    function: Function, pin: str, known: tuple[Literal[0, 1] | None, ...]
) -> tuple[bool, bool]:
    """Whether the output can follow `pin` (rise by rise) and whether it can oppose it."""
    names, table = function.inputs, function.truth_table()
    bit = 1 << names.index(pin)
    follows = opposes = False
    for word, low in enumerate(table):
        if word & bit or any(k is not None and word >> i & 1 != k for i, k in enumerate(known)):
            continue
        follows |= low < table[word | bit]
        opposes |= low > table[word | bit]
    return follows, opposes

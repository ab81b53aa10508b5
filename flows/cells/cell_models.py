"""Functional Verilog of a library's cells, so that any simulator can run a netlist.

No delays: what a cell computes, flip-flops at their clock's edge, clock gates as the latch and AND
that they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.cells.boolean import Function
from flows.library import Cell, Library


def cell_models(library: Library) -> str:
    """A module for every cell that the flow can use; cells of other kinds are left out."""
    known = (
        cell for cell in library.cells.values() if cell.kind in ("comb", "flipflop", "clockgate")
    )
    return "\n".join(cell_model(cell) for cell in known)


def cell_model(cell: Cell) -> str:
    """The module of one cell, its pins as ports in the library's order.

    >>> cell = Library.load().cells["CLKGATE_X1"]
    >>> print(cell_model(cell).strip())
    module CLKGATE_X1 (input CK, input E, output GCK);
      reg open;
      always @* if (!CK) open = E;
      assign GCK = CK & open;
    endmodule
    """
    pins = [f"input {pin}" for pin in cell.inputs] + [f"output {pin}" for pin in cell.outputs]
    if cell.gate:
        body = _gate(cell)
    elif cell.register:
        body = _register(cell)
    else:
        body = _functions(cell, {})
    lines = "\n".join(f"  {line}" for line in body)
    return f"module {cell.name} ({', '.join(pins)});\n{lines}\nendmodule\n"


def _functions(cell: Cell, names: dict[str, str]) -> Iterator[str]:
    for pin in cell.outputs:
        function = cell.pins[pin].function
        if function is not None:
            yield f"assign {pin} = {_text(function, names)};"


def _text(function: Function, names: dict[str, str]) -> str:
    """The function in Verilog, pins by their own names unless `names` has another."""
    return function.expression({pin: names.get(pin, pin) for pin in function.inputs})


def _gate(cell: Cell) -> Iterator[str]:
    gate = cell.gate
    assert gate is not None
    enable = f"{gate.enable} | {gate.test}" if gate.test else gate.enable
    yield "reg open;"
    yield f"always @* if (!{gate.clock}) open = {enable};"
    yield f"assign {gate.output} = {gate.clock} & open;"


def _register(cell: Cell) -> Iterator[str]:
    """State variables are one register and its inverse, as in `flows.gates.circuit`."""
    register = cell.register
    assert register is not None
    state = {register.state[0]: "state", register.state[1]: "~state"}

    edges, resets = ["posedge clock"], []
    yield "reg state;"
    yield f"wire clock = {_text(register.clock, state)};"
    for name, function, value in (("clear", register.clear, 0), ("preset", register.preset, 1)):
        if function is not None:
            yield f"wire {name} = {_text(function, state)};"
            edges.append(f"posedge {name}")
            resets.append(f"if ({name}) state <= {value}; else ")
    take = f"{''.join(resets)}state <= {_text(register.next_state, state)};"
    yield f"always @({' or '.join(edges)}) {take}"
    yield from _functions(cell, state)

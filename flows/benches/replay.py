"""Verilog that the replays of a circuit in other simulators share: nets, clocks, registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flows.gates.circuit import Circuit, Gate


def declarations(circuit: Circuit) -> str:
    """The constants, and a wire n7 for net 7."""
    gates = (gate.output for gate in circuit.gates)
    wires = (f"wire n{net};" for net in (*circuit.sources, *circuit.clocks, *gates))
    return f"wire n0 = 0; wire n1 = 1; {' '.join(wires)}"


def clocks(circuit: Circuit) -> Iterator[str]:
    """The clock tree behind `clk`, with a latch in each clock gate."""
    for net, clock in circuit.clocks.items():
        if clock.parent is None:
            yield f"assign n{net} = clk;"
        elif clock.enables:
            enable = " | ".join(f"n{e}" for e in clock.enables)
            yield f"reg l{net}; always @* if (!n{clock.parent}) l{net} = {enable};"
            yield f"assign n{net} = n{clock.parent} & l{net};"
        else:
            sign = "~" * (clock.inverted != circuit.clocks[clock.parent].inverted)
            yield f"assign n{net} = {sign}n{clock.parent};"


def registers(circuit: Circuit, late: Callable[[int], str] = lambda _: "") -> Iterator[str]:
    """Flip-flops that start at 0; `late(net)` is an output's delay as Verilog writes it."""
    for i, ff in enumerate(circuit.flipflops):
        names = {pin: f"n{net}" for pin, net in ff.inputs.items()}
        names |= dict(zip(ff.state, (f"q{i}", f"~q{i}"), strict=True))
        yield f"reg q{i}; initial q{i} = 0;"
        yield f"always @(posedge n{ff.clock}) q{i} <= {ff.next_state.expression(names)};"
        for net, inverted, _ in ff.outputs:
            yield f"assign {late(net)} n{net} = {'~' * inverted}q{i};"


def gate(of: Gate, late: str = "") -> str:
    """A gate with one delay."""
    names = {p: f"n{n}" for p, n in zip(of.function.inputs, of.inputs, strict=True)}
    return f"assign {late} n{of.output} = {of.function.expression(names)};"

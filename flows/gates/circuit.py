"""A netlist as a simulator sees it: gates in topological order, registers, and the clock's nets.

A register takes its next state at the clock's rising edge. A clock may pass buffers, inverters and
clock gates on its way; anything else in its path is refused, because what such a net does depends
on a race that zero-delay semantics cannot settle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from flows.cells.boolean import Function
from flows.console import FlowError
from flows.library import Cell, Library
from flows.netlist import CONSTANTS, Instance, Netlist


@dataclass(frozen=True, slots=True)
class Gate:
    """One output of a combinational instance; `inputs[i]` is the net at `function.inputs[i]`."""

    instance: int
    pin: str
    function: Function
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True, slots=True)
class FlipFlop:
    """A register: `outputs` are (net, True where it is the inverse of the state, pin)."""

    instance: int
    next_state: Function
    inputs: dict[str, int]
    state: tuple[str, str]
    clock_pin: str
    clock: int
    asynchronous: tuple[Function, ...]
    outputs: tuple[tuple[int, bool, str], ...]


@dataclass(frozen=True, slots=True)
class ClockNet:
    """A net of the clock tree. It pulses in the cycles in which its parent does and, behind a
    clock gate, any of `enables` was 1 before the edge; `inverted` is seen from the clock port."""

    net: int
    parent: int | None
    enables: tuple[int, ...] = ()
    inverted: bool = False


@dataclass(frozen=True, eq=False)
class Circuit:
    """Gates, flip-flops and clock nets of `netlist`; build it with `Circuit.of`."""

    netlist: Netlist
    gates: tuple[Gate, ...]
    flipflops: tuple[FlipFlop, ...]
    clocks: dict[int, ClockNet]
    functions: tuple[str, ...]  # of all the library's cells and registers but the constant ones

    @classmethod
    def of(cls, netlist: Netlist, library: Library) -> Circuit:
        """Refuses (FlowError) a clock that is also data, or is made by more than clock gates."""
        clocks = _clock_tree(netlist, library)
        gates = []
        for i in (i for level in netlist.levels(library) for i in level):
            gates += [g for g in _gates(i, netlist, library) if g.output not in clocks]
        functions = {
            function.text
            for cell in library.cells.values()
            for function in _functions(cell)
            if function.inputs
        }
        flipflops = tuple(_flipflops(netlist, library))
        circuit = cls(netlist, tuple(gates), flipflops, clocks, tuple(sorted(functions)))
        circuit._refuse_clock_as_data()
        return circuit

    @cached_property
    def data_inputs(self) -> tuple[int, ...]:
        """Nets of the input ports that are no clocks, in the ports' order."""
        nets = (net for port in self.netlist.inputs.values() for net in port)
        return tuple(net for net in nets if net not in self.clocks)

    def reset_active(self) -> FlowError:
        """What is wrong where an asynchronous set or reset becomes active in a simulation."""
        nets = {
            ff.inputs[pin] for ff in self.flipflops for f in ff.asynchronous for pin in f.inputs
        }
        names = ", ".join(self.netlist.nets[net] for net in sorted(nets)[:3])
        return FlowError(
            f"{self.netlist.top}: an asynchronous set or reset becomes active, at net {names}; "
            "hold its port inactive (--hold PORT=VALUE): only synchronous ones are simulated."
        )

    @cached_property
    def sources(self) -> tuple[int, ...]:
        """Nets that start the combinational logic: data inputs, then flip-flop outputs."""
        return self.data_inputs + tuple(net for ff in self.flipflops for net, _, _ in ff.outputs)

    @cached_property
    def needed(self) -> frozenset[int]:
        """Nets that a register's next state or a clock gate depends on."""
        needed = {e for clock in self.clocks.values() for e in clock.enables}
        for ff in self.flipflops:
            needed.update(ff.inputs.values())
        for gate in reversed(self.gates):
            if gate.output in needed:
                needed.update(gate.inputs)
        return frozenset(needed)

    def _refuse_clock_as_data(self) -> None:
        for gate in self.gates:
            self._refuse_clock(gate.inputs, gate.instance)
        for ff in self.flipflops:
            self._refuse_clock(tuple(ff.inputs.values()), ff.instance)

    def _refuse_clock(self, nets: tuple[int, ...], instance: int) -> None:
        for net in nets:
            if net in self.clocks:
                raise FlowError(
                    f"{self.netlist.top}: clock net {self.netlist.nets[net]} is data for cell "
                    f"{self.netlist.instances[instance].name}; a clock may feed registers only."
                )


def _functions(cell: Cell) -> Iterator[Function]:
    """All that a simulator has to evaluate."""
    if cell.kind == "comb":
        yield from (pin.function for pin in cell.pins.values() if pin.function is not None)
    elif cell.register is not None:
        register = cell.register
        found = (register.next_state, register.clear, register.preset)
        yield from (function for function in found if function is not None)


def _gates(i: int, netlist: Netlist, library: Library) -> Iterator[Gate]:
    x = netlist.instances[i]
    cell = library.cells[x.cell]
    for pin in cell.outputs:
        function = cell.pins[pin].function
        if pin in x.pins and function is not None:
            inputs = tuple(x.pins[name] for name in function.inputs)
            yield Gate(i, pin, function, inputs, x.pins[pin])


def _flipflops(netlist: Netlist, library: Library) -> Iterator[FlipFlop]:
    for i, x in enumerate(netlist.instances):
        cell = library.cells[x.cell]
        if cell.register is None:
            continue
        register = cell.register
        if not register.rising:
            raise FlowError(
                f"{netlist.top}: {x.name} is a {x.cell}, clocked at the falling edge; "
                "the simulator takes registers clocked at the rising edge."
            )
        outputs = tuple(
            (x.pins[pin], _inverts(cell, pin, x), pin) for pin in cell.outputs if pin in x.pins
        )
        data = {p: x.pins[p] for p in cell.inputs if p != register.clock_pin}
        asynchronous = tuple(f for f in (register.clear, register.preset) if f is not None)
        clock = x.pins[register.clock_pin]
        yield FlipFlop(
            i,
            register.next_state,
            data,
            register.state,
            register.clock_pin,
            clock,
            asynchronous,
            outputs,
        )


def _inverts(cell: Cell, pin: str, instance: Instance) -> bool:
    function, register = cell.pins[pin].function, cell.register
    assert register is not None
    if function is None or function.inputs not in ((register.state[0],), (register.state[1],)):
        raise FlowError(f"output {pin} of {instance.name} ({cell.name}) is not its state.")
    return (function.inputs[0] == register.state[1]) != (function.truth_table() == (1, 0))


def _clock_tree(netlist: Netlist, library: Library) -> dict[int, ClockNet]:
    """Every net between a clock port and a register or clock gate, port first."""
    drivers = netlist.drivers(library)
    ports = {net for port in netlist.inputs.values() for net in port}
    tree: dict[int, ClockNet] = {}

    def add(net: int) -> ClockNet:
        if net not in tree:
            tree[net] = _clock_net(net, netlist, library, drivers[net], net in ports, add)
        return tree[net]

    for x in netlist.instances:
        pin = library.cells[x.cell].clock_pin
        if pin is not None:
            add(x.pins[pin])
    return tree


def _clock_net(
    net: int,
    netlist: Netlist,
    library: Library,
    driver: tuple[int, str] | None,
    is_port: bool,
    add: object,
) -> ClockNet:
    assert callable(add)
    if is_port or net < len(CONSTANTS):
        return ClockNet(net, None)
    assert driver is not None
    x = netlist.instances[driver[0]]
    cell = library.cells[x.cell]
    if cell.gate is not None:
        pins = [cell.gate.enable] + ([cell.gate.test] if cell.gate.test else [])
        parent = add(x.pins[cell.gate.clock])
        return ClockNet(net, parent.net, tuple(x.pins[p] for p in pins), parent.inverted)
    function = cell.pins[driver[1]].function
    if cell.kind == "comb" and function is not None and len(function.inputs) == 1:
        parent = add(x.pins[function.inputs[0]])
        return ClockNet(net, parent.net, (), parent.inverted != (function.truth_table() == (1, 0)))
    raise FlowError(
        f"{netlist.top}: clock net {netlist.nets[net]} comes from cell {x.name} ({x.cell}); "
        "a clock may pass only buffers, inverters and clock gates."
    )

"""Zero-delay simulation cycle by cycle in C: `flows.functional` on rows of 512 streams.

Rows of values: 0, 1, the data inputs, then every register's state and its inverse, clock nets, and
the gates that a register or clock gate needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows import kernel
from flows.boolean import Function
from flows.circuit import Circuit
from flows.console import FlowError
from flows.counting import runs
from flows.kernel import PINS, Buffers
from flows.netlist import ONE, ZERO
from flows.waveform import ONES, Words

FLIPFLOP = kernel.record(*((name, "i4") for name in ("state", "inverse", "next", "clock")))
CLOCK = kernel.record(
    *((name, "i4") for name in ("clock", "parent", "enables")), ("enable", "i4", PINS)
)


@dataclass(eq=False)
class State:
    """512 streams on their way: `values` and `after` (rows, 8), inputs (data inputs, cycles, 8)."""

    values: Words
    after: Words
    inputs: Words
    cycle: int = 0


class Cycles:
    """A circuit as tables for the C loops; `nets` are those that it traces."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.nets = (*circuit.sources, *circuit.clocks)
        self.place = {net: i for i, net in enumerate(self.nets)}
        self._library = kernel.load(circuit.functions)
        self._number = {text: i for i, text in enumerate(circuit.functions)}
        self._row = {ZERO: 0, ONE: 1}
        self._constants = {ZERO: 0, ONE: 1}  # value by row
        self._nodes: list[tuple[int, int, int, tuple[int, ...]]] = []
        self._level: dict[int, int] = {}
        self._size = 2
        self._place_sources()
        self._place_gates()
        flipflops = [self._flipflop(i) for i in range(len(circuit.flipflops))]
        self._flipflops = np.array(flipflops, FLIPFLOP)
        self._clocks = np.array([self._clock(net) for net in circuit.clocks], CLOCK)
        self._alarms = np.array(self._alarm_rows(), np.int32)
        self._runs, self._gates = runs(self._nodes)
        self._initial = np.zeros((self._size, 1), np.uint64)
        ones = [row for row, value in self._constants.items() if value]
        ones += [self._state(i) + 1 for i in range(len(flipflops))]
        ones += [self._row[net] for net in circuit.clocks]
        self._initial[ones] = ONES
        self._traced = np.array([self._row[net] for net in self.nets], np.int32)

    def start(self, inputs: Words, buffers: Buffers) -> State:
        """All registers at 0."""
        values = buffers.rows("values", self._size)
        values[:] = self._initial
        return State(values, buffers.rows("after", len(self._flipflops)), inputs)

    def advance(self, state: State, trace: Words) -> None:
        """Fill `trace`, shape (nets, cycles, 8), with the values of `nets` in the next cycles.

        Raises FlowError where an asynchronous set or reset becomes active.
        """
        tables = (self._flipflops, self._clocks, self._alarms)
        alarm = kernel.call(
            self._library.advance,
            *(self._runs, len(self._runs), self._gates),
            *(item for table in tables for item in (table, len(table))),
            *(state.inputs, len(self.circuit.data_inputs), state.inputs.shape[1]),
            *(state.cycle, state.cycle + trace.shape[1], state.values, state.after),
            *(self._traced, len(self._traced), trace),
        )
        if alarm:
            raise FlowError(
                f"{self.circuit.netlist.top}: an asynchronous set or reset becomes active; hold it "
                "inactive (only synchronous resets are simulated)."
            )
        state.cycle += trace.shape[1]

    def windows(self, before: Words, trace: Words, initial: Words, final: Words) -> None:
        """From a trace of 64 cycles and the row `before` it, which then moves on: words of 64
        cycles of one stream, at the cycle before and at the cycle, both (nets, 64, 8)."""
        kernel.call(self._library.windows, before, trace, len(self.nets), initial, final)

    def pack(self, codes: NDArray[np.int64], order: NDArray[np.int64], bits: Words) -> None:
        """Fill `bits`, shape (width, cycles, 8), with those of words of shape (cycles, streams), of
        which the 512 in `order` are taken."""
        streams, (width, cycles, _) = codes.shape[1], bits.shape
        kernel.call(self._library.pack, codes, streams, order, cycles, width, bits)

    def _new_row(self) -> int:
        self._size += 1
        return self._size - 1

    def _state(self, flipflop: int) -> int:
        return 2 + len(self.circuit.data_inputs) + 2 * flipflop

    def _place_sources(self) -> None:
        for net in self.circuit.data_inputs:
            self._row[net] = self._new_row()
        for i, ff in enumerate(self.circuit.flipflops):
            for net, inverted, _ in ff.outputs:
                self._row[net] = self._state(i) + inverted
        self._size += 2 * len(self.circuit.flipflops)
        for net in self.circuit.clocks:
            self._row[net] = self._new_row()

    def _place_gates(self) -> None:
        needed = self.circuit.needed
        for gate in self.circuit.gates:
            if gate.output in needed:
                inputs = tuple(self._row[net] for net in gate.inputs)
                self._row[gate.output] = self._node(gate.function, inputs)

    def _node(self, function: Function, inputs: tuple[int, ...]) -> int:
        """The row of a function of rows."""
        row = self._new_row()
        if function.inputs:
            self._level[row] = 1 + max(self._level.get(i, 0) for i in inputs)
            self._nodes.append((self._level[row], self._number[function.text], row, inputs))
        else:
            self._constants[row] = int(function.evaluate({}))
        return row

    def _flipflop(self, i: int) -> tuple[int, int, int, int]:
        ff, state = self.circuit.flipflops[i], self._state(i)
        rows = {pin: self._row[net] for pin, net in ff.inputs.items()}
        rows |= dict(zip(ff.state, (state, state + 1), strict=True))
        function = ff.next_state
        inputs = tuple(rows[pin] for pin in function.inputs)
        follows = function.text in function.inputs  # a register that just copies a pin
        after = inputs[0] if follows else self._node(function, inputs)
        return state, state + 1, after, self._row[ff.clock]

    def _clock(self, net: int) -> tuple[int, int, int, list[int]]:
        clock = self.circuit.clocks[net]
        parent = -1 if clock.parent is None else self._row[clock.parent]
        enables = [self._row[e] for e in clock.enables]
        return self._row[net], parent, len(enables), enables + [0] * (PINS - len(enables))

    def _alarm_rows(self) -> list[int]:
        return [
            self._node(f, tuple(self._row[ff.inputs[p]] for p in f.inputs))
            for ff in self.circuit.flipflops
            for f in ff.asynchronous
        ]

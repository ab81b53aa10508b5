"""Zero-delay simulation in C, rows of 512 streams side by side, and its transitions counted.

A value is an array of rows, a block of cycles long. Blocks are short, and an array is used again
after its last reader, so that all that are alive stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.gates.circuit import Circuit
from flows.netlist import ONE, ZERO
from flows.simulator import kernel
from flows.simulator.kernel import BLOCKS, LANES, PINS, Buffers
from flows.simulator.schedule import Kind, Node, Schedule
from flows.simulator.waveform import ONES, Words

Codes = NDArray[np.int64]
Ports = Sequence[tuple[Sequence[int], Codes]]  # nets and their words, (cycles, streams)
WIDTH = 2  # rows that are counted side by side
CACHE = 3 << 18  # bytes; 8 to 64 cycles at once differ by a third, 32 at 0.6 MB measured best
NODE = kernel.record(
    *((name, "i4") for name in ("kind", "function", "inputs")),
    ("input", "i4", PINS),
    *((name, "i4") for name in ("output", "state", "net", "trace")),
)


@dataclass(eq=False)
class State:
    """Streams on their way: `inputs` (data inputs, cycles, width, 8), `states` of registers and
    clocks (any, width, 8), and the addresses of all values."""

    inputs: Words
    states: Words
    values: NDArray[np.uint64]
    cycle: int = 0


class Cycles:
    """A circuit as tables for the C loops; `nets` are those that it traces.

    With `every` all gates are there to be counted, otherwise those alone that registers depend on.
    Counting takes as many cycles at once as leave what is alive in the cache.
    """

    def __init__(self, circuit: Circuit, *, every: bool = False) -> None:
        self.circuit = circuit
        self.nets = (*circuit.sources, *circuit.clocks)
        self.place = {net: i for i, net in enumerate(self.nets)}
        schedule = Schedule(circuit, every=every)
        self.ones = schedule.ones  # nets that are 1 in every cycle
        self._library = kernel.load(circuit.functions)
        self._parts = np.array([len(part) for part in schedule.parts], np.int32)
        nodes = [node for part in schedule.parts for node in part]
        holding = [n for n in nodes if n.kind in (Kind.CLOCK, Kind.REGISTER)]
        self._start = np.array([ONES * (n.kind == Kind.CLOCK) for n in holding], np.uint64)
        self._nodes = self._table(nodes, {n.output: i for i, n in enumerate(holding)})
        self._array, self._arrays = _places(schedule)
        fitting = CACHE // (self._arrays * WIDTH * LANES * 8)
        self.block = min(BLOCKS, max(8, fitting)) if every else BLOCKS

    def start(self, ports: Ports, order: Codes, buffers: Buffers) -> State:
        """All registers at 0, and the streams that stand in `order`, shape (width, 512), of the
        ports' words (cycles, streams)."""
        width, rows = len(order), (self.block + 1) * len(order)
        inputs = self._inputs(ports, order, buffers)
        states = buffers.rows("states", len(self._start), width)
        states[:] = self._start[:, None, None]
        arena = buffers.rows("values", self._arrays, rows)
        arena[ZERO], arena[ONE] = 0, ONES
        values = arena.ctypes.data + self._array * np.uint64(rows * LANES * 8)
        return State(inputs, states, values)

    def _inputs(self, ports: Ports, order: Codes, buffers: Buffers) -> Words:
        cycles, width = len(ports[0][1]), len(order)
        inputs = buffers.rows("inputs", len(self.circuit.data_inputs), cycles, width)
        for nets, words in ports:
            if not words.strides[1]:  # the same for all streams
                for i, net in enumerate(nets):
                    ones = words[:, :1, None] >> min(i, 62) & 1
                    inputs[self.place[net]] = np.where(ones, ONES, np.uint64(0))
                continue
            codes = np.ascontiguousarray(words, np.int64)
            places = np.array([self.place[net] for net in nets], np.int32)
            arguments = (codes, codes.shape[1], order, cycles, width, places, len(nets), inputs)
            kernel.call(self._library.pack, *arguments)
        return inputs

    def skip(self, state: State, cycles: int) -> None:
        """Go on by so many cycles.

        Raises FlowError where an asynchronous set or reset becomes active.
        """
        for size in self._sizes(cycles):
            self._advance(state, size, None, 0, 1, 1, None, None, None)

    def count(
        self, state: State, cycles: int, masks: Words, phase: int, tally: NDArray[np.uint32]
    ) -> None:
        """Go on, adding row v of every cycle, where its mask is one, to row v + phase of `tally`,
        (phases, nets, kinds, 8)."""
        for size in self._sizes(cycles):
            self._advance(state, size, masks, phase, *tally.shape[:2], tally, None, None)

    def trace(self, state: State, initial: Words, final: Words) -> None:
        """Go on by 64 cycles of streams in one row: words of 64 cycles of one stream, at the cycle
        before and at the cycle, both (nets, 64, 8)."""
        self._advance(state, BLOCKS, None, 0, 1, 1, None, initial, final)

    def _sizes(self, cycles: int) -> Iterator[int]:
        yield from (min(self.block, cycles - done) for done in range(0, cycles, self.block))

    def _advance(self, state: State, cycles: int, *results: object) -> None:
        alarm = kernel.call(
            self._library.advance,
            *(self._parts, len(self._parts), self._nodes, state.values, state.states),
            *(state.inputs, state.inputs.shape[1], state.cycle, state.cycle + cycles),
            *(state.inputs.shape[2], *results),
        )
        if alarm:
            raise self.circuit.reset_active()
        state.cycle += cycles

    def _table(self, nodes: Sequence[Node], states: dict[int, int]) -> NDArray[np.void]:
        number = {text: i for i, text in enumerate(self.circuit.functions)}
        nets = len(self.circuit.netlist.nets)
        table = np.zeros(len(nodes), NODE)
        for entry, node in zip(table, nodes, strict=True):
            entry["kind"], entry["output"] = node.kind, node.output
            entry["inputs"] = len(node.inputs)
            entry["input"][: len(node.inputs)] = node.inputs
            if node.kind == Kind.INPUT:
                entry["input"][0] = self.place[node.output]
            entry["function"] = 0 if node.function is None else number[node.function.text]
            entry["state"] = states.get(node.output, -1)
            entry["net"] = node.output if ONE < node.output < nets else -1
            entry["trace"] = self.place.get(node.output, -1)
        return table


def _places(schedule: Schedule) -> tuple[NDArray[np.uint64], int]:
    """The array of every value, and how many there are; 0 and 1 are the constants'."""
    last = {v: i for i, part in enumerate(schedule.parts) for node in part for v in node.inputs}
    place = np.zeros(schedule.values, np.uint64)
    place[ONE] = ONE
    free: list[int] = []
    count, alive = 2, set()
    for i, part in enumerate(schedule.parts):
        for value in (n.output for n in part if n.kind not in (Kind.INPUT, Kind.ALARM)):
            if not free:
                free.append(count)
                count += 1
            place[value] = free.pop()
            alive.add(value)
        touched = {value for node in part for value in (*node.inputs, node.output)}
        over = {value for value in touched & alive if last.get(value, i) == i}
        free += (int(place[value]) for value in sorted(over))
        alive -= over
    return place, count

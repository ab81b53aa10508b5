"""A timed run of the simulator in C, from the ports' words to counts: blocks, threads, batches.

Streams are dealt to rows of 8 words so that a word of a row always belongs to the same batch:
counts then add up word by word, and are separated once at the end. 64 rows (512 streams) make a
chunk, which goes through `flows.simulator.cycles` and, 64 cycles at a time, through
`flows.simulator.counting`; chunks are shared out to threads, and integer counts do not depend on
how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.gates.circuit import Circuit
from flows.simulator import kernel
from flows.simulator.counting import Counter, tallies
from flows.simulator.cycles import Codes, Cycles, Ports
from flows.simulator.kernel import BLOCKS, LANES, Buffers
from flows.simulator.waveform import ONES, Counts, Plan, Words

Prepare = Callable[[Mapping[int, int]], Plan]


@dataclass(frozen=True, eq=False)
class Deal:
    """Which of some words stands where in which row: `words` (rows, 8), -1 for none. The rows i,
    i + phases, ... hold words of the same batches, a batch's words side by side."""

    words: Codes
    phases: int

    @classmethod
    def of(cls, words: int, batches: int) -> Deal:
        """The words in their order belong to the batches in theirs, as many to each."""
        each = words // batches
        share = max(1, LANES // batches)  # words of a row that one batch has
        phases = -(-batches // LANES)
        rows = -(-each // share)
        lanes = np.arange(phases * LANES).reshape(phases, LANES)
        batch = np.where(lanes < batches * share, lanes // share, -1)
        number = np.arange(rows)[:, None, None] * share + lanes % share  # within the batch
        found = np.where((batch >= 0) & (number < each), batch * each + number, -1)
        return cls(found.reshape(-1, LANES), phases)

    def batches(self, tally: NDArray[np.uint32], count: int) -> Counts:
        """Shape (batches, nets, kinds) from (phases, nets, kinds, 8)."""
        words = tally.transpose(0, 3, 1, 2).reshape(-1, *tally.shape[1:3])
        share = max(1, LANES // count)
        total: Counts = (
            words[: count * share].reshape(count, share, *words.shape[1:]).sum(1, dtype=np.int64)
        )
        return total


def share_out(pieces: Sequence[Codes], threads: int, work: Callable[[int, Codes], None]) -> None:
    """Call `work(thread, piece)` for every piece, a thread's pieces one after the other."""

    def one(thread: int) -> None:
        for piece in pieces[thread::threads]:
            work(thread, piece)

    if threads == 1:
        one(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(threads)))


def pieces(rows: int, most: int, threads: int) -> list[Codes]:
    """Numbers of rows, `most` of them together at most, and a piece for every thread at least."""
    count = -(-rows // most)
    return np.array_split(np.arange(rows), min(rows, -(-count // threads) * threads))


class Engine:
    """A circuit ready to be counted; `prepare(static)` gives the plan for an operating point."""

    def __init__(self, circuit: Circuit, prepare: Prepare, threads: int = 1) -> None:
        self.circuit = circuit
        self.threads = threads
        self._prepare = prepare
        self.cycles = Cycles(circuit)
        self.buffers = [Buffers() for _ in range(threads)]
        self.counters: list[dict[Any, Counter]] = [{} for _ in range(threads)]

    def run(self, ports: Ports, still: Sequence[int], warmup: int, batches: int) -> Counts:
        """Counts as flows.simulator.waveform's, clock nets included (twice the pulses, and ones 0).

        `ports` are nets and their words, shape (cycles, streams); `still` are sources that may be
        constant and are left out where they are.
        """
        streams = max(words.shape[1] for _, words in ports)
        deal = Deal.of(streams, batches)
        parts = [_Part(self, deal, thread) for thread in range(self.threads)]
        share_out(
            pieces(len(deal.words), BLOCKS, self.threads),
            self.threads,
            lambda thread, rows: parts[thread].add(rows, ports, still, warmup),
        )
        counts: Counts = np.sum([deal.batches(part.tally, batches) for part in parts], axis=0)
        return counts

    def counter(self, counters: dict[Any, Counter], static: Mapping[int, int]) -> Counter:
        """The counter of one thread for an operating point."""
        key = frozenset(static.items())
        if key not in counters:
            counters[key] = Counter(self._prepare(static), self.cycles.place)
        return counters[key]


class _Part:
    """What one thread counts."""

    def __init__(self, engine: Engine, deal: Deal, thread: int) -> None:
        self._engine, self._deal = engine, deal
        self._circuit, self._cycles = engine.circuit, engine.cycles
        self._buffers, self._counters = engine.buffers[thread], engine.counters[thread]
        self.tally = tallies(deal.phases, len(self._circuit.netlist.nets), self._buffers)

    def add(self, rows: Codes, ports: Ports, still: Sequence[int], warmup: int) -> None:
        """Run the streams of these rows from their start and count after `warmup` cycles."""
        streams = self._deal.words[rows]
        masks = kernel.rows(len(rows))
        masks[streams >= 0] = ONES
        order = np.zeros((1, BLOCKS * LANES), np.int64)  # without a stream: the first one
        order[0, : streams.size] = np.maximum(streams, 0).reshape(-1)
        state = self._cycles.start(ports, order, self._buffers)
        self._cycles.skip(state, warmup - 1)
        initial, final = (
            self._buffers.rows(name, len(self._cycles.nets), BLOCKS)
            for name in ("initial", "final")
        )
        while state.cycle + 1 < state.inputs.shape[1]:
            self._cycles.trace(state, initial, final)
            self._count(initial, final, still, masks, int(rows[0]))

    def _count(
        self, initial: Words, final: Words, still: Sequence[int], masks: Words, row: int
    ) -> None:
        """Add 64 cycles of every stream; `row` is the first row's number."""
        place, phases = self._cycles.place, len(self.tally)
        static = {}
        for net in still:
            ends = (initial[place[net]], final[place[net]])
            if all(np.all(e == e[0, 0]) for e in ends) and int(ends[0][0, 0]) in (0, int(ONES)):
                static[net] = int(ends[0][0, 0] != 0)
        counter = self._engine.counter(self._counters, static)
        counter.add(initial, final, BLOCKS, masks, row % phases, self.tally)
        clocks = final[len(self._circuit.sources) :, : len(masks)] & masks
        for phase in range(phases):
            part = slice((phase - row) % phases, len(masks), phases)
            counted = np.bitwise_count(masks[part]).sum(0, dtype=np.uint32)
            self.tally[phase][counter.ones, 2:] += counted
            pulses = np.bitwise_count(clocks[:, part]).sum(1, dtype=np.uint32)
            self.tally[phase][list(self._circuit.clocks), :2] += 2 * pulses[:, None]

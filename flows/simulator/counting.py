"""Counting a plan's transitions in C: the counts of flows.simulator.waveform.

Gates are taken depth first from the ends of the logic, so that few waveforms are alive at once and
stay in the processor's cache; a place in memory is used again after its last reader.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flows.simulator import kernel
from flows.simulator.kernel import LANES, PINS, Buffers
from flows.simulator.waveform import ONES, Counts, Plan, Task, Words

TASK = kernel.record(
    ("place", "i8"),
    ("net", "i4"),
    ("input", "i4", PINS),
    ("delay", "i4", PINS),
    *((name, "i4") for name in ("function", "pins", "rise", "fall", "lead")),
)
WAVE = kernel.record(("row", "i8"), ("first", "i4"), ("rows", "i4"))

Tally = NDArray[np.uint32]  # (phases, nets, kinds, words of a row)


def tallies(phases: int, nets: int, buffers: Buffers) -> Tally:
    """Zeros to count in: transitions, settled transitions, ones at start and at end."""
    rows = buffers.rows("tally", phases, nets, 2)
    rows[:] = 0
    return rows.view(np.uint32).reshape(phases, nets, 4, LANES)


class Counter:
    """A plan ready to run on blocks of 8 words; `place` says where a source's words are in arrays
    of them (default: in the order of the plan). `ones` are the nets that stay 1."""

    def __init__(self, plan: Plan, place: Mapping[int, int] | None = None) -> None:
        self.plan = plan
        self.nets = len(plan.circuit.netlist.nets)
        self._index = {net: i for i, (net, _, _) in enumerate(plan.sources)}
        if place is not None:
            self._index = {net: place[net] for net in self._index}
        self.ones = [net for net, value in plan.static.items() if value]
        # All of the library's functions, so that one build does for all netlists.
        self._library = kernel.load(plan.circuit.functions)
        self._number = {text: i for i, text in enumerate(plan.circuit.functions)}
        self._lay_out()

    def count(
        self, initial: Mapping[int, Words], final: Mapping[int, Words], batches: int = 1
    ) -> Counts:
        """As flows.simulator.waveform.count."""
        words = len(next(iter(final.values()))) if self._index else 0
        size = words // batches
        blocks = -(-size // LANES)
        shape = (2, len(self._index), batches, blocks * LANES)
        ends, masks = np.zeros(shape, np.uint64), np.zeros(shape[2:], np.uint64)
        for k, values in enumerate((initial, final)):
            for net, i in self._index.items():
                ends[k, i, :, :size] = values[net].reshape(batches, size)
        masks[:, :size] = ONES
        counts = np.empty((batches, self.nets, 4), np.int64)
        for batch in range(batches):
            tally = tallies(1, self.nets, Buffers())
            start, end, mask = map(kernel.aligned, (*ends[:, :, batch], masks[batch]))
            self.add(start, end, blocks, mask, 0, tally)
            counts[batch] = tally[0].sum(2)
        return counts

    def add(
        self,
        initial: Words,
        final: Words,
        stride: int,
        masks: Words,
        phase: int,
        tally: Tally,
    ) -> None:
        """Count the sources' words in `initial` and `final`, both (any, stride, 8), where `masks`,
        (blocks, 8), is one; block b of them adds to `tally[(phase + b) % phases]`."""
        tasks = (self._tasks, len(self._tasks))
        words = (initial, final, len(masks), stride, masks, phase, len(tally), self.nets)
        rooms = (self._arena, self._scratch, len(self._scratch) // (2 * kernel.SIDE), self._waves)
        kernel.call(self._library.simulate, *tasks, *words, *rooms, tally)

    def _lay_out(self) -> None:
        windows, tasks = self.plan.windows, {task.gate.output: task for task in self.plan.tasks}
        sources = {net: edges for net, *edges in self.plan.sources}
        order = depth_first(self.plan)
        readers = dict.fromkeys(order, 0)
        reads = {net: set(tasks[net].gate.inputs) & readers.keys() for net in tasks}
        for net in (net for nets in reads.values() for net in nets):
            readers[net] += 1
        arena, place, room = _Arena(), {}, 1
        self._tasks = np.zeros(len(order), TASK)
        for entry, net in zip(self._tasks, order, strict=True):
            rows = windows[net].rows
            entry["place"] = place[net] = arena.take(rows)
            entry["net"] = net
            if net in tasks:
                self._fill(entry, tasks[net])
                room = max(room, rows + 2 * int(entry["rise"] + entry["fall"]))
            else:
                entry["rise"], entry["fall"] = sources[net]
                entry["input"][0] = self._index[net]
            for used in reads.get(net, ()):
                readers[used] -= 1
                if readers[used] == 0:
                    arena.give(place[used], windows[used].rows)
            if readers[net] == 0:
                arena.give(place[net], rows)
        self._arena = kernel.rows(kernel.SIDE * arena.size)
        self._scratch = kernel.rows(2 * kernel.SIDE * room)
        self._waves = np.zeros(self.nets, WAVE)

    def _fill(self, entry: np.void, task: Task) -> None:
        gate, delay = task.gate, task.delay
        # A side without a filter looks at the same step: a window one longer, one step earlier.
        early = int(min(delay.rise, delay.fall) == 0)
        pins = len(gate.inputs)
        entry["pins"] = pins
        entry["input"][:pins] = [self.plan.static.get(net, net) for net in gate.inputs]
        entry["delay"][:pins] = delay.inputs
        entry["function"] = self._number[gate.function.text]
        entry["rise"], entry["fall"] = delay.rise + early, delay.fall + early
        entry["lead"] = min(delay.rise, delay.fall)


def depth_first(plan: Plan) -> list[int]:
    """The nets that can change, so that what a gate needs comes shortly before it.

    Ends of the logic are taken by number: neighbours share gates, or at least their instance.
    """
    inputs = {task.gate.output: task.gate.inputs for task in plan.tasks}
    read = {net for nets in inputs.values() for net in nets}
    order, done = [], set()
    for end in sorted(plan.windows.keys() - read):
        stack = [(end, iter(inputs.get(end, ())))]
        while stack:
            net, nets = stack[-1]
            below = next((n for n in nets if n in plan.windows and n not in done), None)
            if below is not None:
                stack.append((below, iter(inputs.get(below, ()))))
            else:
                stack.pop()
                if net not in done:
                    done.add(net)
                    order.append(net)
    return order


class _Arena:
    """Places for the nets' rows, first fit; neighbours that are free become one."""

    def __init__(self) -> None:
        self.size = 2  # rows 0 and 1: the constants
        self._free: list[tuple[int, int]] = []  # first row and the row after the last, sorted

    def take(self, rows: int) -> int:
        for i, (first, end) in enumerate(self._free):
            if end - first >= rows:
                self._free[i : i + 1] = [(first + rows, end)] if end - first > rows else []
                return first
        self.size += rows
        return self.size - rows

    def give(self, place: int, rows: int) -> None:
        first, end = place, place + rows
        i = bisect_left(self._free, (first, end))
        if i < len(self._free) and self._free[i][0] == end:
            end = self._free.pop(i)[1]
        if i > 0 and self._free[i - 1][1] == first:
            i -= 1
            first = self._free.pop(i)[0]
        self._free.insert(i, (first, end))

"""Counting a plan's transitions in C: the counts of flows.waveform.

Gates are taken depth first from the ends of the logic, so that few waveforms are alive at once and
stay in the processor's cache; a place in memory is used again after its last reader.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flows import kernel
from flows.kernel import LANES, PINS, Buffers
from flows.waveform import ONES, Counts, Plan, Task, Words

TASK = kernel.record(
    ("place", "i8"),
    ("net", "i4"),
    ("input", "i4", PINS),
    ("delay", "i4", PINS),
    *((name, "i4") for name in ("function", "pins", "rise", "fall", "lead")),
)
SOURCE = kernel.record(("place", "i8"), *((name, "i4") for name in ("net", "rise", "fall")))
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
        nets = [net for net, _, _ in plan.sources]
        self.source_nets = np.array(nets, np.int32)
        found = range(len(nets)) if place is None else [place[net] for net in nets]
        self._index = np.array(found, np.int32)
        self.ones = [net for net, value in plan.static.items() if value]
        # All of the library's functions, so that one build does for all netlists.
        self._library = kernel.load(plan.circuit.functions)
        self._number = {text: i for i, text in enumerate(plan.circuit.functions)}
        self._lay_out()

    def count(
        self, initial: Mapping[int, Words], final: Mapping[int, Words], batches: int = 1
    ) -> Counts:
        """As flows.waveform.count."""
        words = len(next(iter(final.values()))) if len(self.source_nets) else 0
        size = words // batches
        blocks = -(-size // LANES)
        shape = (2, len(self.source_nets), batches, blocks * LANES)
        ends, masks = np.zeros(shape, np.uint64), np.zeros(shape[2:], np.uint64)
        for k, values in enumerate((initial, final)):
            for i, net in enumerate(self.source_nets.tolist()):
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
        tasks = (self._sources, self._index, len(self._index), self._tasks, len(self._tasks))
        words = (initial, final, len(masks), stride, masks, phase, len(tally), self.nets)
        rooms = (self._arena, self._scratch, len(self._scratch) // (2 * kernel.SIDE), self._waves)
        kernel.call(self._library.simulate, *tasks, *words, *rooms, tally)

    def _lay_out(self) -> None:
        plan, order = self.plan, depth_first(self.plan)
        readers = dict.fromkeys(plan.windows, 0)
        for task in order:
            for net in set(task.gate.inputs) & readers.keys():
                readers[net] += 1
        arena, place, room = _Arena(), {}, 1
        self._sources, self._tasks = np.zeros(len(plan.sources), SOURCE), np.zeros(len(order), TASK)
        for entry, (net, rise, fall) in zip(self._sources, plan.sources, strict=True):
            place[net] = arena.take(plan.windows[net].rows)
            entry["place"], entry["net"] = place[net], net
            entry["rise"], entry["fall"] = rise, fall
        for entry, task in zip(self._tasks, order, strict=True):
            net, rows = task.gate.output, task.output.rows
            place[net] = arena.take(rows)
            self._fill(entry, task, place[net])
            room = max(room, rows + 2 * int(entry["rise"] + entry["fall"]))
            for used in set(task.gate.inputs) & readers.keys():
                readers[used] -= 1
                if readers[used] == 0:
                    arena.give(place[used], plan.windows[used].rows)
            if readers[net] == 0:
                arena.give(place[net], rows)
        self._arena = kernel.rows(kernel.SIDE * arena.size)
        self._scratch = kernel.rows(2 * kernel.SIDE * room)
        self._waves = np.zeros(self.nets, WAVE)

    def _fill(self, entry: np.void, task: Task, place: int) -> None:
        gate, delay = task.gate, task.delay
        # A side without a filter looks at the same step: a window one longer, one step earlier.
        early = int(min(delay.rise, delay.fall) == 0)
        pins = len(gate.inputs)
        entry["place"], entry["net"], entry["pins"] = place, gate.output, pins
        entry["input"][:pins] = [self.plan.static.get(net, net) for net in gate.inputs]
        entry["delay"][:pins] = delay.inputs
        entry["function"] = self._number[gate.function.text]
        entry["rise"], entry["fall"] = delay.rise + early, delay.fall + early
        entry["lead"] = min(delay.rise, delay.fall)


def depth_first(plan: Plan) -> list[Task]:
    """The tasks so that what a gate needs comes shortly before it."""
    tasks = {task.gate.output: task for task in plan.tasks}
    read = {net for task in plan.tasks for net in task.gate.inputs}
    ends = sorted(tasks.keys() - read, key=lambda net: (tasks[net].output.last, net))
    order, done = [], set()
    for end in ends:
        stack = [(end, iter(tasks[end].gate.inputs))]
        while stack:
            net, inputs = stack[-1]
            below = next((n for n in inputs if n in tasks and n not in done), None)
            if below is not None:
                stack.append((below, iter(tasks[below].gate.inputs)))
            else:
                stack.pop()
                if net not in done:
                    done.add(net)
                    order.append(tasks[net])
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

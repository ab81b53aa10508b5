"""Bit-parallel timed simulation: one bit per vector in a machine word, all steps of a net at once.

Every vector is one clock cycle of one stream: the sources go from an initial to a final value and
the logic settles in between. A net is an array (steps, words); only the steps between its earliest
and its latest possible change are kept, and gates are taken in topological order.
`flows.simulator.delays` defines what a delay means; nothing is approximated beyond the step itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.gates.case import restrict
from flows.gates.circuit import Circuit, Gate
from flows.netlist import ONE, ZERO
from flows.simulator.delays import Delays, GateDelay

Words = NDArray[np.uint64]
Counts = NDArray[np.int64]
ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Window:
    """Steps in which a net can change; empty (`last < first`) for a net that never does."""

    first: int
    last: int

    @property
    def rows(self) -> int:
        """Rows of the net's array: the initial value, then one row a step."""
        return self.last - self.first + 2


STATIC = Window(0, -1)


@dataclass(frozen=True, slots=True)
class Task:
    """A gate whose output can change, its delay, and the windows of what it reads and drives."""

    gate: Gate
    delay: GateDelay
    inputs: tuple[Window, ...]
    output: Window


@dataclass(frozen=True, eq=False)
class Plan:
    """What must be computed for one operating point.

    `static` maps a net that no vector changes, such as a mode pin or a gated operand bit, to its
    value; all that follows from those alone is left out. `windows` holds the other nets.
    """

    circuit: Circuit
    tasks: tuple[Task, ...]
    sources: tuple[tuple[int, int, int], ...]  # net, rise and fall step
    static: Mapping[int, int]
    windows: Mapping[int, Window]

    @classmethod
    def of(cls, circuit: Circuit, delays: Delays, static: Mapping[int, int]) -> Plan:
        """Propagate constants and windows through the circuit; `static` holds sources."""
        known = {ZERO: 0, ONE: 1, **static}
        sources = [(n, *delays.sources[n]) for n in circuit.sources if n not in known]
        windows = {net: Window(min(r, f), max(r, f)) for net, r, f in sources}
        tasks = []
        for gate, delay in zip(circuit.gates, delays.gates, strict=True):
            value = restrict(gate.function, tuple(known.get(n) for n in gate.inputs))
            if value is not None:
                known[gate.output] = value
                continue
            inputs = tuple(windows.get(n, STATIC) for n in gate.inputs)
            windows[gate.output] = _window(inputs, delay)
            tasks.append(Task(gate, delay, inputs, windows[gate.output]))
        return cls(circuit, tuple(tasks), tuple(sources), known, windows)


def _window(inputs: tuple[Window, ...], delay: GateDelay) -> Window:
    moving = [(w, d) for w, d in zip(inputs, delay.inputs, strict=True) if w.rows > 1]
    return Window(
        min(w.first + d for w, d in moving) + min(delay.rise, delay.fall),
        max(w.last + d for w, d in moving) + max(delay.rise, delay.fall),
    )


def waves(plan: Plan, initial: Mapping[int, Words], final: Mapping[int, Words]) -> dict[int, Words]:
    """Arrays (rows, words) of all nets that can change, by net."""
    words = len(next(iter(final.values()))) if final else 0
    known = (np.zeros((1, words), np.uint64), np.full((1, words), ONES))
    result: dict[int, Words] = {}
    for net, rise, fall in plan.sources:
        result[net] = _source(initial[net], final[net], rise, fall)
    for task in plan.tasks:
        operands = [result[n] if n in result else known[plan.static[n]] for n in task.gate.inputs]
        result[task.gate.output] = _gate(task, operands)
    return result


def _source(initial: Words, final: Words, rise: int, fall: int) -> Words:
    """From initial to final value, rising bits at step `rise`, falling bits at step `fall`."""
    if rise == fall:
        return np.stack([initial, final])
    between = initial | final if rise < fall else initial & final
    return np.stack([initial, *[between] * abs(rise - fall), final])


def _gate(task: Task, operands: list[Words]) -> Words:
    delay, out = task.delay, task.output
    # z has the output's rows: row j is the step at which an unfiltered edge would pass.
    base = out.first - min(delay.rise, delay.fall)
    rows = out.rows + min(delay.rise, delay.fall)
    values = {}
    for pin, wave, window, d in zip(
        task.gate.function.inputs, operands, task.inputs, delay.inputs, strict=True
    ):
        values[pin] = _shifted(wave, base - d - window.first, rows)
    z = task.gate.function.evaluate(values, ONES)
    return _filter(z, delay.rise, delay.fall) if delay.rise or delay.fall else z


def _shifted(wave: Words, offset: int, rows: int) -> Words:
    """Rows offset, offset + 1, ... of the wave; beyond its ends its first and last row."""
    if len(wave) == 1:
        return wave
    if offset >= 0 and offset + rows <= len(wave):
        return wave[offset : offset + rows]
    return wave[np.clip(np.arange(offset, offset + rows), 0, len(wave) - 1)]


def _filter(z: Words, rise: int, fall: int) -> Words:
    """Rise after `rise` steps at 1, fall after `fall` steps at 0; row 0 is the settled start."""
    last = len(z) - 1
    low = min(rise, fall)
    out = np.empty((last - low + 1, z.shape[1]), np.uint64)
    out[0] = z[0]
    for j in range(1, len(out)):
        t = j + low  # the row of z at this step
        up, down = z[t], z[t]
        if rise:
            up = np.bitwise_and.reduce(z[max(t - rise, 0) : t])
        if fall:
            down = np.bitwise_or.reduce(z[max(t - fall, 0) : t])
        if rise == 0:
            out[j] = up | (out[j - 1] & down)
        else:
            out[j] = (up | out[j - 1]) & (down if fall else z[t])
    return out


def count(
    plan: Plan, initial: Mapping[int, Words], final: Mapping[int, Words], batches: int = 1
) -> Counts:
    """Shape (batches, nets, 4), the words shared out evenly to the batches in their order:
    transitions, transitions of the settled values, ones at start and end.

    Nets that cannot change have zeros.
    """
    table = np.zeros((batches, len(plan.circuit.netlist.nets), 4), np.int64)
    for net, wave in waves(plan, initial, final).items():
        for kind, x in enumerate((wave[1:] ^ wave[:-1], wave[:1] ^ wave[-1:], wave[:1], wave[-1:])):
            ones = np.bitwise_count(x).sum(0, dtype=np.int64)
            table[:, net, kind] = ones.reshape(batches, -1).sum(1)
    return table

"""Internal energy and leakage of all instances of one cell at once, by state probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flows.cells.boolean import Function
from flows.cells.lut import Lut
from flows.console import FlowError
from flows.library import Cell, InternalPower
from flows.netlist import Netlist

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
STATE = "IQ"  # the variable of a register's or clock gate's state in the words below


@dataclass(frozen=True, eq=False)
class Parts:
    """Per instance: fJ per clock cycle, internal and at the clock; leakage in nW."""

    internal_fj: Floats
    clock_fj: Floats
    leakage_nw: Floats


@dataclass(frozen=True)
class StateWords:
    """The 2**n words of a cell's inputs (and its state), and where a condition holds among them.

    Outputs in a condition are what the cell's functions make of the word: Q and QN are opposites,
    a clock gate's output is its clock and its latch.
    """

    cell: Cell

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Input pins, then the state where the cell has one."""
        return (*self.cell.inputs, STATE) if self.cell.kind != "comb" else self.cell.inputs

    @cached_property
    def values(self) -> dict[str, int]:
        """Every pin's value in all words, packed: bit k belongs to word k."""
        size = 1 << len(self.variables)
        packed = {
            name: sum(1 << word for word in range(size) if word >> i & 1)
            for i, name in enumerate(self.variables)
        }
        if register := self.cell.register:
            packed[register.state[0]] = packed[STATE]
            packed[register.state[1]] = packed[STATE] ^ self.ones
        if gate := self.cell.gate:
            packed[gate.output] = packed[gate.clock] & packed[STATE]
        for pin in self.cell.outputs:
            function = self.cell.pins[pin].function
            if function is not None and not gate:
                packed[pin] = function.evaluate(packed, self.ones)
        return packed

    @property
    def ones(self) -> int:
        """All words."""
        return (1 << (1 << len(self.variables))) - 1

    def holds(self, condition: Function | None) -> Floats:
        """1.0 for the words in which the condition holds (all where there is none)."""
        return self._unpack(self.ones if condition is None else self._evaluate(condition))

    def _evaluate(self, condition: Function) -> int:
        try:
            return int(condition.evaluate(self.values, self.ones))
        except KeyError as error:
            raise FlowError(
                f"cell {self.cell.name}: the condition {condition.text!r} names {error}, which is "
                "no pin of it."
            ) from None

    def decides(self, pin: str, output: str) -> Floats:
        """1.0 for the words in which the output changes with the input pin (Boolean difference)."""
        if self.cell.kind != "comb" or pin not in self.variables:
            return self._unpack(self.ones)
        step, size = 1 << self.variables.index(pin), 1 << len(self.variables)
        value = self.values[output]
        return np.array(
            [float((value >> word & 1) != (value >> (word ^ step) & 1)) for word in range(size)]
        )

    def at_clock_high(self, weights: Floats) -> Floats:
        """The weights as if the clock were 1 in every word: for what happens at its edges."""
        high = 1 << self.variables.index(self.cell.clock_pin or "")
        return weights[[word | high for word in range(len(weights))]]

    def _unpack(self, packed: int) -> Floats:
        return np.array([float(packed >> k & 1) for k in range(1 << len(self.variables))])


class CellPower:
    """All instances (`members`) of one cell in a netlist.

    `slews` and `loads` are (nets, 2), rise and fall, in ps and fF.
    """

    def __init__(
        self, cell: Cell, netlist: Netlist, members: Ints, slews: Floats, loads: Floats
    ) -> None:
        self.cell, self.members = cell, members
        self.words = StateWords(cell)
        pins = [netlist.instances[i].pins for i in members]
        self.nets = {name: np.array([p.get(name, -1) for p in pins]) for name in cell.pins}
        self.leak_words, self.leak_nw = self._leakage()
        powers = cell.internal_power
        self.hidden = [p for p in powers if p.related_pin is None and p.pin in cell.inputs]
        self.hidden_words = self._matrix([self._hidden_words(p) for p in self.hidden])
        self.hidden_fj = [self._hidden_fj(p, slews) for p in self.hidden]
        self.driven = {
            pin: [p for p in powers if p.pin == pin and p.related_pin] for pin in cell.outputs
        }
        self.driven_words = {
            pin: self._matrix([self._driven_words(p) for p in items])
            for pin, items in self.driven.items()
        }
        self.driven_fj = {
            pin: [self._driven_fj(p, slews, loads) for p in items]
            for pin, items in self.driven.items()
        }

    def _matrix(self, rows: list[Floats]) -> Floats:
        return np.array(rows).reshape(len(rows), 1 << len(self.words.variables))

    def _leakage(self) -> tuple[Floats, Floats]:
        """Conditions and values; the cell's one figure where no state has its own."""
        states = [item for item in self.cell.leakage if item.when is not None]
        if not states:
            nw = next((item.nw for item in self.cell.leakage), self.cell.leakage_nw)
            return self._matrix([self.words.holds(None)]), np.array([nw])
        rows = self._matrix([self.words.holds(item.when) for item in states])
        return rows, np.array([item.nw for item in states])

    def _hidden_words(self, power: InternalPower) -> Floats:
        words = self.words.holds(power.when)
        return self.words.at_clock_high(words) if power.pin == self.cell.clock_pin else words

    def _driven_words(self, power: InternalPower) -> Floats:
        if power.when is not None:
            return self.words.holds(power.when)
        return self.words.decides(power.related_pin or "", power.pin)

    def _hidden_fj(self, power: InternalPower, slews: Floats) -> Floats:
        slew = slews[self.nets[power.pin]]
        return self._mean_edge(power.rise, power.fall, slew, np.zeros_like(slew))

    def _driven_fj(self, power: InternalPower, slews: Floats, loads: Floats) -> Floats:
        """Mean over the output's edges, the input's slew of the edge that makes each."""
        slew = slews[self.nets[power.related_pin or ""]]
        if self._opposes(power):
            slew = slew[:, ::-1]
        nets = self.nets[power.pin]
        load = np.where(nets >= 0, loads[nets].max(axis=1), 0.0)[:, None].repeat(2, axis=1)
        return self._mean_edge(power.rise, power.fall, slew, load)

    def _mean_edge(self, rise: Lut, fall: Lut, slew: Floats, load: Floats) -> Floats:
        with np.errstate(all="ignore"):
            total: Floats = rise(slew[:, 0], load[:, 0]) + fall(slew[:, 1], load[:, 1])
        if not np.all(np.isfinite(total)):
            raise FlowError(
                f"cell {self.cell.name}: its power tables give no finite energy at the slews and "
                "loads that it has here; mend them."
            )
        return total / 2

    def _opposes(self, power: InternalPower) -> bool:
        """Whether the input falls as the output rises, in its state or on the whole."""
        if self.cell.kind != "comb":
            return False
        words, step = self.words, 1 << self.words.variables.index(power.related_pin or "")
        value, when = words.values[power.pin], words.holds(power.when)
        balance = 0
        for word, holds in enumerate(when):
            if holds and not word & step:
                balance += (value >> (word | step) & 1) - (value >> word & 1)
        return balance < 0

    def evaluate(self, duty: Floats, density: Floats) -> Parts:
        """Energy per cycle and leakage of every member, from all nets' duty and density.

        These have shape (..., nets), the result (..., members): any number of activities at once.
        """
        joint = self._joint(duty, density)
        internal, clock = np.zeros(joint.shape[1:]), np.zeros(joint.shape[1:])
        all_clock = self.cell.kind == "clockgate"
        shares = np.tensordot(self.hidden_words, joint, 1)
        for power, share, fj in zip(self.hidden, shares, self.hidden_fj, strict=True):
            part = clock if all_clock or power.pin == self.cell.clock_pin else internal
            part += share * fj * self._of(density, power.pin)
        for pin, items in self.driven.items():
            if items:
                part = clock if all_clock else internal
                rate = self._output_density(pin, joint, density)
                part += self._driven_mean_fj(pin, joint, density) * rate
        leaks = np.tensordot(self.leak_nw @ self.leak_words, joint, 1)
        return Parts(internal, clock, leaks)

    def _output_density(self, pin: str, joint: Floats, density: Floats) -> Floats:
        """Transitions of an output per cycle, connected or not.

        The tables of a cell with several outputs share its energy out among them, so that an
        unconnected one counts as well. It does what the register's other output does, or what
        the inputs, each on its own, make of it.
        """
        nets = self.nets[pin]
        if np.all(nets >= 0):
            return np.asarray(density[..., nets])
        if self.cell.kind == "comb":
            inputs = self.cell.inputs
            decided = [np.tensordot(self.words.decides(name, pin), joint, 1) for name in inputs]
            rates = [self._of(density, name) for name in self.cell.inputs]
            made = np.sum(np.array(decided) * np.array(rates), axis=0)
        else:
            made = np.max([self._of(density, name) for name in self.cell.outputs], axis=0)
        return np.asarray(np.where(nets >= 0, density[..., nets], made))

    def _driven_mean_fj(self, pin: str, joint: Floats, density: Floats) -> Floats:
        """Energy of one transition of an output, its inputs and states weighted by what they do."""
        weights = np.tensordot(self.driven_words[pin], joint, 1)
        for row, power in zip(weights, self.driven[pin], strict=True):
            row *= self._of(density, power.related_pin or "")
        total = weights.sum(axis=0)
        weights[:, total <= 0] = 1.0  # nothing known to cause it: all alike
        energies = np.array(self.driven_fj[pin])  # (powers, members)
        energies = energies.reshape(len(energies), *[1] * (weights.ndim - 2), -1)
        mean: Floats = (weights * energies).sum(axis=0) / weights.sum(axis=0)
        return mean

    def _joint(self, duty: Floats, density: Floats) -> Floats:
        """Probability of every word for every member, shape (words, ..., members)."""
        joint = np.ones((1, *duty.shape[:-1], len(self.members)))
        for name in self.words.variables:
            p = self._state(duty, density) if name == STATE else self._of(duty, name)
            joint = np.concatenate([joint * (1 - p), joint * p])
        return joint

    def _state(self, duty: Floats, density: Floats) -> Floats:
        """Probability that the state is 1: of a register from its outputs, of a gate from use."""
        if gate := self.cell.gate:
            ticks = self._of(density, gate.clock)
            open_ = self._of(density, gate.output)
            return np.clip(np.divide(open_, ticks, out=np.zeros_like(ticks), where=ticks > 0), 0, 1)
        known = np.full((*duty.shape[:-1], len(self.members)), 0.5)
        register = self.cell.register
        for pin in self.cell.outputs:
            nets, function = self.nets[pin], self.cell.pins[pin].function
            if register is None or function is None:
                continue
            p = duty[..., nets]
            p = p if function.inputs == (register.state[0],) else 1 - p
            known = np.where(nets >= 0, p, known)
        return known

    def _of(self, values: Floats, pin: str) -> Floats:
        """The nets' values at a pin, 0 where it is not connected."""
        nets = self.nets[pin]
        return np.where(nets >= 0, values[..., nets], 0.0)

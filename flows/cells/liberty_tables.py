"""Units of a Liberty library, and its NLDM tables in ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.cells.boolean import Function
from flows.cells.liberty_text import attribute, function, numbers, positive, word
from flows.cells.lut import Lut
from flows.console import FlowError
from flows.library import Arc, Constraint, InternalPower

_SI = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "": 1.0}
_OUTPUT_KINDS = ("combinational", "rising_edge", "falling_edge")
_CONSTRAINTS = ("setup_rising", "setup_falling", "hold_rising", "hold_falling")


class Units:
    """What a library's numbers are multiplied by: to ps, V, nW, fF and fJ."""

    def __init__(self, group: Any) -> None:
        self.ps = _unit(group, "time_unit", "1ns", "s") / 1e-12
        self.volt = _unit(group, "voltage_unit", "1V", "V")
        self.nw = _unit(group, "leakage_power_unit", "1nW", "W") / 1e-9
        amount, unit = group.get_attribute("capacitive_load_unit", [1.0, "pf"])
        self.ff = positive(amount) * _SI[word(unit).lower().removesuffix("f")] / 1e-15
        self.fj = self.ff * self.volt**2  # Liberty: energy unit = load unit * voltage unit squared


def _unit(group: Any, name: str, default: str, symbol: str) -> float:
    text = str(attribute(group, name, default)).replace(" ", "")
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    prefix = text[len(digits) :].removesuffix(symbol).removesuffix(symbol.lower())
    if prefix not in _SI:
        raise FlowError(f"{name} {text!r} is not understood.")
    return positive(digits or 1) * _SI[prefix]


class Tables:
    """The tables of a library: of delays, of constraints, of power."""

    def __init__(self, group: Any, units: Units) -> None:
        self.units = units
        self.templates = {
            g.args[0] if isinstance(g.args[0], str) else word(g.args[0]): g
            for kind in ("lu_table_template", "power_lut_template")
            for g in group.get_groups(kind)
        }

    def _lut(self, group: Any, kind: str, scale: float, axes: tuple[float, float]) -> Lut | None:
        """The table `kind` of a group, its axes in our units and in the order (slew, load)."""
        found = group.get_groups(kind)
        if not found:
            return None
        table = found[0]
        variables, index = self._axes(table)
        values = np.array(numbers(table.get_attribute("values"))) * scale
        if not variables:
            return Lut.of([0.0], [0.0], values[:1])
        if variables == [0] or variables == [1]:
            grid = [[0.0], [0.0]]
            grid[variables[0]] = index[0]
        elif sorted(variables) == [0, 1]:
            values = values.reshape(len(index[0]), len(index[1]))
            values = values if variables == [0, 1] else values.T
            grid = [index[variables.index(0)], index[variables.index(1)]]
        else:
            raise FlowError(
                f"a {kind} table has axes other than NLDM's slew and load; leave it out of a copy "
                "of the library, or the cell."
            )
        return Lut.of(np.array(grid[0]) * axes[0], np.array(grid[1]) * axes[1], values)

    def _axes(self, table: Any) -> tuple[list[int], list[list[float]]]:
        """The table's variables, each by the axis of ours that it is, and their points."""
        template = self.templates.get(word(table.args[0]) if table.args else "scalar")
        variables, index = [], []
        for k in (1, 2, 3):
            name = attribute(template, f"variable_{k}") if template else None
            points = table.get_attribute(f"index_{k}") or (
                template.get_attribute(f"index_{k}") if template else None
            )
            if name and points:
                variables.append(_axis(name))
                index.append(numbers(points))
        return variables, index

    def arcs(self, pin: str, group: Any) -> list[Arc]:
        """Delay arcs to an output, from the group of its pin."""
        arcs = []
        for timing in group.get_groups("timing"):
            kind = attribute(timing, "timing_type", "combinational")
            if not kind.startswith(_OUTPUT_KINDS):
                continue
            tables = {
                name: self._lut(timing, name, self.units.ps, (self.units.ps, self.units.ff))
                for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
            }
            sense = attribute(timing, "timing_sense", "non_unate")
            arcs += [
                Arc(pin, related, kind, sense, function(timing, "when"), **tables)
                for related in _related(timing)
            ]
        return arcs

    def constraints(self, pin: str, group: Any) -> list[Constraint]:
        """Setup and hold times of an input, from the group of its pin."""
        limits = []
        for timing in group.get_groups("timing"):
            kind = attribute(timing, "timing_type", "combinational")
            if kind not in _CONSTRAINTS:
                continue
            rise, fall = (
                self._lut(
                    timing, f"{edge}_constraint", self.units.ps, (self.units.ps, self.units.ps)
                )
                for edge in ("rise", "fall")
            )
            limits += [
                Constraint(pin, related, kind, function(timing, "when"), rise, fall)
                for related in _related(timing)
            ]
        return limits

    def internal_power(
        self, pin: str, group: Any, causes: Sequence[str | None]
    ) -> list[InternalPower]:
        """Energies of the pin's transitions, from its group; `causes` are its related pins where
        a group of energies names none.

        Groups of one related pin and condition add up: supply pins (`related_pg_pin`), or edges,
        may have groups of their own.
        """
        total: dict[tuple[str | None, Function | None], InternalPower] = {}
        for power in group.get_groups("internal_power"):
            rise, fall = (
                self._lut(power, f"{edge}_power", self.units.fj, (self.units.ps, self.units.ff))
                or self._lut(power, "power", self.units.fj, (self.units.ps, self.units.ff))
                or Lut.of([0.0], [0.0], [[0.0]])
                for edge in ("rise", "fall")
            )
            for related in _related(power) or causes:
                when = function(power, "when")
                known = total.get((related, when))
                total[related, when] = InternalPower(
                    pin,
                    related,
                    when,
                    known.rise + rise if known else rise,
                    known.fall + fall if known else fall,
                )
        return list(total.values())


def _axis(variable: str) -> int:
    """0 for the first axis of our tables (slew, or the constrained pin's), 1 for the second."""
    if variable in ("total_output_net_capacitance", "related_pin_transition"):
        return 1
    if variable in ("input_net_transition", "input_transition_time", "constrained_pin_transition"):
        return 0
    return 2


def _related(group: Any) -> list[str]:
    return str(attribute(group, "related_pin", "")).split()

"""Reading Liberty files (NLDM) into `flows.library`, in its units."""

from __future__ import annotations

from typing import Any

from flows.cells.liberty_tables import Tables, Units
from flows.cells.liberty_text import (
    about,
    attribute,
    flag,
    function,
    identifier,
    library_group,
    number,
    quantity,
    word,
)
from flows.console import FlowError
from flows.library import Cell, ClockGate, Leakage, Library, Pin, Register, WireLoad


def read(raw: bytes, name: str, sha256: str) -> Library:
    """Parse Liberty text; raises FlowError where it is none or not NLDM."""
    group = library_group(raw, name)
    with about(name):
        return _LibraryReader(group).library(sha256)


class _LibraryReader:
    """Conditions, thresholds and cells of one library, read with its units and tables."""

    def __init__(self, group: Any) -> None:
        self.group = group
        model = attribute(group, "delay_model", "table_lookup")
        if model != "table_lookup":
            raise FlowError(f"the delay model is {model}; only table_lookup (NLDM) is read.")
        self.units = Units(group)
        self.tables = Tables(group, self.units)

    def library(self, sha256: str) -> Library:
        cells = {c.name: c for c in map(self._cell, self.group.get_groups("cell"))}
        if not cells:
            raise FlowError("the library has no cells.")
        slew = [
            (quantity(self.group, f"slew_{end}_threshold_pct_rise", fallback))
            for end, fallback in (("lower", 20.0), ("upper", 80.0))
        ]
        transition = attribute(self.group, "default_max_transition")
        if "include_file" in self.group or self.group.get_groups("include_file"):
            raise FlowError("it includes another file; merge the two into one.")
        return Library(
            name=word(self.group.args[0]),
            sha256=sha256,
            vdd_v=self._condition("voltage") * self.units.volt,
            temperature_c=self._condition("temperature"),
            cells=cells,
            slew_percent=(slew[0], slew[1]),
            default_max_transition_ps=number(transition) * self.units.ps if transition else None,
            wire_load=self._wire_load(),
        )

    def _condition(self, name: str) -> float:
        """Of the default operating conditions, else the nominal one."""
        default = attribute(self.group, "default_operating_conditions")
        for group in self.group.get_groups("operating_conditions"):
            if word(group.args[0]) == default:
                return quantity(group, name, quantity(self.group, f"nom_{name}"))
        return quantity(self.group, f"nom_{name}")

    def _wire_load(self) -> WireLoad | None:
        """The library's default wire load, else its first."""
        groups = {word(g.args[0]): g for g in self.group.get_groups("wire_load")}
        if not groups:
            return None
        name = attribute(self.group, "default_wire_load") or next(iter(groups))
        group = groups[name]
        unit = quantity(group, "capacitance") * self.units.ff
        points = sorted(
            (int(number(p[0])), number(p[1])) for p in group.get_attributes("fanout_length")
        )
        return WireLoad(
            name,
            tuple(n for n, _ in points),
            tuple(length * unit for _, length in points),
            quantity(group, "slope") * unit,
        )

    def _cell(self, group: Any) -> Cell:
        name = identifier(group.args[0])
        with about(f"cell {name}"):
            return self._named_cell(name, group)

    def _named_cell(self, name: str, group: Any) -> Cell:
        gate = self._gate(group)
        register = self._register(group)
        kind, reason = _kind(group, gate, register)
        common: dict[str, Any] = {
            "name": name,
            "area_um2": quantity(group, "area"),
            "dont_use": flag(group, "dont_use"),
            "leakage": tuple(self._leakage(g) for g in group.get_groups("leakage_power")),
            "leakage_nw": quantity(group, "cell_leakage_power") * self.units.nw,
        }
        pins = group.get_groups("pin")
        if kind == "other":
            return Cell(kind=kind, reason=reason, pins={}, **common)
        named = [(identifier(arg), g) for g in pins for arg in g.args]
        return Cell(
            kind=kind,
            reason=reason,
            pins={pin: self._pin(pin, g, register) for pin, g in named},
            arcs=tuple(a for pin, g in named for a in self.tables.arcs(pin, g)),
            constraints=tuple(c for pin, g in named for c in self.tables.constraints(pin, g)),
            internal_power=tuple(
                p
                for pin, g in named
                for p in self.tables.internal_power(pin, g, _causes(g, gate, register))
            ),
            register=register,
            gate=gate,
            **common,
        )

    def _gate(self, group: Any) -> ClockGate | None:
        style = attribute(group, "clock_gating_integrated_cell")
        if not style:
            return None
        roles: dict[str, str | None] = {"clock": None, "enable": None, "test": None, "out": None}
        for pin in group.get_groups("pin"):
            for role in roles:
                if flag(pin, f"clock_gate_{role}_pin"):
                    roles[role] = identifier(pin.args[0])
        if not (roles["clock"] and roles["enable"] and roles["out"]):
            return None
        return ClockGate(style, roles["clock"], roles["enable"], roles["out"], roles["test"])

    def _register(self, group: Any) -> Register | None:
        found = group.get_groups("ff")
        if len(found) != 1:
            return None
        ff = found[0]
        clock, state = function(ff, "clocked_on"), function(ff, "next_state")
        if clock is None or state is None or len(clock.inputs) != 1:
            return None
        names = [identifier(arg) for arg in ff.args]
        return Register(
            (names[0], names[1]), clock, state, function(ff, "clear"), function(ff, "preset")
        )

    def _pin(self, name: str, group: Any, register: Register | None) -> Pin:
        direction = attribute(group, "direction", "internal")
        ff = self.units.ff
        default = quantity(self.group, "default_input_pin_cap") if direction == "input" else 0.0
        both = quantity(group, "capacitance", default)
        rise = quantity(group, "rise_capacitance", both) * ff
        fall = quantity(group, "fall_capacitance", both) * ff
        limit = attribute(group, "max_capacitance")
        return Pin(
            name=name,
            direction=direction,
            capacitance_ff=max(both * ff, rise, fall),
            rise_capacitance_ff=rise,
            fall_capacitance_ff=fall,
            function=function(group, "function"),
            is_clock=flag(group, "clock")
            or flag(group, "clock_gate_clock_pin")
            or bool(register and register.clock_pin == name),
            max_capacitance_ff=number(limit) * ff if limit else None,
        )

    def _leakage(self, group: Any) -> Leakage:
        return Leakage(function(group, "when"), quantity(group, "value") * self.units.nw)


def _causes(group: Any, gate: ClockGate | None, register: Register | None) -> list[str | None]:
    """Pins to whose transitions an energy belongs that names no related pin: an output makes its
    own by its inputs', an input by itself."""
    if attribute(group, "direction") != "output":
        return [None]
    if register or gate:
        return [register.clock_pin if register else gate.clock if gate else None]
    of = function(group, "function")
    return [*of.inputs] if of and of.inputs else [None]


def _kind(group: Any, gate: ClockGate | None, register: Register | None) -> tuple[Any, str]:
    """What the cell is, and why it is of no use where it is not."""
    pins = group.get_groups("pin")
    outputs = [p for p in pins if attribute(p, "direction") == "output"]
    if group.get_groups("bus") or group.get_groups("bundle"):
        return "other", "a cell with buses"
    if any("three_state" in p for p in pins):
        return "other", "a tri-state cell"
    if gate:
        return (
            ("clockgate", "")
            if gate.style.startswith("latch_posedge")
            else ("other", f"a clock gate of style {gate.style}; only latch_posedge is known")
        )
    if group.get_groups("latch"):
        return "latch", "a latch"
    if group.get_groups("ff"):
        return ("flipflop", "") if register else ("other", "a flip-flop of a form not known")
    if group.get_groups("statetable"):
        return "other", "a cell described by a state table"
    if not outputs or any("function" not in p for p in outputs):
        return "other", "a cell without a function"
    return "comb", ""

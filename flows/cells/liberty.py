"""Reading Liberty files (NLDM) into `flows.library`, in its units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from flows.cells.boolean import Function
from flows.cells.lut import Lut
from flows.console import FlowError
from flows.library import (
    Arc,
    Cell,
    ClockGate,
    Constraint,
    InternalPower,
    Leakage,
    Library,
    Pin,
    Register,
    WireLoad,
)

_IDENTIFIER = re.compile(r"[A-Za-z_][\w$]*(?:\[\d+\])?", re.ASCII)
_LARGEST = 1e30
_SI = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "": 1.0}
_OUTPUT_KINDS = ("combinational", "rising_edge", "falling_edge")
_CONSTRAINTS = ("setup_rising", "setup_falling", "hold_rising", "hold_falling")


def read(raw: bytes, name: str, sha256: str) -> Library:
    """Parse Liberty text; raises FlowError where it is none or not NLDM."""
    from liberty.parser import LibertyParser

    try:
        (group,) = LibertyParser().read_liberty_chars(_Characters(raw.decode("utf-8", "replace")))
    except Exception as error:  # lark's exceptions share no useful base with the transformer's
        line = getattr(error, "line", None)
        where = f", line {line}" if isinstance(line, int) and line > 0 else ""
        raise FlowError(
            f"{name}{where} is not Liberty text that can be read; give a whole .lib file."
        ) from None
    if group.group_name != "library":
        raise FlowError(f"{name} holds a {group.group_name}, not a library.")
    with _about(name):
        return _LibraryReader(group).library(sha256)


class _Characters:
    """A text's characters. Asked for more again and again after the end it fails: the parser waits
    there for ever for the `;` of an expression that has none."""

    def __init__(self, text: str) -> None:
        self.rest, self.patience = iter(text), 100

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        for character in self.rest:
            return character
        self.patience -= 1
        if not self.patience:
            raise EOFError
        raise StopIteration


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Whatever the block refuses, or fails at, becomes a FlowError that begins with `what`."""
    try:
        yield
    except FlowError as error:
        raise FlowError(f"{what}: {error}") from None
    except (
        AssertionError,
        AttributeError,
        TypeError,
        LookupError,
        ValueError,
        ArithmeticError,
    ) as error:
        raise FlowError(
            f"{what} cannot be read as NLDM ({type(error).__name__}: {error})."
        ) from None


def _word(value: Any) -> str:
    return str(getattr(value, "value", value)).strip().strip('"')


def _name(value: Any) -> str:
    """The name of a cell or pin: a word of Verilog, since names go into files and scripts."""
    name = _word(value)
    if not _IDENTIFIER.fullmatch(name):
        raise FlowError(f"{name[:80]!r} is no name of a cell or pin; letters, digits, _ and $ are.")
    return name


def _number(value: Any) -> float:
    """A quantity: small enough that no product with the library's units overflows."""
    word = _word(value)
    try:
        number = float(word)
    except ValueError:
        raise FlowError(f"{word[:40]!r} is no number.") from None
    if not abs(number) <= _LARGEST:  # false for a NaN
        raise FlowError(f"{number} is no quantity; numbers up to {_LARGEST:g} are allowed.")
    return number


def _positive(value: Any) -> float:
    """A unit's amount, by which other numbers are multiplied and divided."""
    number = _number(value)
    if not number >= 1 / _LARGEST:
        raise FlowError(
            f"a unit of {number:g} is none; {1 / _LARGEST:g} to {_LARGEST:g} are allowed."
        )
    return number


def _numbers(values: Iterable[Any]) -> list[float]:
    return [_number(x) for value in values for x in _word(value).replace(",", " ").split()]


def _attribute(group: Any, name: str, default: Any = None) -> Any:
    """The last value of an attribute, as text; lists stay lists."""
    found = group.get_attributes(name)
    if not found:
        return default
    return found[-1] if isinstance(found[-1], list) else _word(found[-1])


def _float(group: Any, name: str, default: float = 0.0) -> float:
    return _number(_attribute(group, name, default))


def _flag(group: Any, name: str) -> bool:
    return str(_attribute(group, name, "false")).lower() == "true"


def _function(group: Any, name: str) -> Function | None:
    text = _attribute(group, name)
    if not text:
        return None
    function = Function(" ".join(text.split()))
    return function if name == "when" else function.check()  # conditions are seldom asked for


class _LibraryReader:
    """The units, templates and thresholds of one library, and its cells read with them."""

    def __init__(self, group: Any) -> None:
        self.group = group
        model = _attribute(group, "delay_model", "table_lookup")
        if model != "table_lookup":
            raise FlowError(f"the delay model is {model}; only table_lookup (NLDM) is read.")
        self.ps = self._unit("time_unit", "1ns", "s") / 1e-12
        self.volt = self._unit("voltage_unit", "1V", "V")
        self.nw = self._unit("leakage_power_unit", "1nW", "W") / 1e-9
        amount, unit = group.get_attribute("capacitive_load_unit", [1.0, "pf"])
        self.ff = _positive(amount) * _SI[_word(unit).lower().removesuffix("f")] / 1e-15
        self.fj = self.ff * self.volt**2  # Liberty: energy unit = load unit * voltage unit squared
        self.templates = {
            g.args[0] if isinstance(g.args[0], str) else _word(g.args[0]): g
            for kind in ("lu_table_template", "power_lut_template")
            for g in group.get_groups(kind)
        }

    def _unit(self, name: str, default: str, symbol: str) -> float:
        text = str(_attribute(self.group, name, default)).replace(" ", "")
        number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        prefix = text[len(number) :].removesuffix(symbol).removesuffix(symbol.lower())
        if prefix not in _SI:
            raise FlowError(f"{name} {text!r} is not understood.")
        return _positive(number or 1) * _SI[prefix]

    def library(self, sha256: str) -> Library:
        cells = {c.name: c for c in map(self._cell, self.group.get_groups("cell"))}
        if not cells:
            raise FlowError("the library has no cells.")
        slew = [
            (_float(self.group, f"slew_{end}_threshold_pct_rise", fallback))
            for end, fallback in (("lower", 20.0), ("upper", 80.0))
        ]
        transition = _attribute(self.group, "default_max_transition")
        return Library(
            name=_word(self.group.args[0]),
            sha256=sha256,
            vdd_v=self._condition("voltage") * self.volt,
            temperature_c=self._condition("temperature"),
            cells=cells,
            slew_percent=(slew[0], slew[1]),
            default_max_transition_ps=_number(transition) * self.ps if transition else None,
            wire_load=self._wire_load(),
        )

    def _condition(self, name: str) -> float:
        """Of the default operating conditions, else the nominal one."""
        default = _attribute(self.group, "default_operating_conditions")
        for group in self.group.get_groups("operating_conditions"):
            if _word(group.args[0]) == default:
                return _float(group, name, _float(self.group, f"nom_{name}"))
        return _float(self.group, f"nom_{name}")

    def _wire_load(self) -> WireLoad | None:
        """The library's default wire load, else its first."""
        groups = {_word(g.args[0]): g for g in self.group.get_groups("wire_load")}
        if not groups:
            return None
        name = _attribute(self.group, "default_wire_load") or next(iter(groups))
        group = groups[name]
        unit = _float(group, "capacitance") * self.ff
        points = sorted(
            (int(_number(p[0])), _number(p[1])) for p in group.get_attributes("fanout_length")
        )
        return WireLoad(
            name,
            tuple(n for n, _ in points),
            tuple(length * unit for _, length in points),
            _float(group, "slope") * unit,
        )

    def _cell(self, group: Any) -> Cell:
        name = _name(group.args[0])
        with _about(f"cell {name}"):
            return self._named_cell(name, group)

    def _named_cell(self, name: str, group: Any) -> Cell:
        gate = self._gate(group)
        register = self._register(group)
        kind, reason = _kind(group, gate, register)
        common: dict[str, Any] = {
            "name": name,
            "area_um2": _float(group, "area"),
            "dont_use": _flag(group, "dont_use"),
            "leakage": tuple(self._leakage(g) for g in group.get_groups("leakage_power")),
            "leakage_nw": _float(group, "cell_leakage_power") * self.nw,
        }
        pins = group.get_groups("pin")
        if kind == "other":
            return Cell(kind=kind, reason=reason, pins={}, **common)
        named = [(_name(arg), g) for g in pins for arg in g.args]
        return Cell(
            kind=kind,
            reason=reason,
            pins={pin: self._pin(pin, g, register) for pin, g in named},
            arcs=tuple(a for pin, g in named for a in self._arcs(pin, g)),
            constraints=tuple(c for pin, g in named for c in self._limits(pin, g)),
            internal_power=tuple(p for pin, g in named for p in self._powers(pin, g)),
            register=register,
            gate=gate,
            **common,
        )

    def _gate(self, group: Any) -> ClockGate | None:
        style = _attribute(group, "clock_gating_integrated_cell")
        if not style:
            return None
        roles: dict[str, str | None] = {"clock": None, "enable": None, "test": None, "out": None}
        for pin in group.get_groups("pin"):
            for role in roles:
                if _flag(pin, f"clock_gate_{role}_pin"):
                    roles[role] = _name(pin.args[0])
        if not (roles["clock"] and roles["enable"] and roles["out"]):
            return None
        return ClockGate(style, roles["clock"], roles["enable"], roles["out"], roles["test"])

    def _register(self, group: Any) -> Register | None:
        found = group.get_groups("ff")
        if len(found) != 1:
            return None
        ff = found[0]
        clock, state = _function(ff, "clocked_on"), _function(ff, "next_state")
        if clock is None or state is None or len(clock.inputs) != 1:
            return None
        names = [_name(arg) for arg in ff.args]
        return Register(
            (names[0], names[1]), clock, state, _function(ff, "clear"), _function(ff, "preset")
        )

    def _pin(self, name: str, group: Any, register: Register | None) -> Pin:
        direction = _attribute(group, "direction", "internal")
        default = _float(self.group, f"default_{direction}_pin_cap", 0.0)
        both = _float(group, "capacitance", default if direction == "input" else 0.0) * self.ff
        rise = _float(group, "rise_capacitance", both / self.ff) * self.ff
        fall = _float(group, "fall_capacitance", both / self.ff) * self.ff
        limit = _attribute(group, "max_capacitance")
        return Pin(
            name=name,
            direction=direction,
            capacitance_ff=max(both, rise, fall),
            rise_capacitance_ff=rise,
            fall_capacitance_ff=fall,
            function=_function(group, "function"),
            is_clock=_flag(group, "clock")
            or _flag(group, "clock_gate_clock_pin")
            or bool(register and register.clock_pin == name),
            max_capacitance_ff=_number(limit) * self.ff if limit else None,
        )

    def _lut(self, group: Any, kind: str, scale: float, axes: tuple[float, float]) -> Lut | None:
        """The table `kind` of a group, its axes in our units and in the order (slew, load)."""
        found = group.get_groups(kind)
        if not found:
            return None
        table = found[0]
        template = self.templates.get(_word(table.args[0]) if table.args else "scalar")
        variables, index = [], []
        for k in (1, 2, 3):
            name = _attribute(template, f"variable_{k}") if template else None
            points = table.get_attribute(f"index_{k}") or (
                template.get_attribute(f"index_{k}") if template else None
            )
            if name and points:
                variables.append(_axis(name))
                index.append(_numbers(points))
        values = np.array(_numbers(table.get_attribute("values"))) * scale
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
            raise FlowError(f"a {kind} table has axes that NLDM does not know.")
        return Lut.of(np.array(grid[0]) * axes[0], np.array(grid[1]) * axes[1], values)

    def _arcs(self, pin: str, group: Any) -> list[Arc]:
        arcs = []
        for timing in group.get_groups("timing"):
            kind = _attribute(timing, "timing_type", "combinational")
            if not kind.startswith(_OUTPUT_KINDS):
                continue
            tables = {
                name: self._lut(timing, name, self.ps, (self.ps, self.ff))
                for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
            }
            sense = _attribute(timing, "timing_sense", "non_unate")
            arcs += [
                Arc(pin, related, kind, sense, _function(timing, "when"), **tables)
                for related in _related(timing)
            ]
        return arcs

    def _limits(self, pin: str, group: Any) -> list[Constraint]:
        limits = []
        for timing in group.get_groups("timing"):
            kind = _attribute(timing, "timing_type", "combinational")
            if kind not in _CONSTRAINTS:
                continue
            rise, fall = (
                self._lut(timing, f"{edge}_constraint", self.ps, (self.ps, self.ps))
                for edge in ("rise", "fall")
            )
            limits += [
                Constraint(pin, related, kind, _function(timing, "when"), rise, fall)
                for related in _related(timing)
            ]
        return limits

    def _powers(self, pin: str, group: Any) -> list[InternalPower]:
        powers: list[InternalPower] = []
        for power in group.get_groups("internal_power"):
            rise, fall = (
                self._lut(power, f"{edge}_power", self.fj, (self.ps, self.ff))
                or self._lut(power, "power", self.fj, (self.ps, self.ff))
                or Lut.of([0.0], [0.0], [[0.0]])
                for edge in ("rise", "fall")
            )
            powers += [
                InternalPower(pin, related, _function(power, "when"), rise, fall)
                for related in _related(power) or (None,)
            ]
        return powers

    def _leakage(self, group: Any) -> Leakage:
        return Leakage(_function(group, "when"), _float(group, "value") * self.nw)


def _axis(variable: str) -> int:
    """0 for the first axis of our tables (slew, or the constrained pin's), 1 for the second."""
    if variable in ("total_output_net_capacitance", "related_pin_transition"):
        return 1
    if variable in ("input_net_transition", "input_transition_time", "constrained_pin_transition"):
        return 0
    return 2


def _related(group: Any) -> list[str]:
    return str(_attribute(group, "related_pin", "")).split()


def _kind(group: Any, gate: ClockGate | None, register: Register | None) -> tuple[Any, str]:
    """What the cell is, and why it is of no use where it is not."""
    pins = group.get_groups("pin")
    outputs = [p for p in pins if _attribute(p, "direction") == "output"]
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

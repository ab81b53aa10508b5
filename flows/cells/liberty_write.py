"""Writing a `Library` as Liberty text, in ps, fF, fJ and nW."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from flows.cells.lut import Lut
from flows.library import Arc, Cell, Constraint, InternalPower, Library, Pin, WireLoad

_DIGITS = 4  # significant ones of a capacitance or area
_TABLE_DIGITS = 3  # of a table's value: within 0.5 %, mostly within 0.1 %


def to_liberty(library: Library, comment: str) -> str:
    """The whole library as text; `comment` becomes its head, so it must not hold `*/`."""
    low, high = library.slew_percent
    lines = [f"/* {comment} */", f"library ({library.name}) {{"]
    lines += [
        "delay_model : table_lookup;",
        'time_unit : "1ps";',
        'voltage_unit : "1V";',
        'current_unit : "1mA";',
        'pulling_resistance_unit : "1kohm";',
        'leakage_power_unit : "1nW";',
        "capacitive_load_unit (1, ff);",
        f"nom_voltage : {_text(library.vdd_v)};",
        f"nom_temperature : {_text(library.temperature_c)};",
        "nom_process : 1;",
        *(f"slew_lower_threshold_pct_{edge} : {_text(low)};" for edge in ("rise", "fall")),
        *(f"slew_upper_threshold_pct_{edge} : {_text(high)};" for edge in ("rise", "fall")),
        *(f"{x}put_threshold_pct_{e} : 50;" for x in ("in", "out") for e in ("rise", "fall")),
        "slew_derate_from_library : 1;",
        "operating_conditions (typical) {",
        f"process : 1; voltage : {_text(library.vdd_v)};"
        f" temperature : {_text(library.temperature_c)};",
        "}",
        "default_operating_conditions : typical;",
    ]
    if library.default_max_transition_ps is not None:
        lines.append(f"default_max_transition : {_text(library.default_max_transition_ps)};")
    if library.wire_load:
        lines += _wire_load(library.wire_load)
    templates = _Templates()
    cells = [line for cell in library.cells.values() for line in _cell(cell, templates)]
    lines += [*templates.lines(), *cells]
    return "\n".join([*lines, "}", ""])


_SLEW, _LOAD = "input_net_transition", "total_output_net_capacitance"
_VARIABLES = {
    "delay": ("lu_table", (_SLEW, _LOAD)),
    "limit": ("lu_table", ("constrained_pin_transition", "related_pin_transition")),
    "energy": ("power_lut", ("input_transition_time", _LOAD)),
    "hidden": ("power_lut", ("input_transition_time",)),
}


class _Templates:
    """The table templates in use: a kind of table and its points, named in order of appearance."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, str, str], str] = {}

    def name(self, kind: str, table: Lut) -> str:
        key = (kind, _row(table.index_1), _row(table.index_2))
        return self.names.setdefault(key, f"{kind}_{len(self.names)}")

    def lines(self) -> Iterator[str]:
        for (kind, *index), name in self.names.items():
            group, variables = _VARIABLES[kind]
            yield f"{group}_template ({name}) {{"
            for k, variable in enumerate(variables, 1):
                yield f'variable_{k} : {variable}; index_{k} ("{index[k - 1]}");'
            yield "}"


def _wire_load(wire: WireLoad) -> Iterator[str]:
    yield f'wire_load ("{wire.name}") {{'
    yield f"capacitance : 1; resistance : 0; slope : {_text(wire.slope_ff)};"
    for sinks, load in zip(wire.sinks, wire.load_ff, strict=True):
        yield f"fanout_length ({sinks}, {_text(load)});"
    yield "}"


def _cell(cell: Cell, templates: _Templates) -> Iterator[str]:
    yield f"cell ({cell.name}) {{"
    yield f"area : {_text(cell.area_um2)}; cell_leakage_power : {_text(cell.leakage_nw)};"
    for leakage in cell.leakage:
        when = f'when : "{leakage.when.text}"; ' if leakage.when else ""
        yield f"leakage_power () {{ {when}value : {_text(leakage.nw)}; }}"
    yield from _behaviour(cell)
    for pin in cell.pins.values():
        yield from _pin(cell, pin, templates)
    yield "}"


def _behaviour(cell: Cell) -> Iterator[str]:
    if register := cell.register:
        yield f"ff ({', '.join(register.state)}) {{"
        for key, function in (
            ("next_state", register.next_state),
            ("clocked_on", register.clock),
            ("clear", register.clear),
            ("preset", register.preset),
        ):
            if function:
                yield f'{key} : "{function.text}";'
        yield "}"
    if gate := cell.gate:
        yield f"clock_gating_integrated_cell : {gate.style};"
        yield f'statetable ("{gate.clock} {gate.enable}", "IQ") {{'
        yield 'table : "L L : - : L, L H : - : H, H - : - : N";'
        yield "}"


def _pin(cell: Cell, pin: Pin, templates: _Templates) -> Iterator[str]:
    yield f"pin ({pin.name}) {{"
    yield f"direction : {pin.direction};"
    if pin.direction == "internal":
        yield f"internal_node : {pin.name};"
    if pin.direction == "input":
        yield f"capacitance : {_text(pin.capacitance_ff)};"
        yield f"rise_capacitance : {_text(pin.rise_capacitance_ff)};"
        yield f"fall_capacitance : {_text(pin.fall_capacitance_ff)};"
    if pin.max_capacitance_ff is not None:
        yield f"max_capacitance : {_text(pin.max_capacitance_ff)};"
    if pin.function:
        yield f'function : "{pin.function.text}";'
    if cell.register and pin.is_clock:
        yield "clock : true;"
    yield from _gate_pin(cell, pin)
    for constraint in cell.constraints:
        if constraint.pin == pin.name:
            yield from _timing(constraint, templates)
    for arc in cell.arcs:
        if arc.pin == pin.name:
            yield from _timing(arc, templates)
    for power in cell.internal_power:
        if power.pin == pin.name:
            yield from _power(power, templates)
    yield "}"


def _gate_pin(cell: Cell, pin: Pin) -> Iterator[str]:
    if not (gate := cell.gate):
        return
    for role in ("clock", "enable", "test"):
        if getattr(gate, role) == pin.name:
            yield f"clock_gate_{role}_pin : true;"
    if gate.output == pin.name:
        yield f'clock_gate_out_pin : true; state_function : "({gate.clock} & IQ)";'


def _timing(item: Arc | Constraint, templates: _Templates) -> Iterator[str]:
    yield f'timing () {{ related_pin : "{item.related_pin}";'
    if item.kind != "combinational":
        yield f"timing_type : {item.kind};"
    if item.when:
        yield f'when : "{item.when.text}";'
    if isinstance(item, Constraint):
        names: tuple[str, ...] = ("rise_constraint", "fall_constraint")
        tables: Iterable[Lut | None] = (item.rise, item.fall)
    else:
        yield f"timing_sense : {item.sense};"
        names = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
        tables = (getattr(item, name) for name in names)
    for name, table in zip(names, tables, strict=True):
        if table is not None:
            kind = "limit" if isinstance(item, Constraint) else "delay"
            yield _table(name, kind, table, templates)
    yield "}"


def _power(power: InternalPower, templates: _Templates) -> Iterator[str]:
    yield "internal_power () {"
    if power.related_pin:
        yield f'related_pin : "{power.related_pin}";'
    if power.when:
        yield f'when : "{power.when.text}";'
    for name, table in (("rise_power", power.rise), ("fall_power", power.fall)):
        kind = "hidden" if len(table.index_2) == 1 else "energy"
        yield _table(name, kind, table, templates)
    yield "}"


def _table(name: str, kind: str, table: Lut, templates: _Templates) -> str:
    if table.values.size == 1:
        return f'{name} (scalar) {{ values ("{_text(table.values.item())}"); }}'
    grid = table.values if kind != "hidden" else table.values.T
    rows = ", ".join(f'"{_row(row, _TABLE_DIGITS)}"' for row in grid)
    return f"{name} ({templates.name(kind, table)}) {{ values ({rows}); }}"


def _row(values: Iterable[float], digits: int = _DIGITS) -> str:
    return ",".join(_text(x, digits) for x in values)


def _text(value: float, digits: int = _DIGITS) -> str:
    """Plain decimals: ABC's reader knows no exponents in every place."""
    return np.format_float_positional(
        float(value), precision=digits, unique=False, fractional=False, trim="-"
    )

"""A cell library in one set of units: ps, fF, fJ, nW, um2, V.

`Library.load` reads any NLDM Liberty file (`.lib` or `.lib.gz`; `flows.cells.liberty` does the
reading); without a path it gives the compact 45 nm library that ships with the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from flows.cells.boolean import Function
from flows.cells.lut import Lut

Kind = Literal["comb", "flipflop", "clockgate", "latch", "other"]
Edge = Literal["rise", "fall"]
EDGES: tuple[Edge, Edge] = ("rise", "fall")
SHIPPED = Path(__file__).with_name("compact45.lib")


@dataclass(frozen=True)
class Pin:
    """A cell's pin; `capacitance_ff` is the larger of its rise and fall capacitances.

    `function` is that of an output, over input pins and, in a flip-flop, its state variables.
    """

    name: str
    direction: Literal["input", "output", "inout", "internal"]
    capacitance_ff: float = 0.0
    rise_capacitance_ff: float = 0.0
    fall_capacitance_ff: float = 0.0
    function: Function | None = None
    is_clock: bool = False
    max_capacitance_ff: float | None = None


@dataclass(frozen=True)
class Arc:
    """Delay from `related_pin` to the output `pin`, by slew of the input and load of the output.

    `kind` is Liberty's timing_type: "combinational" (also with `_rise` or `_fall`), "rising_edge",
    "falling_edge". The `cell_` and `_transition` tables are in ps; one that is absent is an edge
    that the arc does not make.
    """

    pin: str
    related_pin: str
    kind: str
    sense: Literal["positive_unate", "negative_unate", "non_unate"]
    when: Function | None
    cell_rise: Lut | None
    cell_fall: Lut | None
    rise_transition: Lut | None
    fall_transition: Lut | None

    def tables(self, edge: Edge) -> tuple[Lut, Lut] | None:
        """(delay, slew) tables of the output's edge, or None."""
        delay = self.cell_rise if edge == "rise" else self.cell_fall
        slew = self.rise_transition if edge == "rise" else self.fall_transition
        return (delay, slew) if delay is not None and slew is not None else None


@dataclass(frozen=True)
class Constraint:
    """Setup or hold (`kind` = Liberty's timing_type) of `pin` against `related_pin`, in ps."""

    pin: str
    related_pin: str
    kind: str
    when: Function | None
    rise: Lut | None
    fall: Lut | None


@dataclass(frozen=True)
class InternalPower:
    """Energy in fJ that the cell takes for one transition of `pin`, its load's share left out.

    Without `related_pin` the transition is the input `pin`'s own, whatever the outputs do.
    """

    pin: str
    related_pin: str | None
    when: Function | None
    rise: Lut
    fall: Lut


@dataclass(frozen=True)
class Leakage:
    """Leakage in nW while `when` holds; None: in any state."""

    when: Function | None
    nw: float


@dataclass(frozen=True)
class Register:
    """A flip-flop's behaviour: state variables (IQ, IQN), next state at the rise of `clock`."""

    state: tuple[str, str]
    clock: Function
    next_state: Function
    clear: Function | None = None
    preset: Function | None = None

    @property
    def clock_pin(self) -> str:
        """The clock input."""
        return self.clock.inputs[0]

    @property
    def rising(self) -> bool:
        """True where the state changes at the clock's rising edge."""
        return self.clock.truth_table() == (0, 1)


@dataclass(frozen=True)
class ClockGate:
    """An integrated clock gate: `output` = `clock` AND the value that its latch took at clock low.

    `style` is Liberty's clock_gating_integrated_cell; only `latch_posedge` kinds are of use here.
    The latch takes `enable` or, where the cell has one, `test`.
    """

    style: str
    clock: str
    enable: str
    output: str
    test: str | None = None


@dataclass(frozen=True)
class Cell:
    """One cell. `kind` "other" is a cell that the flow cannot use; `reason` says why."""

    name: str
    area_um2: float
    kind: Kind
    pins: dict[str, Pin]
    arcs: tuple[Arc, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    internal_power: tuple[InternalPower, ...] = ()
    leakage: tuple[Leakage, ...] = ()
    leakage_nw: float = 0.0
    register: Register | None = None
    gate: ClockGate | None = None
    dont_use: bool = False
    reason: str = ""

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Input pins in the library's order."""
        return tuple(p.name for p in self.pins.values() if p.direction == "input")

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Output pins in the library's order."""
        return tuple(p.name for p in self.pins.values() if p.direction == "output")

    @cached_property
    def arcs_between(self) -> dict[tuple[str, str], tuple[Arc, ...]]:
        """The delay arcs by (output, input), those of asynchronous pins left out."""
        groups: dict[tuple[str, str], tuple[Arc, ...]] = {}
        for arc in self.arcs:
            if arc.kind in ("combinational", "rising_edge", "falling_edge"):
                key = arc.pin, arc.related_pin
                groups[key] = (*groups.get(key, ()), arc)
        return groups

    @property
    def clock_pin(self) -> str | None:
        """The clock input of a flip-flop or clock gate."""
        if self.register:
            return self.register.clock_pin
        return self.gate.clock if self.gate else None


@dataclass(frozen=True)
class WireLoad:
    """A statistical wire load: fF by number of sinks, by a table and then a slope."""

    name: str
    sinks: tuple[int, ...]
    load_ff: tuple[float, ...]
    slope_ff: float

    def __call__(self, sinks: int) -> float:
        """Capacitance in fF of a net with so many sinks."""
        if sinks > self.sinks[-1]:
            return self.load_ff[-1] + self.slope_ff * (sinks - self.sinks[-1])
        return float(np.interp(sinks, (0, *self.sinks), (0.0, *self.load_ff)))


@dataclass(frozen=True)
class Library:
    """Cells and the conditions under which they were characterised.

    `slew_percent` are the lower and upper thresholds between which slews are measured (30 and 70
    in NanGate's libraries); all slews of a library, in and out, are between its own thresholds.
    `sha256` is that of the file's text, decompressed.
    """

    name: str
    sha256: str
    vdd_v: float
    temperature_c: float
    cells: dict[str, Cell]
    slew_percent: tuple[float, float] = (30.0, 70.0)
    default_max_transition_ps: float | None = None
    wire_load: WireLoad | None = None
    path: Path | None = field(default=None, compare=False)

    @staticmethod
    def load(path: Path | str | None = None) -> Library:
        """Read a Liberty file, from the cache where it was read before.

        Raises FlowError (one sentence) for a file that is no NLDM library, OSError for a missing
        one.
        """
        from flows.cells.library_cache import load

        return load(Path(path) if path is not None else SHIPPED)

    @property
    def has_power(self) -> bool:
        """True where combinational cells have internal power tables."""
        return any(cell.internal_power for cell in self.cells.values() if cell.kind == "comb")

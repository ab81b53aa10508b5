"""The compact library that ships with the package, made from the full one.

`python -m flows.compact FULL.lib --out flows/compact45.lib` takes the cells that
multiply-accumulate circuits map to, resamples their tables to the slews and loads that occur in
such circuits, and merges the side-input states of an arc: the slowest delay, so that longest paths
stay, and the mean energy, where the states hardly differ. On the project's own circuits that keeps
energies and longest paths to within 1 % of the full library's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from flows import console
from flows.cells.liberty_write import to_liberty
from flows.cells.lut import Lut
from flows.console import FlowError
from flows.library import Arc, Cell, InternalPower, Library
from hw.command import Parser

CELLS = (
    *("INV_X1", "INV_X2", "INV_X4", "BUF_X1", "BUF_X2", "BUF_X4"),
    *("NAND2_X1", "NAND2_X2", "NAND3_X1", "NAND4_X1"),
    *("NOR2_X1", "NOR2_X2", "NOR3_X1", "NOR4_X1"),
    *("AND2_X1", "AND3_X1", "AND4_X1", "OR2_X1", "OR3_X1", "OR4_X1"),
    *("AOI21_X1", "AOI22_X1", "AOI211_X1", "AOI221_X1"),
    *("OAI21_X1", "OAI22_X1", "OAI211_X1", "OAI221_X1"),
    *("XOR2_X1", "XNOR2_X1", "MUX2_X1", "HA_X1", "FA_X1"),
    *("DFF_X1", "CLKGATE_X1", "CLKGATE_X2"),
)
SLEW_PS = (4.72397, 17.1859, 40.9838, 130.081)  # four of the full library's seven points
LOAD_FF = (1.9, 3.8, 15.0, 30.0)  # for a cell of drive strength 1, in proportion for others
UNIT_LOAD_FF = 60.0  # what a cell of drive strength 1 may drive
SAME_ENERGY_FJ = 1.5  # states of an arc whose energies differ by less are averaged
TYPICAL_SLEW_PS, TYPICAL_LOAD_FF = 20.0, 4.0

ORIGIN = """Compact 45 nm library of quanos: {cells} cells, tables resampled, states merged.
 Made by `python -m flows.compact` from the typical corner ({vdd:g} V, {temperature:g} C) of the
 NanGate 45 nm Open Cell Library, PDK v1.3 v2010_12, Apache-2.0 release (Si2, NanGate Inc.).
 SHA-256 of the source: {sha256}
 A change against the source: fewer cells, table points and states; units ps, fF, fJ, nW.
 Licence: Apache-2.0. Not for manufacturing."""

T = TypeVar("T", Arc, InternalPower)


def compact(library: Library, names: Sequence[str] = CELLS) -> Library:
    """The named cells with fewer table points and states; FlowError where one is missing."""
    if missing := [name for name in names if name not in library.cells]:
        raise FlowError(
            f"library {library.name} has no cell {missing[0]}; the compact library is made from "
            "the NanGate 45 nm Open Cell Library."
        )
    cells = {name: _cell(library.cells[name]) for name in names}
    return replace(library, name="quanos_compact45", cells=cells)


def _cell(cell: Cell) -> Cell:
    loads = _loads(cell)
    arcs = [_resample_arc(a, loads) for a in cell.arcs]
    powers = [_resample_power(p, loads) for p in cell.internal_power]
    if cell.kind == "comb":
        arcs, powers = _merge(arcs, _arc_key, _slowest_arc), _merge(powers, _power_key, _mean_power)
    setups = tuple(c for c in cell.constraints if c.kind.startswith("setup"))
    return replace(cell, arcs=tuple(arcs), internal_power=tuple(powers), constraints=setups)


def _loads(cell: Cell) -> list[float]:
    """The load points of a cell, by the power of two that is its drive strength."""
    limit = max(cell.pins[pin].max_capacitance_ff or UNIT_LOAD_FF for pin in cell.outputs)
    strength = 2.0 ** round(np.log2(limit / UNIT_LOAD_FF))
    return [strength * load for load in LOAD_FF]


def _resample(table: Lut, loads: list[float]) -> Lut:
    """The table at fewer points; tables of one variable or none keep that form."""
    slew = SLEW_PS if len(table.index_1) > 1 else table.index_1
    load = loads if len(table.index_2) > 1 else table.index_2
    return Lut.of(slew, load, table(np.array(slew)[:, None], np.array(load)[None, :]))


def _resample_arc(arc: Arc, loads: list[float]) -> Arc:
    return _with_tables(arc, {n: t and _resample(t, loads) for n, t in _tables(arc).items()})


def _tables(arc: Arc) -> dict[str, Lut | None]:
    names = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
    return {name: getattr(arc, name) for name in names}


def _with_tables(arc: Arc, tables: dict[str, Any]) -> Arc:
    return replace(arc, **tables)


def _resample_power(power: InternalPower, loads: list[float]) -> InternalPower:
    rise, fall = _resample(power.rise, loads), _resample(power.fall, loads)
    return replace(power, rise=rise, fall=fall)


def _arc_key(arc: Arc) -> Hashable:
    return arc.pin, arc.related_pin, arc.sense, arc.kind


def _power_key(power: InternalPower) -> Hashable:
    return power.pin, power.related_pin


def _merge(
    items: list[T], key: Callable[[T], Hashable], mean: Callable[[list[T]], list[T]]
) -> list[T]:
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return [merged for group in groups.values() for merged in mean(group)]


def _slowest_arc(arcs: list[Arc]) -> list[Arc]:
    """Arcs that differ in the side inputs' state alone, as one with the largest value of each."""
    tables = [_tables(arc) for arc in arcs]
    slowest = {name: _over([t[name] for t in tables], np.max) for name in tables[0]}
    return [_with_tables(replace(arcs[0], when=None), slowest)]


def _mean_power(powers: list[InternalPower]) -> list[InternalPower]:
    """One where the states hardly matter, all of them where they do (XOR, full adder)."""
    for edge in ("rise", "fall"):
        energy = [getattr(p, edge)(TYPICAL_SLEW_PS, TYPICAL_LOAD_FF) for p in powers]
        if max(energy) - min(energy) > SAME_ENERGY_FJ:
            return powers
    rise, fall = (_over([getattr(p, edge) for p in powers], np.mean) for edge in ("rise", "fall"))
    return [replace(powers[0], when=None, rise=rise or powers[0].rise, fall=fall or powers[0].fall)]


def _over(tables: list[Lut | None], reduce: Callable[..., Any]) -> Lut | None:
    """The tables that are there, point by point as one."""
    present = [t for t in tables if t is not None]
    if not present:
        return None
    first = present[0]
    return Lut.of(first.index_1, first.index_2, reduce([t.values for t in present], axis=0))


def main() -> int:
    """Write the compact library from the full one."""
    parser = Parser("python -m flows.compact", __doc__)
    parser.add_argument("full", type=Path, metavar="FULL.lib", help="the full library (.lib, .gz)")
    parser.add_argument("--out", type=Path, required=True, help="the Liberty file to write")
    parser.add_json()
    arguments = parser.parse_args()
    full = Library.load(arguments.full)
    small = compact(full)
    comment = ORIGIN.format(
        cells=len(small.cells),
        vdd=full.vdd_v,
        temperature=full.temperature_c,
        sha256=full.sha256,
    )
    console.write_text(arguments.out, to_liberty(small, comment))
    size = arguments.out.stat().st_size
    if arguments.json:
        console.print_json({"out": str(arguments.out), "cells": len(small.cells), "bytes": size})
        return 0
    print(f"{arguments.out}: {len(small.cells)} cells, {size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    console.run(main)

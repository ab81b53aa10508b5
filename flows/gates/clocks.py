"""The nets of a netlist's clocks, and their slews behind gates and buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.library import EDGES, Library
from flows.netlist import Netlist

if TYPE_CHECKING:  # which itself asks for the clock's nets
    from flows.timing import Conditions


def clock_nets(netlist: Netlist, library: Library) -> frozenset[int]:
    """Nets that feed clock pins, through buffers, inverters and clock gates."""
    drivers = netlist.drivers(library)
    found: set[int] = set()
    todo = []
    for instance in netlist.instances:
        pin = library.cells[instance.cell].clock_pin
        if pin is not None:
            todo.append(instance.pins[pin])
    while todo:
        net = todo.pop()
        if net in found:
            continue
        found.add(net)
        if (driver := drivers[net]) is not None:
            instance = netlist.instances[driver[0]]
            cell = library.cells[instance.cell]
            if cell.kind == "comb" and len(cell.inputs) == 1:
                todo.append(instance.pins[cell.inputs[0]])  # gates' clock pins are in already
    return frozenset(found)


def clock_slews(
    netlist: Netlist, library: Library, conditions: Conditions, loads: NDArray[np.float64]
) -> dict[int, tuple[float, float]]:
    """Slews in ps (rise, fall) of the clock nets behind gates and buffers, by what these drive.

    Delays use the stated slew at every register; the energy at a clock pin depends on the real one.
    A driver with more load than it may have stands for one with a tree behind it, and the stated
    slew holds there as it does ahead of the gates: tables say nothing of such loads.
    """
    nets, drivers = clock_nets(netlist, library), netlist.drivers(library)
    ideal = [n for n in nets if float(loads[n].max()) > _limit_ff(drivers[n], netlist, library)]
    slews = dict.fromkeys(ideal, (conditions.clock_slew_ps,) * 2)
    todo = [net for net in nets if net not in slews]
    while todo:
        left = [
            net for net in todo if not _add_slew(net, drivers[net], netlist, library, loads, slews)
        ]
        if len(left) == len(todo):  # made by logic: the stated slew is all that is known
            return slews | dict.fromkeys(left, (conditions.clock_slew_ps,) * 2)
        todo = left
    return slews


def _limit_ff(driver: tuple[int, str] | None, netlist: Netlist, library: Library) -> float:
    """The most that a clock net may load its driver with, by its pin or else its tables; ports
    drive ideal nets, however little is on them."""
    if driver is None:
        return -1.0
    cell, pin = library.cells[netlist.instances[driver[0]].cell], driver[1]
    slews = [t[1] for a in cell.arcs if a.pin == pin for e in EDGES if (t := a.tables(e))]
    ends = [float(slew.index_2[-1]) for slew in slews]
    return cell.pins[pin].max_capacitance_ff or max(ends, default=float("inf"))


def _add_slew(
    net: int,
    driver: tuple[int, str] | None,
    netlist: Netlist,
    library: Library,
    loads: NDArray[np.float64],
    slews: dict[int, tuple[float, float]],
) -> bool:
    """Add the net's slews if those of its driver's input are known."""
    assert driver is not None
    instance, pin = netlist.instances[driver[0]], driver[1]
    cell = library.cells[instance.cell]
    source = instance.pins[cell.clock_pin or cell.inputs[0]]
    if source not in slews:
        return False
    worst = [0.0, 0.0]
    for arc in cell.arcs:
        if arc.pin != pin or arc.related_pin != (cell.clock_pin or cell.inputs[0]):
            continue
        for edge in (0, 1):
            if tables := arc.tables(EDGES[edge]):
                start = slews[source][edge ^ (arc.sense == "negative_unate")]
                worst[edge] = max(worst[edge], tables[1].at(start, float(loads[net][edge])))
    slews[net] = (worst[0], worst[1])
    return True

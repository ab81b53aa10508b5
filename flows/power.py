"""Power from activity: switching, internal, clock and leakage, with NLDM power tables.

`python -m flows.power NETLIST.json --saif FILE [--liberty LIB] --clock-ps N`. The model:

- switching: 1/2 C V^2 per transition, C the sinks' pin capacitances (plus wire, if asked for);
- internal: the table of each (output, input) pair at the input's slew and the output's load; an
  output's transitions are shared among its inputs by density times the probability that the
  input decides the output; state-dependent tables count by the probability of their state;
- clock: all of that on clock nets, in clock gates and at the clock pins of registers;
- leakage: by the probability of each state.

Pins are taken as independent, rising and falling transitions as equally many. Energies scale with
the square of the supply, leakage power too.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows import console
from flows.console import FlowError
from flows.energy.cell_power import CellPower, Parts
from flows.gates.clocks import clock_nets, clock_slews
from flows.library import Library
from flows.netlist import CONSTANTS, Netlist
from flows.simulator.saif import Activity, read_saif
from flows.timing import Conditions, analyse
from hw.command import Parser

Floats = NDArray[np.float64]
W_PER_FJ_PS = 1e-3  # fJ / ps in W
W_PER_NW = 1e-9
CLOCK_TOLERANCE = 0.01  # of the period in a SAIF file, which starts and ends somewhere in a cycle


@dataclass(frozen=True, eq=False)
class Power:
    """Mean power in W at `vdd_v` and a clock of `clock_ps`; the four parts add up to `total_w`.

    `ports_w` is the share of `switching_w` and `clock_w` on nets that input ports drive: other
    tools leave it out, because no cell of the design spends it. `instances_w` has one entry per
    instance of the netlist, everything but `ports_w`.
    """

    switching_w: float
    internal_w: float
    clock_w: float
    leakage_w: float
    ports_w: float
    instances_w: Floats
    clock_ps: float
    vdd_v: float

    @property
    def total_w(self) -> float:
        """Everything."""
        return self.switching_w + self.internal_w + self.clock_w + self.leakage_w

    def fj(self, watts: float) -> float:
        """Energy per clock cycle in fJ of a power in W."""
        return watts * self.clock_ps / W_PER_FJ_PS


@dataclass(frozen=True, eq=False)
class Energies:
    """Per clock cycle at the library's own supply: fJ, and the leakage in nW; one entry each for
    every activity, or every instance, asked about."""

    switching_fj: Floats
    internal_fj: Floats
    clock_fj: Floats
    leakage_nw: Floats

    def parts_fj(self, clock_ps: float, scale: float) -> dict[str, Floats]:
        """Switching, internal, clock and leakage energy per cycle of `clock_ps`, with `scale` the
        square of the supply relative to the library's."""
        return {
            "switching": self.switching_fj * scale,
            "internal": self.internal_fj * scale,
            "clock": self.clock_fj * scale,
            "leakage": self.leakage_nw * scale * clock_ps * W_PER_NW / W_PER_FJ_PS,
        }


def check_library(library: Library) -> None:
    """Refuse (FlowError) a library that says nothing of its cells' energies or its supply."""
    if not library.has_power:
        raise FlowError(
            f"library {library.name} has no internal power tables; power needs a library that has "
            "them."
        )
    if not library.vdd_v > 0:
        raise FlowError(
            f"library {library.name} says no supply; give it a nom_voltage, with which its "
            "energies scale."
        )


class PowerModel:
    """A netlist ready for evaluation: tables looked up once, at worst slews and actual loads."""

    def __init__(
        self, netlist: Netlist, library: Library, conditions: Conditions | None = None
    ) -> None:
        check_library(library)
        conditions = conditions or Conditions()
        self.netlist, self.library = netlist, library
        loads = netlist.loads_ff(
            library, wire_scale=conditions.wire_scale, port_ff=conditions.port_ff
        )
        slews = np.array(analyse(netlist, library, None, conditions).slew_ps)
        for net, pair in clock_slews(netlist, library, conditions, loads).items():
            slews[net] = pair
        self.load_ff: Floats = loads.max(axis=1)
        self.is_clock = np.zeros(len(netlist.nets), bool)
        self.is_clock[list(clock_nets(netlist, library))] = True
        self.driver = np.full(len(netlist.nets), -1)
        for net, driver in enumerate(netlist.drivers(library)):
            if driver is not None:
                self.driver[net] = driver[0]
        by_cell = defaultdict(list)
        for i, instance in enumerate(netlist.instances):
            by_cell[instance.cell].append(i)
        try:
            self.groups = [
                CellPower(library.cells[name], netlist, np.array(members), slews, loads)
                for name, members in sorted(by_cell.items())
            ]
        except FlowError as error:
            raise FlowError(f"{library.path or library.name}: {error}") from None

    def __call__(self, activity: Activity, clock_ps: float, vdd_v: float | None = None) -> Power:
        """Power at an activity per clock cycle; `vdd_v` defaults to the library's own supply."""
        if not clock_ps > 0:
            raise FlowError(f"the clock period must be more than 0 ps, not {clock_ps:g}.")
        if len(activity.density) != len(self.netlist.nets):
            raise FlowError(f"the activity is not one of {self.netlist.top}'s nets.")
        vdd = self.library.vdd_v if vdd_v is None else vdd_v
        scale = (vdd / self.library.vdd_v) ** 2
        per_fj = scale * W_PER_FJ_PS / clock_ps
        nets, parts = self._evaluate(activity.duty, activity.density)
        by_part = self._by_instance(nets, parts).parts_fj(clock_ps, scale)
        total = self._total(nets, parts)
        return Power(
            switching_w=float(total.switching_fj) * per_fj,
            internal_w=float(total.internal_fj) * per_fj,
            clock_w=float(total.clock_fj) * per_fj,
            leakage_w=float(total.leakage_nw) * W_PER_NW * scale,
            ports_w=float(nets[self.driver < 0].sum()) * per_fj,
            instances_w=np.sum(list(by_part.values()), axis=0) * W_PER_FJ_PS / clock_ps,
            clock_ps=clock_ps,
            vdd_v=vdd,
        )

    def energies(self, activities: Sequence[Activity]) -> Energies:
        """The same for many activities at once, in a fraction of the time."""
        duty = np.array([activity.duty for activity in activities])
        density = np.array([activity.density for activity in activities])
        return self._total(*self._evaluate(duty, density))

    def by_instance(self, activity: Activity) -> Energies:
        """The same for one activity, an entry for every instance with the nets that it drives;
        nets of input ports are no instance's."""
        return self._by_instance(*self._evaluate(activity.duty, activity.density))

    def _by_instance(self, nets: Floats, parts: list[Parts]) -> Energies:
        columns = np.zeros((4, len(self.netlist.instances)))
        switching, internal, clock, leakage = columns
        for column, chosen in ((switching, ~self.is_clock), (clock, self.is_clock)):
            driven = chosen & (self.driver >= 0)
            np.add.at(column, self.driver[driven], nets[driven])
        for group, part in zip(self.groups, parts, strict=True):
            internal[group.members] += part.internal_fj
            clock[group.members] += part.clock_fj
            leakage[group.members] += part.leakage_nw
        return Energies(switching, internal, clock, leakage)

    def _evaluate(self, duty: Floats, density: Floats) -> tuple[Floats, list[Parts]]:
        """fJ per cycle of every net, and what the groups of instances take; shapes (..., nets)."""
        nets = 0.5 * self.load_ff * self.library.vdd_v**2 * density
        nets[..., : len(CONSTANTS)] = 0.0
        return nets, [group.evaluate(duty, density) for group in self.groups]

    def _total(self, nets: Floats, parts: list[Parts]) -> Energies:
        def over_groups(name: str) -> Floats:
            return np.asarray(sum(getattr(part, name).sum(axis=-1) for part in parts))

        return Energies(
            switching_fj=nets[..., ~self.is_clock].sum(axis=-1),
            internal_fj=over_groups("internal_fj"),
            clock_fj=over_groups("clock_fj") + nets[..., self.is_clock].sum(axis=-1),
            leakage_nw=over_groups("leakage_nw"),
        )


def check_clock(netlist: Netlist, library: Library, activity: Activity, clock_ps: float) -> None:
    """Refuse (FlowError) an activity whose clock does not tick once in `clock_ps`."""
    ports = {net for nets in netlist.inputs.values() for net in nets}
    ticks = [float(activity.density[net]) for net in clock_nets(netlist, library) if net in ports]
    fastest = max(ticks, default=0.0)
    if fastest > 0 and abs(fastest / 2 - 1) > CLOCK_TOLERANCE:
        raise FlowError(
            f"the clock of {netlist.top} has a period of {2 * clock_ps / fastest:g} ps in the "
            f"activity, not {clock_ps:g} ps; give that as --clock-ps, or count anew with "
            f"flows.activity --clock-ps {clock_ps:g}."
        )


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.power", __doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json")
    add("--saif", type=Path, required=True, help="activity of every net")
    add("--liberty", type=Path, help="its library (default: the shipped one)")
    add("--top", help="module, where the file holds several")
    add(
        "--clock-ps", type=float, required=True, metavar="N",
        help="period of the clock, as the activity has it",
    )  # fmt: skip
    add("--vdd", type=float, metavar="V", help="supply (default: the library's)")
    add("--port-ff", type=float, default=Conditions.port_ff, metavar="C", help="load of an output")
    add(
        "--wire-scale", type=float, default=Conditions.wire_scale, metavar="X",
        help="share of the library's wire loads (default: 0)",
    )  # fmt: skip
    add("--stages", action="store_true", help="energy of logic and registers, by stage, too")
    parser.add_json()
    return parser.parse_args()


def main() -> int:
    """Price a netlist's activity; print watts by part."""
    from flows.energy import stages  # which builds on this module

    arguments = _arguments()
    if not arguments.clock_ps > 0 or (arguments.vdd is not None and not arguments.vdd > 0):
        raise FlowError("--clock-ps and --vdd must be more than 0.")
    library = Library.load(arguments.liberty)
    netlist = Netlist.load(arguments.netlist, library, arguments.top)
    activity = read_saif(arguments.saif, netlist).activity(netlist, arguments.clock_ps)
    check_clock(netlist, library, activity, arguments.clock_ps)
    conditions = Conditions(port_ff=arguments.port_ff, wire_scale=arguments.wire_scale)
    model = PowerModel(netlist, library, conditions)
    result = model(activity, arguments.clock_ps, arguments.vdd)
    shares = stages.shares(model, activity, result) if arguments.stages else []
    if arguments.json:
        told = {"stages": [asdict(share) for share in shares]} if arguments.stages else {}
        console.print_json({"top": netlist.top, **_figures(result), **told})
    else:
        for name, value in _figures(result).items():
            unit = f"{value * 1e6:12.3f} uW" if name.endswith("_w") else f"{value:12.3f}"
            print(f"{name.removesuffix('_w'):<12}{unit}")
        stages.show(shares)
    return 0


def _figures(result: Power) -> dict[str, float]:
    names = ("switching_w", "internal_w", "clock_w", "leakage_w", "total_w", "ports_w")
    figures = {name: getattr(result, name) for name in names}
    return {
        **figures,
        "energy_per_cycle_fj": result.fj(result.total_w),
        "clock_ps": result.clock_ps,
        "vdd_v": result.vdd_v,
    }


if __name__ == "__main__":
    console.run(main)

"""Where a netlist's energy goes: stage by stage, logic and registers apart.

A stage is what lies behind the same number of registers, counted along the shortest way from the
inputs that move. Of a MAC whose operands move, the registers of stage 1 hold operands, its logic
multiplies; the registers of stage 2 hold the product, its logic adds; those of stage 3 hold sums.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.library import Library
from flows.netlist import Instance, Netlist
from flows.power import Power, PowerModel
from flows.simulator.saif import Activity

INPUTS, CLOCK_GATES, STILL = "input nets, clock", "clock gates", "behind no moving input"


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one part of a netlist takes, in fJ per clock cycle; `cells` are in it."""

    part: str
    cells: int
    switching_fj: float = 0.0
    internal_fj: float = 0.0
    clock_fj: float = 0.0
    leakage_fj: float = 0.0

    @property
    def total_fj(self) -> float:
        """Everything."""
        return self.switching_fj + self.internal_fj + self.clock_fj + self.leakage_fj


def shares(model: PowerModel, activity: Activity, power: Power) -> list[Share]:
    """The parts of `power`, which the model found for the activity; together they are all of it.

    Nets of input ports are a part of their own, the clock's among them.
    """
    by_kind = model.by_instance(activity).parts_fj(
        power.clock_ps, (power.vdd_v / model.library.vdd_v) ** 2
    )
    part = parts(model.netlist, model.library, activity)
    cells = Counter(part)

    def energies(members: NDArray[np.bool_]) -> dict[str, float]:
        return {f"{kind}_fj": float(fj[members].sum()) for kind, fj in by_kind.items()}

    found = [
        Share(part=name, cells=cells[name], **energies(np.array([p == name for p in part])))
        for name in sorted(cells, key=_order)
    ]
    whole = {"switching_fj": power.switching_w, "clock_fj": power.clock_w}
    ports = {k: power.fj(w) - sum(getattr(s, k) for s in found) for k, w in whole.items()}
    return [*found, Share(part=INPUTS, cells=0, **ports)]


def parts(netlist: Netlist, library: Library, activity: Activity) -> list[str]:
    """The part that every instance belongs to; an input moves where the activity says so."""
    clocks = {x.pins[pin] for x in netlist.instances if (pin := library.cells[x.cell].clock_pin)}
    ports = (net for nets in netlist.inputs.values() for net in nets)
    depth = depths(netlist, library, (n for n in ports if n not in clocks and activity.density[n]))
    return [_part(x, library, depth) for x in netlist.instances]


def _part(instance: Instance, library: Library, depth: dict[int, int]) -> str:
    cell = library.cells[instance.cell]
    if cell.kind == "clockgate":
        return CLOCK_GATES
    nets = (instance.pins[pin] for pin in cell.outputs if pin in instance.pins)
    found = [depth[net] for net in nets if net in depth]
    kind = "registers" if cell.register else "logic"
    return f"stage {min(found)} {kind}" if found else STILL


def _order(part: str) -> tuple[str, bool]:
    """Stage by stage, its registers before its logic."""
    stage, _, kind = part.rpartition(" ")
    return stage, kind == "logic"


def depths(netlist: Netlist, library: Library, nets: Iterable[int]) -> dict[int, int]:
    """By net, the fewest registers between any of `nets` and it; what is out of reach is absent."""
    found = dict.fromkeys(nets, 0)
    todo, sinks = deque(found), netlist.sinks(library)
    while todo:
        net = todo.popleft()
        for i, _ in sinks[net]:
            x = netlist.instances[i]
            cell = library.cells[x.cell]
            if cell.kind == "clockgate":
                continue
            depth = found[net] + (cell.register is not None)
            for after in (x.pins[pin] for pin in cell.outputs if pin in x.pins):
                if depth < found.get(after, depth + 1):
                    found[after] = depth
                    (todo.append if cell.register else todo.appendleft)(after)
    return found


def show(shares: Sequence[Share]) -> None:
    """One line a part."""
    columns = ("switching", "internal", "clock", "leakage", "total")
    if shares:
        print(f"\n{'fJ per cycle':<24}{'cells':>7}" + "".join(f"{name:>11}" for name in columns))
    for share in shares:
        energies = (getattr(share, f"{name}_fj") for name in columns)
        print(f"{share.part:<24}{share.cells:>7}" + "".join(f"{fj:11.1f}" for fj in energies))

"""What simulation counts: transitions of every net in independent batches, and files of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows import console
from flows.netlist import CONSTANTS, Netlist
from flows.simulator.saif import Activity, write_saif

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batches:
    """Counts of independent batches of vectors; arrays have shape (batches, nets).

    `toggles` counts all transitions, `rising` those to 1, `settled` those that zero-delay
    simulation sees, `ones` the vectors that end at 1 (for a clock net: half of those in which it
    pulses).
    """

    vectors: Counts
    toggles: Counts
    rising: Counts
    settled: Counts
    ones: NDArray[np.float64]

    @property
    def edges(self) -> Counts:
        """Rising and falling transitions, shape (batches, nets, 2)."""
        return np.stack([self.rising, self.toggles - self.rising], axis=-1)

    def activity(
        self, netlist: Netlist, *, glitches: bool = True, batch: int | None = None
    ) -> Activity:
        """Of all batches, or of one; `duty` is that of the settled values."""
        rows = slice(None) if batch is None else slice(batch, batch + 1)
        toggles = (self.toggles if glitches else self.settled)[rows].sum(0)
        vectors = self.vectors[rows].sum()
        return Activity.of(netlist, self.ones[rows].sum(0) / vectors, toggles / vectors)

    def __add__(self, other: Batches) -> Batches:
        """More vectors for every batch."""
        return Batches(
            self.vectors + other.vectors,
            self.toggles + other.toggles,
            self.rising + other.rising,
            self.settled + other.settled,
            self.ones + other.ones,
        )


def save(path: Path, netlist: Netlist, batches: Batches, clock_ps: float) -> None:
    """As SAIF: counts over all vectors, glitches as IG, a cycle taking `clock_ps`."""
    vectors = int(batches.vectors.sum())
    toggles, settled = batches.toggles.sum(0), batches.settled.sum(0)
    t1 = batches.ones.sum(0) * clock_ps
    duration = vectors * clock_ps
    write_saif(path, netlist, duration, duration - t1, t1, toggles, toggles - settled)


def save_counts(path: Path, netlist: Netlist, batches: Batches) -> None:
    """As JSON, by net: rising, falling and settled transitions and the vectors that end at 1 (of a
    clock net half of those in which it pulses), over all `vectors`."""
    rising, falling = batches.edges.sum(0).T
    columns = {"rising": rising, "falling": falling, "settled": batches.settled.sum(0)}
    columns["ones"] = batches.ones.sum(0).round().astype(int)
    nets = {
        name: {kind: int(values[net]) for kind, values in columns.items()}
        for net, name in enumerate(netlist.nets)
        if name not in CONSTANTS
    }
    content = {"top": netlist.top, "vectors": int(batches.vectors.sum()), "nets": nets}
    console.write_text(path, json.dumps(content, indent=1) + "\n")

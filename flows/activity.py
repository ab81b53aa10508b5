"""Switching activity: transitions of every net per clock cycle, with and without glitches.

`python -m flows.activity NETLIST.json [--liberty LIB] --delays zero|nldm --stimulus
uniform|gaussian|FILE.npz --vectors N --seed S --out FILE.saif`. Register contents do not depend on
gate delays: `flows.functional` finds them cycle by cycle, and then every (stream, cycle) is one bit
of the timed simulation (`flows.waveform`, or the same in C in `flows.kernel`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows import case as case_analysis
from flows import console, kernel, stimulus, waveform
from flows.case import State
from flows.circuit import Circuit
from flows.console import FlowError
from flows.delays import REJECT, STEP_PS, Delays
from flows.functional import Bits, Functional, Trace
from flows.library import Library
from flows.netlist import Netlist
from flows.saif import Activity, write_saif
from flows.stimulus import Round
from flows.timing import Conditions
from flows.waveform import Plan, Words

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batches:
    """Counts of independent batches of vectors; arrays have shape (batches, nets).

    `toggles` counts all transitions, `settled` those that zero-delay simulation sees, `ones` the
    vectors that end at 1 (for a clock net: half of those in which it pulses).
    """

    vectors: Counts
    toggles: Counts
    settled: Counts
    ones: NDArray[np.float64]

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
            self.settled + other.settled,
            self.ones + other.ones,
        )


class Simulator:
    """A netlist with its delays, ready for batches of stimulus; `delays` is "zero" or "nldm"."""

    def __init__(
        self,
        netlist: Netlist,
        library: Library,
        *,
        delays: str = "nldm",
        step_ps: float = STEP_PS,
        reject: float = REJECT,
        conditions: Conditions | None = None,
    ) -> None:
        if delays not in ("zero", "nldm"):
            raise FlowError(f"delays {delays!r} are not known; zero and nldm are.")
        self.netlist, self.library = netlist, library
        self.circuit = Circuit.of(netlist, library)
        self.delays = (
            Delays.nldm(
                self.circuit, library, step_ps=step_ps, reject=reject, conditions=conditions
            )
            if delays == "nldm"
            else Delays.zero(self.circuit)
        )
        self._functional = Functional(self.circuit)
        self._states: dict[frozenset[tuple[str, int]], list[State]] = {}
        self._kernels: dict[frozenset[tuple[int, int]], kernel.Kernel | Plan] = {}

    def run(self, inputs: Mapping[int, Bits], warmup: int, batches: int = 1) -> Batches:
        """Count; the streams are shared out evenly to the batches in their order.

        `inputs[net]` has shape (cycles, streams); the first `warmup` cycles (one at least) are not
        counted, and the number of those that are must be a multiple of 64.
        """
        cycles, streams = next(iter(inputs.values())).shape
        if warmup < 1 or (cycles - warmup) % 64 or cycles <= warmup:
            raise FlowError("a batch needs a cycle before, and multiples of 64 cycles to count.")
        trace = self._functional.simulate(inputs)
        initial = {n: _words(trace.bits[n][warmup - 1 : -1]) for n in self.circuit.sources}
        final = {n: _words(trace.bits[n][warmup:]) for n in self.circuit.sources}
        static = self._static(inputs, trace, warmup)
        vectors = np.full(batches, (cycles - warmup) * streams // batches)
        counts = self._count(static, initial, final, batches)
        ones = counts[..., 3].astype(float)
        for net, value in self._plan(static).static.items():
            ones[:, net] = value * vectors
        for net, clock in self.circuit.clocks.items():
            pulses = trace.bits[net][warmup:].reshape(-1, batches, streams // batches).sum((0, 2))
            counts[:, net, :2] = 2 * pulses[:, None]
            ones[:, net] = vectors - pulses / 2 if clock.inverted else pulses / 2
        return Batches(vectors, counts[..., 0], counts[..., 1], ones)

    def run_all(
        self,
        rounds: Iterable[Round],
        inputs: Callable[[np.random.Generator, int], dict[int, Bits]],
        warmup: int,
    ) -> Batches:
        """Count over all rounds; `inputs(generator, streams)` makes the stimulus of one batch."""
        total = None
        for part in rounds:
            made = [inputs(rng, part.streams) for rng in part.generators()]
            joined = {net: np.concatenate([m[net] for m in made], axis=1) for net in made[0]}
            counted = self.run(joined, warmup, len(made))
            total = counted if total is None else total + counted
        assert total is not None
        return total

    def _static(self, inputs: Mapping[int, Bits], trace: Trace, warmup: int) -> dict[int, int]:
        """Sources that cannot change because inputs are held: case analysis, not chance."""
        held = {n: int(b.flat[0]) for n, b in inputs.items() if b.min() == b.max()}
        names = {
            net: f"{port}[{i}]"
            for port, nets in self.netlist.inputs.items()
            for i, net in enumerate(nets)
        }
        case = {names[n]: value for n, value in held.items()}
        key = frozenset(case.items())
        if key not in self._states:
            self._states[key] = case_analysis.states(self.netlist, self.library, case)
        states = self._states[key]
        still = (n for n in self.circuit.sources if states[n] is not None)
        values = {n: trace.bits[n][warmup - 1 :] for n in still}
        return {n: int(b.flat[0]) for n, b in values.items() if b.min() == b.max()}

    def _prepared(self, static: Mapping[int, int]) -> kernel.Kernel | Plan:
        key = frozenset(static.items())
        if key not in self._kernels:
            plan = Plan.of(self.circuit, self.delays, static)
            self._kernels[key] = kernel.Kernel(plan) if kernel.available() else plan
        return self._kernels[key]

    def _plan(self, static: Mapping[int, int]) -> Plan:
        prepared = self._prepared(static)
        return prepared if isinstance(prepared, Plan) else prepared.plan

    def _count(
        self,
        static: Mapping[int, int],
        initial: dict[int, Words],
        final: dict[int, Words],
        batches: int,
    ) -> Counts:
        prepared = self._prepared(static)
        if isinstance(prepared, Plan):
            return waveform.count(prepared, initial, final, batches)
        return prepared.count(initial, final, batches)


def _words(bits: Bits) -> Words:
    """Shape (cycles, streams) to one bit per vector, a stream's cycles side by side."""
    packed = np.packbits(np.ascontiguousarray(bits.T), axis=-1, bitorder="little")
    return packed.view(np.uint64).reshape(-1)


def save(path: Path, netlist: Netlist, batches: Batches, clock_ps: float) -> None:
    """As SAIF: counts over all vectors, glitches as IG, a cycle taking `clock_ps`."""
    vectors = int(batches.vectors.sum())
    toggles, settled = batches.toggles.sum(0), batches.settled.sum(0)
    t1 = batches.ones.sum(0) * clock_ps
    duration = vectors * clock_ps
    write_saif(path, netlist, duration, duration - t1, t1, toggles, toggles - settled)


def main() -> int:
    arguments = _arguments()
    library = Library.load(arguments.liberty)
    netlist = Netlist.load(arguments.netlist, library, arguments.top)
    simulator = Simulator(
        netlist,
        library,
        delays=arguments.delays,
        step_ps=arguments.step_ps,
        reject=arguments.reject,
    )
    ports = stimulus.Ports.of(simulator.circuit, arguments.stimulus, arguments.hold)
    rounds = stimulus.rounds(arguments.vectors, arguments.seed)
    started = time.perf_counter()
    batches = simulator.run_all(
        console.track(rounds, "simulate", label=lambda r: f"{r.vectors} vectors"),
        lambda rng, streams: ports.inputs(rng, streams, arguments.warmup),
        arguments.warmup,
    )
    seconds = time.perf_counter() - started
    save(arguments.out, netlist, batches, arguments.clock_ps)
    _print(netlist, batches, seconds, arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.activity", description=__doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json")
    add("--liberty", type=Path, help="its library (default: the shipped one)")
    add("--top", help="module, where the file holds several")
    add("--delays", choices=("zero", "nldm"), default="nldm")
    add("--stimulus", default="uniform", metavar="uniform|gaussian|FILE.npz")
    add("--hold", action="append", default=[], metavar="PORT=VALUE", help="keep a port constant")
    add("--vectors", type=int, default=10_240, metavar="N")
    add("--warmup", type=int, default=8, metavar="N", help="cycles before counting starts")
    add("--seed", type=int, default=0, metavar="S")
    add("--step-ps", type=float, default=STEP_PS, help="time step of the simulation")
    add("--reject", type=float, default=REJECT, help="0: transport delays, 1: inertial delays")
    add("--clock-ps", type=float, default=2000.0, help="period that SAIF's times are written for")
    add("--out", type=Path, required=True, metavar="FILE.saif")
    add("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


def _print(
    netlist: Netlist, batches: Batches, seconds: float, arguments: argparse.Namespace
) -> None:
    vectors = int(batches.vectors.sum())
    toggles, settled = float(batches.toggles.sum()), float(batches.settled.sum())
    result: dict[str, Any] = {
        "top": netlist.top,
        "nets": len(netlist.nets),
        "vectors": vectors,
        "toggles_per_vector": toggles / vectors,
        "settled_per_vector": settled / vectors,
        "glitch_share": 1 - settled / toggles if toggles else 0.0,
        "vectors_per_s": vectors / seconds,
        "delays": arguments.delays,
        "seed": arguments.seed,
        "out": str(arguments.out),
    }
    if arguments.json:
        console.print_json(result)
    else:
        print(
            f"{netlist.top}: {toggles / vectors:.1f} transitions per vector on {len(netlist.nets)} "
            f"nets, {100 * result['glitch_share']:.1f} % of them glitches ({vectors} vectors, "
            f"{vectors / seconds:,.0f} per second); wrote {arguments.out}"
        )


if __name__ == "__main__":
    console.run(main)

"""Switching activity: transitions of every net per clock cycle, with and without glitches.

`python -m flows.activity NETLIST.json [--liberty LIB] --delays zero|nldm --stimulus
uniform|gaussian|FILE.npz --vectors N --seed S --out FILE.saif`. Register contents do not depend on
gate delays: `flows.simulator.functional` finds them cycle by cycle, and then every (stream, cycle)
is one bit of the timed simulation (`flows.simulator.waveform`, or the same in C through
`flows.simulator.engine`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows import console, stimulus
from flows.console import FlowError
from flows.gates import case as case_analysis
from flows.gates.circuit import Circuit
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator import kernel, waveform
from flows.simulator.batches import Batches, Counts, save, save_counts
from flows.simulator.cycles import Codes
from flows.simulator.delays import REJECT, STEP_PS, Delays
from flows.simulator.engine import Engine
from flows.simulator.functional import Bits, Functional
from flows.simulator.ports import PortStimulus
from flows.simulator.settled import Settled
from flows.simulator.waveform import Plan, Words
from flows.stimulus import Round
from flows.timing import Conditions
from hw.command import Parser

Inputs = Mapping[int, Bits] | Mapping[str, Codes]
Ports = Sequence[tuple[Sequence[int], NDArray[Any]]]  # nets and their words, (cycles, streams)


class Simulator:
    """A netlist with its delays, ready for batches of stimulus; `delays` is "zero" or "nldm".

    It keeps buffers from run to run, so that one thread at a time may use it; `threads` are its own
    (in C alone), and the counts do not depend on them.
    """

    def __init__(
        self,
        netlist: Netlist,
        library: Library,
        *,
        delays: str = "nldm",
        step_ps: float = STEP_PS,
        reject: float = REJECT,
        conditions: Conditions | None = None,
        threads: int = 1,
    ) -> None:
        if threads < 1:
            raise FlowError(f"the number of threads must be 1 or more, not {threads}.")
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
        self._stills: dict[frozenset[tuple[str, int]], tuple[int, ...]] = {}
        self._plans: dict[frozenset[tuple[int, int]], Plan] = {}
        self._engine: Engine | Settled | None = None
        if kernel.available():
            self._engine = (
                Settled(self.circuit, threads)
                if delays == "zero"
                else Engine(self.circuit, self._prepare, threads)
            )

    def run(self, inputs: Inputs, warmup: int, batches: int = 1) -> Batches:
        """Count; the streams are shared out evenly to the batches in their order.

        `inputs` are bits by net or words by port, of shape (cycles, streams); the first `warmup`
        cycles (one at least) are not counted, and the number of those that are must be a multiple
        of 64.
        """
        ports = _ports(self.netlist, self.circuit, inputs)
        cycles, streams = ports[0][1].shape
        if warmup < 1 or (cycles - warmup) % 64 or cycles <= warmup:
            raise FlowError("a batch needs a cycle before, and multiples of 64 cycles to count.")
        if isinstance(self._engine, Settled):
            counts = self._engine.run(ports, warmup, batches)
        else:
            count = self._engine.run if self._engine is not None else self._count
            counts = count(ports, self._still(ports), warmup, batches)
        vectors = np.full(batches, (cycles - warmup) * streams // batches)
        ones = counts[..., 3].astype(float)
        for net, clock in self.circuit.clocks.items():
            pulses = counts[:, net, 0] / 2
            ones[:, net] = vectors - pulses / 2 if clock.inverted else pulses / 2
        toggles, settled, start, end = np.moveaxis(counts, -1, 0)
        rising = (toggles + end - start) // 2  # a vector's edges alternate between its ends
        return Batches(vectors, toggles, rising, settled, ones)

    def run_all(
        self,
        rounds: Iterable[Round],
        inputs: Callable[[np.random.Generator, int], Inputs],
        warmup: int,
    ) -> Batches:
        """Count over all rounds; `inputs(generator, streams)` makes the stimulus of one batch."""
        total = None
        for part in rounds:
            made = [inputs(rng, part.streams) for rng in part.generators()]
            joined: Any = {key: _joined([m[key] for m in made]) for key in made[0]}  # type: ignore[index]
            counted = self.run(joined, warmup, len(made))
            total = counted if total is None else total + counted
        assert total is not None
        return total

    def _still(self, ports: Ports) -> tuple[int, ...]:
        """Sources that may stand still because inputs are held: case analysis, not chance."""
        names = {
            net: f"{port}[{i}]"
            for port, nets in self.netlist.inputs.items()
            for i, net in enumerate(nets)
        }
        case = {names[net]: value for net, value in _held(ports)}
        key = frozenset(case.items())
        if key not in self._stills:
            states = case_analysis.states(self.netlist, self.library, case)
            still = (net for net in self.circuit.sources if states[net] is not None)
            self._stills[key] = tuple(still)
        return self._stills[key]

    def _prepare(self, static: Mapping[int, int]) -> Plan:
        key = frozenset(static.items())
        if key not in self._plans:
            self._plans[key] = Plan.of(self.circuit, self.delays, static)
        return self._plans[key]

    def _count(self, ports: Ports, still: Sequence[int], warmup: int, batches: int) -> Counts:
        """As `Engine.run`, in NumPy."""
        cycles, streams = ports[0][1].shape
        inputs = {
            net: (words >> min(i, 62) & 1).astype(np.uint8)
            for nets, words in ports
            for i, net in enumerate(nets)
        }
        trace = Functional(self.circuit).simulate(inputs)
        initial = {n: _words(trace.bits[n][warmup - 1 : -1]) for n in self.circuit.sources}
        final = {n: _words(trace.bits[n][warmup:]) for n in self.circuit.sources}
        values = {n: trace.bits[n][warmup - 1 :] for n in still}
        static = {n: int(b.flat[0]) for n, b in values.items() if b.min() == b.max()}
        plan = self._prepare(static)
        counts = waveform.count(plan, initial, final, batches)
        for net, value in plan.static.items():
            counts[:, net, 2:] = value * (cycles - warmup) * (streams // batches)
        for net in self.circuit.clocks:
            pulses = trace.bits[net][warmup:].reshape(-1, batches, streams // batches).sum((0, 2))
            counts[:, net, :2] = 2 * pulses[:, None]
        return counts


def _ports(netlist: Netlist, circuit: Circuit, inputs: Inputs) -> Ports:
    """Data inputs with their words: bits by net are words of one bit."""
    ports = [
        (netlist.inputs[key], words) if isinstance(key, str) else ((key,), words)
        for key, words in inputs.items()
    ]
    given = {net for nets, _ in ports for net in nets}
    for net in circuit.data_inputs:
        if net not in given:
            raise FlowError(f"{netlist.top}: there is no stimulus for input {netlist.nets[net]}.")
    return ports


def _held(ports: Ports) -> Iterator[tuple[int, int]]:
    """Input nets that one and the same bit is given to, and that bit."""
    for nets, words in ports:
        every, any_ = (int(f.reduce(words, axis=None)) for f in (np.bitwise_and, np.bitwise_or))
        for i, net in enumerate(nets):
            low, high = every >> min(i, 62) & 1, any_ >> min(i, 62) & 1
            if low == high:
                yield net, low


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Streams side by side; one and the same word everywhere stays that."""
    first = parts[0]
    if not any(any(p.strides) or p.flat[0] != first.flat[0] for p in parts):
        return np.broadcast_to(first[:1, :1], (len(first), sum(p.shape[1] for p in parts)))
    return np.concatenate(parts, axis=1)


def _words(bits: Bits) -> Words:
    """Shape (cycles, streams) to one bit per vector, a stream's cycles side by side."""
    packed = np.packbits(np.ascontiguousarray(bits.T), axis=-1, bitorder="little")
    return packed.view(np.uint64).reshape(-1)


def main() -> int:
    """Count a netlist's transitions as the arguments say, write SAIF and print a summary."""
    arguments = _arguments()
    library = Library.load(arguments.liberty)
    netlist = Netlist.load(arguments.netlist, library, arguments.top)
    simulator = Simulator(
        netlist,
        library,
        delays=arguments.delays,
        step_ps=arguments.step_ps,
        reject=arguments.reject,
        threads=arguments.threads,
    )
    ports = PortStimulus.of(simulator.circuit, arguments.stimulus, arguments.hold)
    rounds = stimulus.rounds(arguments.vectors, arguments.seed)
    started = time.perf_counter()
    batches = simulator.run_all(
        console.track(rounds, "simulate", label=lambda r: f"{r.vectors} vectors"),
        lambda rng, streams: ports.words(rng, streams, arguments.warmup),
        arguments.warmup,
    )
    seconds = time.perf_counter() - started
    save(arguments.out, netlist, batches, arguments.clock_ps)
    if arguments.counts is not None:
        save_counts(arguments.counts, netlist, batches)
    _print(netlist, batches, seconds, arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.activity", __doc__)
    add = parser.add_argument
    add("netlist", type=Path, metavar="NETLIST.json")
    add("--liberty", type=Path, help="its library (default: the shipped one)")
    add("--top", help="module, where the file holds several")
    add(
        "--delays", choices=("zero", "nldm"), default="nldm",
        help="zero counts no glitches; nldm, by slew and load, does (default: nldm)",
    )  # fmt: skip
    add(
        "--stimulus", default="uniform", metavar="uniform|gaussian|FILE.npz",
        help="words of the ports: random, bell-shaped on ports w and a, or an array for each port "
        "(default: uniform)",
    )  # fmt: skip
    add("--hold", action="append", default=[], metavar="PORT=VALUE", help="keep a port constant")
    add("--vectors", type=int, default=10_240, metavar="N", help="cycles (default: 10240)")
    add("--warmup", type=int, default=8, metavar="N", help="cycles before counting starts")
    add("--seed", type=int, default=0, metavar="S", help="of the random words (default: 0)")
    add("--step-ps", type=float, default=STEP_PS, help="time step of the simulation")
    add("--reject", type=float, default=REJECT, help="0: transport delays, 1: inertial delays")
    add("--threads", type=int, default=1, metavar="N", help="the counts are the same")
    add(
        "--clock-ps", type=float, default=2000.0, metavar="N",
        help="period that SAIF's times are written for (default: 2000)",
    )  # fmt: skip
    add("--out", type=Path, required=True, metavar="FILE.saif")
    add("--counts", type=Path, metavar="FILE.json", help="rising and falling, by net, too")
    parser.add_json()
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

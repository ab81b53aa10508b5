"""Zero-delay simulation cycle by cycle: what every source net is worth in every cycle.

One bit of a Python integer per independent stream, so that a gate is one operation for all
streams; the gates between registers are compiled to a Python function once. Register contents do
not depend on gate delays, so that the timed simulation needs no more than this to treat every
(stream, cycle) on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.gates.circuit import Circuit, FlipFlop
from flows.netlist import ONE, ZERO

Words = NDArray[np.uint64]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Trace:
    """Values of nets over cycles and streams: `bits[net]` has shape (cycles, streams), 0 or 1.

    Nets are the circuit's sources and its clock nets; of a clock net the value tells whether it
    pulses in that cycle.
    """

    bits: dict[int, Bits]


class _Text:
    """A Python expression that grows as a Boolean function is evaluated on it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __and__(self, other: _Text) -> _Text:
        return _Text(f"({self.text}&{other.text})")

    def __or__(self, other: _Text) -> _Text:
        return _Text(f"({self.text}|{other.text})")

    def __xor__(self, other: _Text) -> _Text:
        return _Text(f"({self.text}^{other.text})")


class Functional:
    """A circuit compiled for cycle-by-cycle simulation."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self._step = _compile(circuit)

    def simulate(self, inputs: Mapping[int, Bits]) -> Trace:
        """Run all streams from registers at 0; `inputs[net]` has shape (cycles, streams).

        Raises FlowError where an asynchronous set or reset becomes active.
        """
        circuit = self.circuit
        cycles, streams = next(iter(inputs.values())).shape
        ones = (1 << streams) - 1
        columns = [_integers(inputs[net]) for net in circuit.data_inputs]
        state = [0] * len(circuit.flipflops)
        clocks = dict.fromkeys(circuit.clocks, ones)
        kept: list[list[int]] = []
        for cycle in range(cycles):
            values, after, enables, alarm = self._step([c[cycle] for c in columns], state, ones)
            if alarm:
                raise circuit.reset_active()
            kept.append([*values, *clocks.values()])
            clocks = _pulses(circuit, enables, ones)
            state = [
                new & clocks[ff.clock] | old & ~clocks[ff.clock]
                for ff, old, new in zip(circuit.flipflops, state, after, strict=True)
            ]
        return _trace(circuit, kept, streams)


def _trace(circuit: Circuit, kept: Sequence[Sequence[int]], streams: int) -> Trace:
    width = (streams + 7) // 8
    nets = (*circuit.sources, *circuit.clocks)
    raw = b"".join(value.to_bytes(width, "little") for row in kept for value in row)
    packed = np.frombuffer(raw, np.uint8).reshape(len(kept), len(nets), width)
    bits = np.unpackbits(packed, axis=-1, bitorder="little")[..., :streams]
    return Trace({net: bits[:, i] for i, net in enumerate(nets)})


def _integers(bits: Bits) -> list[int]:
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _pulses(circuit: Circuit, enables: Mapping[int, int], ones: int) -> dict[int, int]:
    """Which streams each clock net pulses in during the next cycle."""
    pulses: dict[int, int] = {}

    def of(net: int) -> int:
        if net not in pulses:
            clock = circuit.clocks[net]
            pulses[net] = ones if clock.parent is None else of(clock.parent)
            if clock.enables:
                pulses[net] &= _any(enables[e] for e in clock.enables)
        return pulses[net]

    return {net: of(net) for net in circuit.clocks}


def _any(values: Any) -> int:
    total = 0
    for value in values:
        total |= value
    return total


def _compile(circuit: Circuit) -> Callable[..., tuple[list[int], list[int], dict[int, int], int]]:
    """The function (inputs, state, M) -> source values, next states, enables, alarm.

    Only gates that a register or clock gate needs are in it; M is the word of ones.
    """
    enables = {e for clock in circuit.clocks.values() for e in clock.enables}
    names = {ZERO: "0", ONE: "M"}
    lines = [f"  n{net} = inputs[{i}]" for i, net in enumerate(circuit.data_inputs)]
    for i, ff in enumerate(circuit.flipflops):
        lines += [f"  n{q} = state[{i}]{' ^ M' if inv else ''}" for q, inv, _ in ff.outputs]
    body = [
        f"  n{gate.output} = {_text(gate.function, gate.inputs, names)}"
        for gate in circuit.gates
        if gate.output in circuit.needed
    ]
    after = [_next(ff, i, names) for i, ff in enumerate(circuit.flipflops)]
    alarms = [
        _text(f, tuple(ff.inputs[p] for p in f.inputs), names)
        for ff in circuit.flipflops
        for f in ff.asynchronous
    ]
    sources = ", ".join(f"n{net}" for net in circuit.sources)
    gates = ", ".join(f"{e}: {names.get(e, f'n{e}')}" for e in sorted(enables))
    alarm = " | ".join(alarms) or "0"
    lines += body
    lines.append(f"  return [{sources}], [{', '.join(after)}], {{{gates}}}, {alarm}")
    space: dict[str, Any] = {}
    exec("def step(inputs, state, M):\n" + "\n".join(lines), space)
    return space["step"]  # type: ignore[no-any-return]


def _text(function: Any, nets: tuple[int, ...], names: Mapping[int, str]) -> str:
    values = {
        pin: _Text(names.get(net, f"n{net}"))
        for pin, net in zip(function.inputs, nets, strict=True)
    }
    return str(function.evaluate(values, _Text("M")).text)


def _next(ff: FlipFlop, i: int, names: Mapping[int, str]) -> str:
    values = {pin: _Text(names.get(net, f"n{net}")) for pin, net in ff.inputs.items()}
    values[ff.state[0]] = _Text(f"state[{i}]")
    values[ff.state[1]] = _Text(f"(state[{i}]^M)")
    return str(ff.next_state.evaluate(values, _Text("M")).text)

"""Stimulus for the ports of any netlist: random words, words of a file, or held ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.netlist import Netlist
from flows.simulator.code_files import Codes, check_codes, load
from flows.stimulus import CYCLES, KINDS, activations, weights

Maker = Callable[[np.random.Generator, tuple[int, int]], Codes]


@dataclass(frozen=True)
class PortStimulus:
    """Stimulus for the ports of any netlist: every data port random, from a file, or held.

    With "gaussian" the port w gets bell-shaped signed words and a half-normal unsigned ones.
    """

    netlist: Netlist
    ports: tuple[str, ...]
    make: Mapping[str, Maker]
    file: Mapping[str, Codes]

    @classmethod
    def of(cls, circuit: Circuit, kind: str, hold: list[str]) -> PortStimulus:
        """`kind` is uniform, gaussian or a `.npz` with one array a port; `hold` has PORT=VALUE."""
        netlist = circuit.netlist
        data = set(circuit.data_inputs)
        ports = tuple(p for p, nets in netlist.inputs.items() if data.issuperset(nets))
        held = _held(hold, netlist, ports)
        if kind == "gaussian" and not {"w", "a"} & set(ports):
            raise FlowError(
                f"gaussian draws words for the ports w and a, and {netlist.top} has neither; "
                "write its ports' words into a FILE.npz."
            )
        file = load(kind) if kind not in KINDS and Path(kind).suffix == ".npz" else {}
        if not file and kind not in KINDS:
            raise FlowError(f"stimulus {kind!r} is not known; uniform, gaussian or FILE.npz are.")
        for name, codes in file.items():
            if name not in ports:
                raise FlowError(
                    f"stimulus array {name} is no data input of {netlist.top}; "
                    f"{', '.join(ports)} are."
                )
            if name in held:
                raise FlowError(f"port {name} is both held and in {kind}; leave one out.")
            width = len(netlist.inputs[name])
            check_codes(name, codes, -(1 << (width - 1)), (1 << width) - 1, f"port {name}")
        make = {p: held.get(p) or _random(kind, p, len(netlist.inputs[p])) for p in ports}
        return cls(netlist, ports, make, file)

    def words(self, rng: np.random.Generator, streams: int, warmup: int) -> dict[str, Codes]:
        """Words of every data port, shape (warmup + 64, streams); a file is read from a random
        place for every stream, and from its start again after its end."""
        shape = (warmup + CYCLES, streams)
        result: dict[str, Codes] = {}
        length = len(next(iter(self.file.values()))) if self.file else 1
        index = (rng.integers(0, length, streams) + np.arange(shape[0])[:, None]) % length
        for port in self.ports:
            words = self.file[port][index] if port in self.file else self.make[port](rng, shape)
            result[port] = words
        return result


def _held(hold: list[str], netlist: Netlist, ports: tuple[str, ...]) -> dict[str, Maker]:
    held: dict[str, Maker] = {}
    for text in hold:
        port, _, value = text.partition("=")
        if port not in ports or not value.isdecimal():
            raise FlowError(
                f"--hold {text!r} is not understood; write PORT=VALUE with one of "
                f"{', '.join(ports)} and a whole number."
            )
        number = int(value)
        check_codes(port, np.array([number]), 0, (1 << len(netlist.inputs[port])) - 1, port)
        held[port] = partial(_constant, number)
    return held


def _constant(number: int, _: np.random.Generator, shape: tuple[int, int]) -> Codes:
    return np.broadcast_to(np.int64(number), shape)


def _random(kind: str, port: str, width: int) -> Maker:
    if kind == "gaussian" and port == "w":
        return lambda rng, shape: weights(rng, kind, width, shape)
    if kind == "gaussian" and port == "a":
        return lambda rng, shape: activations(rng, kind, width, shape)
    return lambda rng, shape: rng.integers(0, 1 << min(width, 62), shape)

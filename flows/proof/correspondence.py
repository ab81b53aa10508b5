"""Which register of a design is which of its netlist's, where their names do not tell.

Both circuits run from zero with the same random inputs; registers that hold the same values in
every cycle of every stream are taken for each other. A wrong guess makes no wrong circuit pass: the
proof that follows is one for any state in which corresponding registers agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flows.gates.circuit import Circuit
from flows.proof.cut import NEXT, STATE, register_names
from flows.simulator.functional import Functional

CYCLES, STREAMS = 64, 512


def name_registers(module: dict[str, Any], circuit: Circuit) -> tuple[dict[str, Any], set[str]]:
    """The cut design of AND gates and inverters (`aigmap`) with its unnamed registers named.

    Returns the names on one side only as well: registers with no counterpart, or several.
    """
    rng = np.random.default_rng(1)
    bits = {net: _stimulus(rng) for net in circuit.data_inputs}
    ours, theirs = _simulate(module, circuit, bits), _traces(circuit, bits)
    taken = {port.removeprefix(STATE) for port in module["ports"] if port.startswith(STATE)}
    free: dict[bytes, list[str]] = {}
    for name in register_names(circuit) - taken:
        free.setdefault(theirs[name], []).append(name)
    renamed, lone = {}, set()
    for name in (name for name in taken if name.startswith("?")):
        found = free.pop(ours[name], [])
        if len(found) == 1:
            renamed[name] = found[0]
        else:
            lone.add(name)
    lone |= {name for names in free.values() for name in names}
    return module | {"ports": {_renamed(p, renamed): x for p, x in module["ports"].items()}}, lone


def _stimulus(rng: np.random.Generator) -> Any:
    """Bits of one input: in some streams it is rarely one, as a reset must be, in some mostly."""
    ones = rng.choice([0.02, 0.5, 0.98], STREAMS)
    return (rng.random((CYCLES, STREAMS)) < ones).astype(np.uint8)


def _renamed(port: str, names: dict[str, str]) -> str:
    for prefix in (STATE, NEXT):
        if port.startswith(prefix):
            name = port.removeprefix(prefix)
            return prefix + names.get(name, name)
    return port


def _traces(circuit: Circuit, bits: dict[int, Any]) -> dict[str, bytes]:
    """What every register of the netlist holds."""
    trace = Functional(circuit).simulate(bits)
    found = {}
    for register in circuit.flipflops:
        net, inverted, _ = register.outputs[0]
        found[circuit.netlist.nets[net]] = (trace.bits[net] ^ inverted).tobytes()
    return found


def _simulate(module: dict[str, Any], circuit: Circuit, bits: dict[int, Any]) -> dict[str, bytes]:
    """What every register of the design holds, streams as bits of Python integers."""
    ports, gates = module["ports"], _ordered(module)
    inputs = [
        (bit, bits[net])
        for port, nets in circuit.netlist.inputs.items()
        if port in ports
        for bit, net in zip(ports[port]["bits"], nets, strict=True)
    ]
    states = {port.removeprefix(STATE) for port in ports if port.startswith(STATE)}
    held = dict.fromkeys(states, 0)
    rows: dict[str, list[int]] = {name: [] for name in states}
    ones = (1 << STREAMS) - 1
    for cycle in range(CYCLES):
        values: dict[int | str, int] = {"0": 0, "1": ones}
        values |= {bit: _word(column[cycle]) for bit, column in inputs}
        for name in states:
            rows[name].append(held[name])
            values[ports[STATE + name]["bits"][0]] = held[name]
        for output, a, b in gates:
            values[output] = ones ^ values[a] if b is None else values[a] & values[b]
        held = {name: values[ports[NEXT + name]["bits"][0]] for name in states}
    return {name: _bits(column).tobytes() for name, column in rows.items()}


def _word(row: Any) -> int:
    return int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little")


def _bits(column: list[int]) -> Any:
    raw = b"".join(word.to_bytes(STREAMS // 8, "little") for word in column)
    packed = np.frombuffer(raw, np.uint8).reshape(CYCLES, -1)
    return np.unpackbits(packed, axis=1, bitorder="little")


def _ordered(module: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    """(output, input, other input or None) of the gates, each after those that drive it."""
    drivers = {}
    for cell in module["cells"].values():
        pins = cell["connections"]
        other = pins["B"][0] if cell["type"] == "$_AND_" else None
        drivers[pins["Y"][0]] = (pins["Y"][0], pins["A"][0], other)
    order, done, stack = [], set(), list(drivers)
    while stack:
        net = stack[-1]
        if net in done or net not in drivers:
            stack.pop()
            continue
        waiting = [n for n in drivers[net][1:] if n in drivers and n not in done]
        if waiting:
            stack += waiting
        else:
            done.add(net)
            order.append(drivers[stack.pop()])
    return order

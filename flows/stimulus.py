"""Operands for the simulator: uniform codes, bell-shaped codes, or integers from a file.

Weights are signed and symmetric, -(2^(k-1) - 1) .. 2^(k-1) - 1, and {-1, +1} at one bit;
activations are 0 .. 2^k - 1, or signed full range. "gaussian" draws weights from a normal
distribution and activations from a half-normal one whose standard deviation is a quarter of the
range, beyond which codes are clipped: what trained layers and ReLU look like.

Every batch of vectors has a random generator of its own, spawned from the seed, so that results do
not depend on who computes which batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.netlist import Netlist
from flows.simulator.functional import Bits
from hw.rtl.npz import read_npz
from hw.rtl.spec import MacSpec, Mode

Codes = NDArray[np.int64]
Maker = Callable[[np.random.Generator, tuple[int, int]], Codes]
KINDS = ("uniform", "gaussian")
CYCLES = 64  # counted cycles of a stream: one machine word
BATCHES = 16
STREAMS = 64  # of one batch that are simulated at once: memory stays flat as vectors grow
SPREAD = 0.25  # standard deviation of bell-shaped codes, in units of the largest code


@dataclass(frozen=True)
class Round:
    """Vectors that are simulated at once: `streams` streams of 64 cycles for every batch."""

    seed: int
    number: int
    streams: int
    batches: int

    @property
    def vectors(self) -> int:
        """Vectors of all batches."""
        return CYCLES * self.streams * self.batches

    def generators(self) -> list[np.random.Generator]:
        """One for every batch, independent of those of other batches and rounds."""
        keys = ((batch, self.number) for batch in range(self.batches))
        return [np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=k)) for k in keys]


def rounds(vectors: int, seed: int) -> list[Round]:
    """Rounds that hold at least so many vectors, in batches of equal size.

    Raises FlowError for fewer than one vector or a negative seed.
    """
    if vectors < 1:
        raise FlowError(f"the number of vectors must be 1 or more, not {vectors}.")
    if seed < 0:
        raise FlowError(f"the seed must be 0 or more, not {seed}.")
    streams = -(-vectors // CYCLES)
    count = min(BATCHES, streams)
    left = -(-streams // count)
    sizes = [min(STREAMS, left - done) for done in range(0, left, STREAMS)]
    return [Round(seed, number, size, count) for number, size in enumerate(sizes)]


def code_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """Smallest and largest code of an operand with full range."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def weights(rng: np.random.Generator, kind: str, bits: int, shape: tuple[int, ...]) -> Codes:
    """Signed symmetric codes of the given kind and shape; {-1, +1} at one bit."""
    if bits == 1:
        return 2 * rng.integers(0, 2, shape) - 1
    most = (1 << (bits - 1)) - 1
    if kind == "uniform":
        return rng.integers(-most, most, shape, endpoint=True)
    return _bell(rng, shape, -most, most, SPREAD * most)


def activations(
    rng: np.random.Generator, kind: str, bits: int, shape: tuple[int, ...], *, signed: bool = False
) -> Codes:
    """Unsigned codes of the given kind and shape, or signed ones ({-1, +1} at one bit)."""
    if signed:
        return weights(rng, kind, bits, shape)
    low, most = code_range(bits, signed=False)
    if kind == "uniform":
        return rng.integers(low, most, shape, endpoint=True)
    return np.abs(_bell(rng, shape, -most, most, SPREAD * most))


def _bell(
    rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int, sigma: float
) -> Codes:
    return np.clip(np.rint(rng.normal(0.0, sigma, shape)), low, high).astype(np.int64)


def load(path: Path | str) -> dict[str, Codes]:
    """Arrays of a `.npz` file, flattened; FlowError unless all are integers of one length."""
    arrays = _arrays(path)
    if not arrays or len({array.size for array in arrays.values()}) != 1:
        raise FlowError(f"{path} must hold arrays of one length, such as w and a.")
    return arrays


def _arrays(path: Path | str) -> dict[str, Codes]:
    try:
        arrays = read_npz(Path(path))
    except ValueError as error:
        raise FlowError(
            f"{path} is no .npz file of arrays ({error}); write one with numpy.savez."
        ) from None
    for name, array in arrays.items():
        if array.dtype.kind not in "iu" or array.size == 0:
            raise FlowError(f"{path}: array {name} must hold integers, not {array.dtype}.")
    return {name: array.reshape(-1).astype(np.int64) for name, array in arrays.items()}


@dataclass(frozen=True, eq=False)
class OperandFile:
    """Codes of a layer's weights and activations, pair by pair in the order of their products.

    A `.npz` with integer arrays `w` and `a` of one size and, so that the file says all, single
    numbers `w_bits`, `a_bits` and `a_signed` (by default: whether any activation is negative).
    """

    codes: dict[str, Codes]
    bits: tuple[int, int] | None
    a_signed: bool
    sha256: str

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Raises FlowError for what is no such file."""
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        arrays = _arrays(path)
        codes = {name: arrays.pop(name) for name in list(arrays) if name in ("w", "a")}
        if len(codes) != 2 or codes["w"].size != codes["a"].size:
            raise FlowError(f"{path} must hold arrays w and a of one length.")
        given = {n: int(x[0]) for n, x in arrays.items() if n in _NUMBERS and x.size == 1}
        if len(given) != len(arrays) or ("w_bits" in given) != ("a_bits" in given):
            raise FlowError(
                f"{path} may hold, besides w and a, the single numbers w_bits and a_bits (both or "
                f"neither) and a_signed, not {', '.join(sorted(arrays))}."
            )
        bits = (given["w_bits"], given["a_bits"]) if "w_bits" in given else None
        signed = bool(given.get("a_signed", int(codes["a"].min() < 0)))
        return cls(codes, bits, signed, digest)


_NUMBERS = ("w_bits", "a_bits", "a_signed")


def check_codes(name: str, codes: Codes, low: int, high: int, where: str) -> None:
    """Refuse (FlowError) codes outside `low` .. `high`, naming the first."""
    outside = codes[(codes < low) | (codes > high)]
    if outside.size:
        raise FlowError(
            f"stimulus array {name} holds the code {outside[0]}; {where} takes {low} to {high}."
        )


def spread(netlist: Netlist, port: str, words: Codes) -> dict[int, Bits]:
    """Bits of a port's words, net by net; a negative word in two's complement."""
    return {
        net: (words >> min(i, 62) & 1).astype(np.uint8)
        for i, net in enumerate(netlist.inputs[port])
    }


@dataclass(frozen=True)
class Ports:
    """Stimulus for the ports of any netlist: every data port random, from a file, or held.

    With "gaussian" the port w gets bell-shaped signed words and a half-normal unsigned ones.
    """

    netlist: Netlist
    ports: tuple[str, ...]
    make: Mapping[str, Maker]
    file: Mapping[str, Codes]

    @classmethod
    def of(cls, circuit: Circuit, kind: str, hold: list[str]) -> Ports:
        """`kind` is uniform, gaussian or a `.npz` with one array a port; `hold` has PORT=VALUE."""
        netlist = circuit.netlist
        data = set(circuit.data_inputs)
        ports = tuple(p for p, nets in netlist.inputs.items() if data.issuperset(nets))
        held = _held(hold, netlist, ports)
        file = load(kind) if kind not in KINDS and Path(kind).suffix == ".npz" else {}
        if not file and kind not in KINDS:
            raise FlowError(f"stimulus {kind!r} is not known; uniform, gaussian or FILE.npz are.")
        for name, codes in file.items():
            if name not in ports:
                raise FlowError(
                    f"stimulus array {name} is no data input of {netlist.top}; "
                    f"{', '.join(ports)} are."
                )
            width = len(netlist.inputs[name])
            check_codes(name, codes, -(1 << (width - 1)), (1 << width) - 1, f"port {name}")
        make = {p: held.get(p) or _random(kind, p, len(netlist.inputs[p])) for p in ports}
        return cls(netlist, ports, make, file)

    def inputs(self, rng: np.random.Generator, streams: int, warmup: int) -> dict[int, Bits]:
        """Bits of every data input, from the same words."""
        return _bits(self.netlist, self.words(rng, streams, warmup))

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


def mac_inputs(
    spec: MacSpec,
    mode: Mode,
    netlist: Netlist,
    kind: str | Mapping[str, Codes],
    rng: np.random.Generator,
    streams: int,
    warmup: int,
) -> dict[int, Bits]:
    """Bits of every data input of a MAC that runs in `mode`, shape (warmup + 64, streams).

    Every cycle brings new operands, and a new sum starts every 64 cycles. `kind` is uniform,
    gaussian, or arrays w and a of codes, of which every lane of every stream reads a random run.
    """
    return _bits(netlist, mac_words(spec, mode, netlist, kind, rng, streams, warmup))


def mac_words(
    spec: MacSpec,
    mode: Mode,
    netlist: Netlist,
    kind: str | Mapping[str, Codes],
    rng: np.random.Generator,
    streams: int,
    warmup: int,
) -> dict[str, Codes]:
    """The same as words of the ports, shape (warmup + 64, streams), with fewer steps in between;
    constant ones are views of one element."""
    shape = (warmup + CYCLES, streams)
    w, a = _codes(mode, kind, rng, (*shape, mode.lanes))
    clear = np.broadcast_to((np.arange(shape[0]) % CYCLES == 0).astype(np.int64)[:, None], shape)
    words = {**dict(zip(("w", "a"), spec.pack(w, a, mode), strict=True)), "clear": clear}
    held = {"en": 1, **spec.controls(mode)}
    words |= {port: np.broadcast_to(np.int64(value), shape) for port, value in held.items()}
    return {port: words[port] for port in words if port in netlist.inputs}


def _bits(netlist: Netlist, words: Mapping[str, Codes]) -> dict[int, Bits]:
    result: dict[int, Bits] = {}
    for port, values in words.items():
        result |= spread(netlist, port, values)
    return result


def check_operands(mode: Mode, codes: Mapping[str, Codes]) -> None:
    """Refuse (FlowError) arrays w and a with a code that the mode does not take, naming it."""
    where = f"a mode of {mode.w_bits} x {mode.a_bits} bits"
    check_codes("w", codes["w"], *mode.w_range(), where)
    check_codes("a", codes["a"], *mode.a_range(), where)
    binary = ("w",) * (mode.w_bits == 1) + ("a",) * (mode.a_bits == 1 and mode.a_signed)
    for name in binary:
        if not codes[name].all():
            raise FlowError(f"stimulus array {name} holds the code 0; {where} takes -1 and 1.")


def _codes(
    mode: Mode, kind: str | Mapping[str, Codes], rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[Codes, Codes]:
    if isinstance(kind, str):
        return (
            weights(rng, kind, mode.w_bits, shape),
            activations(rng, kind, mode.a_bits, shape, signed=mode.a_signed),
        )
    check_operands(mode, kind)
    length = len(kind["w"])
    start = rng.integers(0, length, shape[1:])
    index = (start + np.arange(shape[0]).reshape(-1, 1, 1)) % length
    return kind["w"][index], kind["a"][index]

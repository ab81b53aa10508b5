"""Operands for the simulator: uniform codes, bell-shaped codes, or integers that are given.

Weights are signed and symmetric, -(2^(k-1) - 1) .. 2^(k-1) - 1, and {-1, +1} at one bit;
activations are 0 .. 2^k - 1, or signed full range. "gaussian" draws weights from a normal
distribution and activations from a half-normal one whose standard deviation is a quarter of the
range, beyond which codes are clipped: what trained layers and ReLU look like.

Every batch of vectors has a random generator of its own, spawned from the seed, so that results do
not depend on who computes which batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flows.console import FlowError
from flows.netlist import Netlist
from flows.simulator.code_files import Codes, check_codes
from flows.simulator.functional import Bits
from hw.rtl.spec import MacSpec, Mode

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


def mac_words(
    spec: MacSpec,
    mode: Mode,
    netlist: Netlist,
    kind: str | Mapping[str, Codes],
    rng: np.random.Generator,
    streams: int,
    warmup: int,
) -> dict[str, Codes]:
    """Words of every data port of a MAC that runs in `mode`, shape (warmup + 64, streams); constant
    ones are views of one element.

    Every cycle brings new operands, and a new sum starts every 64 cycles. `kind` is uniform,
    gaussian, or arrays w and a of codes, of which every lane of every stream reads a random run.
    """
    shape = (warmup + CYCLES, streams)
    w, a = _codes(mode, kind, rng, (*shape, mode.lanes))
    clear = np.broadcast_to((np.arange(shape[0]) % CYCLES == 0).astype(np.int64)[:, None], shape)
    words = {**dict(zip(("w", "a"), spec.pack(w, a, mode), strict=True)), "clear": clear}
    held = {"en": 1, **spec.controls(mode)}
    words |= {port: np.broadcast_to(np.int64(value), shape) for port, value in held.items()}
    return {port: words[port] for port in words if port in netlist.inputs}


def bits_by_net(netlist: Netlist, words: Mapping[str, Codes]) -> dict[int, Bits]:
    """Bits of every net of the ports; a negative word in two's complement."""
    return {
        net: (values >> min(i, 62) & 1).astype(np.uint8)
        for port, values in words.items()
        for i, net in enumerate(netlist.inputs[port])
    }


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

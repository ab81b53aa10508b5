"""Driver, monitor and checker of a MAC, joined by records in files (see hw.tb.wrapper)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.rtl.spec import MacSpec, Mode
from hw.tb.sequences import Sequence
from hw.tb.wrapper import input_ports, padded


class MismatchError(AssertionError):
    """A MAC's accumulator differs from the golden model's; the sentence names the operands."""


def soiled(
    words: NDArray[np.int64], width: int, bits: int, lanes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Words with random bits below the code of each lane."""
    lane = width // lanes
    low = sum(((1 << (lane - bits)) - 1) << (n * lane) for n in range(lanes))
    return words | (rng.integers(0, 1 << width, words.shape) & low)


@dataclass
class Driver:
    """Turns sequences into stimulus records, with garbage wherever the MAC must not look.

    The bits of a lane below its code, and both operands without `en`, are random: it is the mode
    and `en` that hold them at zero, not the caller.
    """

    spec: MacSpec
    seed: int
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def words(self, sequence: Sequence) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Operand words, shape (T,), of a sequence."""
        w, a = self.spec.pack(sequence.w, sequence.a, sequence.mode)
        mode, spec = sequence.mode, self.spec
        w = soiled(w, spec.w_width, mode.w_bits, mode.lanes, self.rng)
        a = soiled(a, spec.a_width, mode.a_bits, mode.lanes, self.rng)
        w_garbage = self.rng.integers(0, 1 << spec.w_width, len(w))
        a_garbage = self.rng.integers(0, 1 << spec.a_width, len(a))
        return np.where(sequence.en, w, w_garbage), np.where(sequence.en, a, a_garbage)

    def records(self, sequence: Sequence) -> NDArray[np.uint8]:
        """Records, shape (T + latency - 1, bytes), the last cycles without `en` to drain."""
        drain = self.spec.latency - 1
        w, a = self.words(sequence)
        values = {"w": w, "a": a, "en": sequence.en, "clear": sequence.clear}
        controls = self.spec.controls(sequence.mode)
        ports = input_ports(self.spec)
        bits = np.zeros((len(sequence) + drain, padded(sum(ports.values()))), dtype=np.uint8)
        at = 0
        for name, width in ports.items():
            if name in controls:
                column, rows = np.int64(controls[name]), slice(None)
            else:
                column, rows = values[name].astype(np.int64)[:, None], slice(len(sequence))
            bits[rows, at : at + width] = (column >> np.arange(width)) & 1
            at += width
        return np.packbits(bits[:, ::-1], axis=1)


@dataclass
class Monitor:
    """Reads the accumulators that belong to a sequence's operands, `latency` edges later."""

    spec: MacSpec

    def accumulators(self, records: NDArray[np.uint32], mode: Mode) -> NDArray:
        """Accumulators, shape (T, accumulators), of result records (T + latency - 1, words)."""
        words = records[self.spec.latency - 1 :].astype(object)
        acc = sum(words[:, n] << (32 * n) for n in range(words.shape[1]))
        return self.spec.unpack(acc, mode)


@dataclass
class Checker:
    """Holds accumulators against the golden model."""

    spec: MacSpec
    seed: int

    def check(self, sequence: Sequence, got: NDArray) -> None:
        """Raises MismatchError, naming the first operands whose result differs."""
        want = sequence.golden(self.spec)
        wrong = np.argwhere(got != want)
        if len(wrong):
            t, lane = wrong[0]
            raise MismatchError(self._sentence(sequence, t, lane, got, want))

    def _sentence(self, sequence: Sequence, t: int, lane: int, got, want) -> str:
        mode = sequence.mode
        return (
            f"{self.spec.name} in mode {mode.w_bits} x {mode.a_bits} bits"
            f"{' signed' if mode.a_signed else ''}, {mode.lanes} lane(s), accumulator {lane}: "
            f"{got[t, lane]} instead of {want[t, lane]} at pair {t} of {sequence.pattern}, "
            f"w = {sequence.w[t].tolist()}, a = {sequence.a[t].tolist()}, "
            f"clear = {int(sequence.clear[t])}, en = {int(sequence.en[t])}; seed {self.seed}."
        )


class Files:
    """Stimulus and result of one simulation, in `folder`."""

    def __init__(self, folder: Path):
        self.stimulus, self.result = folder / "stimulus.bin", folder / "result.bin"

    def plusargs(self) -> list[str]:
        """What tells the simulator where the files are."""
        return [f"+stimulus={self.stimulus}", f"+result={self.result}"]

    def results(self, spec: MacSpec) -> NDArray[np.uint32]:
        """Result records, shape (cycles, words)."""
        raw = np.frombuffer(self.result.read_bytes(), dtype=np.uint32)
        return raw.reshape(-1, padded(spec.acc_width) // 32)

"""Driver, monitor and checker of a MAC, joined by records in files (see hw.tb.wrapper)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.rtl.spec import MacSpec, Mode
from hw.tb import files
from hw.tb.sequences import Sequence
from hw.tb.wrapper import input_ports, latency


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
        seen = sequence.en | (not sequence.garbage)
        return np.where(seen, w, w_garbage), np.where(seen, a, a_garbage)

    def records(self, sequence: Sequence, bits: int) -> NDArray[np.uint32]:
        """Records of so many bits, shape (T + latency - 1, words), as they stand in the file.

        The last cycles are without `en`, to drain the MAC.
        """
        w, a = self.words(sequence)
        controls = self.spec.controls(sequence.mode)
        values = {"w": w, "a": a, "en": sequence.en, "clear": sequence.clear}
        ports, at = input_ports(self.spec), 0
        length = len(sequence) + latency(self.spec) - 1
        words = np.zeros((bits // 32, length), dtype=np.uint64)
        for name, width in ports.items():
            rows = slice(None) if name in controls else slice(len(sequence))
            value = np.asarray(controls.get(name, values.get(name))).astype(np.uint64)
            words[at // 32, rows] |= value << np.uint64(at % 32)
            if at % 32 + width > 32:
                words[at // 32 + 1, rows] |= value >> np.uint64(32 - at % 32)
            at += width
        return words[::-1].T.astype(">u4")  # keeps the low 32 bits


@dataclass
class Monitor:
    """Reads the accumulators that belong to a sequence's operands, `latency` edges later."""

    spec: MacSpec

    def accumulators(self, records: NDArray[np.uint32], mode: Mode) -> NDArray:
        """Accumulators, shape (T, accumulators), of result records (T + latency - 1, words)."""
        count = -(-self.spec.acc_width // 32)
        words = records[latency(self.spec) - 1 :].astype(np.uint64 if count <= 2 else object)
        acc = sum(words[:, n] << (32 * n) for n in range(count))
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


class Files(files.Files):
    """Stimulus and result of one simulation, in `folder`."""

    def __init__(self, folder: Path):
        super().__init__(folder, ("stimulus", "result"))

    def write(self, records: Iterable[NDArray[np.uint32]]) -> None:
        """Write the stimulus."""
        with self.paths["stimulus"].open("wb") as file:
            file.writelines(record.tobytes() for record in records)

    def results(self, bits: int) -> NDArray[np.uint32]:
        """Result records of so many bits, shape (cycles, words)."""
        return np.fromfile(self.paths["result"], dtype=np.uint32).reshape(-1, bits // 32)

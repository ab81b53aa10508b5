"""Our engine on the conventional 16-bit MAC: what it is raced with, its cost and its memory."""

from __future__ import annotations

import os
import statistics
import time
import tracemalloc
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np

from flows.activity import Simulator
from flows.benches import bench_rivals
from flows.benches.bench_rivals import Race, Rates, race_seconds, rates
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator.batches import Batches
from flows.simulator.code_files import Codes
from flows.simulator.functional import Bits
from flows.simulator.waveform import Plan
from flows.stimulus import BATCHES, bits_by_net, mac_words, rounds
from hw.rtl.spec import MacSpec

WARMUP = 8
OURS = "quanos"
OPERATIONS_S = {"nldm": 1_600_000, "zero": 13_000_000}  # drawing them too (docs/benchmarks.md)
LENGTHS = (65_536, 262_144, 1_048_576)  # operations: one round to sixteen
LENGTH_REPEATS = 3


class Bench:
    """One MAC netlist and what is measured on it."""

    def __init__(self, path: Path, vectors: int, seed: int) -> None:
        self.library = Library.load()
        self.netlist = Netlist.load(path, self.library)
        self.vectors, self.seed = vectors, seed
        self.cores = len(os.sched_getaffinity(0))

    @cached_property
    def simulators(self) -> dict[str, Simulator]:
        """By delays, of one thread."""
        return {delays: self._simulator(delays) for delays in OPERATIONS_S}

    def _simulator(self, delays: str, threads: int = 1) -> Simulator:
        return Simulator(self.netlist, self.library, delays=delays, threads=threads)

    def words(
        self, rng: np.random.Generator, streams: int, warmup: int = WARMUP
    ) -> dict[str, Codes]:
        """Uniform operands, every port driven."""
        spec = MacSpec()
        mode = spec.mode(16, 16)
        return mac_words(spec, mode, self.netlist, "uniform", rng, streams, warmup)

    def draw(self, streams: int, warmup: int) -> dict[int, Bits]:
        """The same as bits of every data input."""
        words = self.words(np.random.default_rng(self.seed), streams, warmup)
        return bits_by_net(self.netlist, words)

    def ours(self, delays: str, vectors: int) -> Batches:
        """The whole of `flows.activity` but loading and writing files."""
        simulator = self.simulators[delays]
        return simulator.run_all(rounds(vectors, self.seed), self.words, WARMUP)

    def races(self) -> list[Race]:
        """Every engine that is at hand, ours first."""

        def simulator(delays: str) -> Simulator:
            return self.simulators[delays]

        return [
            *self._ours("nldm"),
            *bench_rivals.of_icarus(simulator, "nldm", self.draw),
            *self._ours("zero"),
            *bench_rivals.of_icarus(simulator, "zero", self.draw),
            *bench_rivals.of_verilator(simulator, self.draw),
            *bench_rivals.of_kyupy(simulator, self.draw),
        ]

    def _ours(self, delays: str) -> list[Race]:
        whole = rounds(self.vectors, self.seed)
        operations = sum(part.vectors for part in whole)
        seconds = race_seconds(operations, OPERATIONS_S[delays])

        def ready(threads: int) -> Rates:
            rng = np.random.default_rng(self.seed)
            made = [self.words(rng, part.streams * part.batches) for part in whole]
            simulator = self._simulator(delays, threads)
            self._run(simulator, made)  # builds the kernel
            clock = time.perf_counter if threads > 1 else None
            return rates(partial(self._run, simulator, made), operations, clock)

        def drawn() -> Rates:
            self.ours(delays, 64)
            return rates(partial(self.ours, delays, self.vectors), operations)

        threaded = f"{OURS}, {self.cores} threads, by the clock on the wall"
        return [
            Race(OURS, delays, seconds, partial(ready, 1)),
            Race(f"{OURS}, drawing operands too", delays, seconds, drawn),
            Race(threaded, delays, seconds, partial(ready, self.cores)),
        ]

    def _run(self, simulator: Simulator, made: list[dict[str, Codes]]) -> None:
        for words in made:
            simulator.run(words, WARMUP, BATCHES)

    @cached_property
    def _plan(self) -> Plan:
        simulator = self.simulators["nldm"]
        return Plan.of(simulator.circuit, simulator.delays, {})

    @property
    def steps(self) -> int:
        """Steps in which nets can change, of all nets together."""
        return sum(window.rows for window in self._plan.windows.values())

    @property
    def once_bytes(self) -> float:
        """Bytes a vector, were every net written once and read once by every gate that reads it."""
        read = sum(window.rows for task in self._plan.tasks for window in task.inputs)
        return (self.steps + read) / 8

    @cache  # noqa: B019 - one bench lives as long as the command
    def ns_per_vector(self, vectors: int) -> float:
        """Processor time of a timed run for each of so many operations, drawing them included."""
        found = rates(partial(self.ours, "nldm", vectors), vectors, repeats=LENGTH_REPEATS)
        return 1e9 / statistics.median(found)

    @cache  # noqa: B019 - one bench lives as long as the command
    def peak_mib(self, vectors: int) -> float:
        """Memory that a run takes at most, arrays included."""
        tracemalloc.start()
        self.simulators["nldm"] = self._simulator("nldm")  # its buffers too
        self.ours("nldm", vectors)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 2**20

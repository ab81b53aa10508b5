"""cocotb bench of a MAC: every mode of its spec against `MacSpec.compute`.

hw.tb.harness starts it and says through the environment (BENCH, a JSON object) which MAC to test.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, Timer
from numpy.typing import NDArray

from hw.rtl.spec import MacSpec
from hw.tb.drivers import Checker, Driver, Files, Monitor
from hw.tb.files import telling
from hw.tb.mac_coverage import MacCoverage
from hw.tb.sequences import Sequence, all_modes, sequences

BATCH = 200_000  # vectors that are in memory at a time


class Testbench:
    """One MAC with its driver, monitor and checker."""

    __test__ = False

    def __init__(self, dut, spec: MacSpec, design: int, seed: int, folder: Path):
        self.dut, self.design, self.spec = dut, design, spec
        self.driver, self.monitor = Driver(spec, seed), Monitor(spec)
        self.checker, self.files = Checker(spec, seed), Files(folder)
        self.vectors, self.simulation_s = 0, 0.0

    async def run(self, batch: list[Sequence]) -> None:
        """Simulate and check the sequences of `batch`; raises MismatchError."""
        records = self.records(batch)
        for sequence, got in zip(batch, await self.apply(batch, records), strict=True):
            self.checker.check(sequence, got)

    def records(self, batch: list[Sequence]) -> list[NDArray]:
        """Each sequence's stimulus."""
        return [self.driver.records(sequence, len(self.dut.data)) for sequence in batch]

    async def apply(self, batch: list[Sequence], records: list[NDArray]) -> list[NDArray]:
        """Simulate the records; returns each sequence's accumulators."""
        self.files.write(records)
        began = time.process_time()
        await self._simulate()
        self.simulation_s += time.process_time() - began
        self.vectors += sum(map(len, batch))
        ends = np.cumsum([len(record) for record in records])
        results = np.split(self.files.results(len(self.dut.acc)), ends[:-1])
        return [
            self.monitor.accumulators(result, sequence.mode)
            for result, sequence in zip(results, batch, strict=True)
        ]

    async def _simulate(self) -> None:
        self.dut.chosen.value = self.design
        self.dut.go.value = 0
        await Timer(1, "ns")
        self.dut.go.value = 1
        await RisingEdge(self.dut.finished)


def batches(items: Iterable[Sequence], size: int = BATCH) -> Iterator[list[Sequence]]:
    """The sequences in groups of about `size` vectors."""
    batch: list[Sequence] = []
    for sequence in items:
        batch.append(sequence)
        if sum(map(len, batch)) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


@cocotb.test()
async def every_mode(dut):
    task = json.loads(os.environ["BENCH"])
    spec = MacSpec(**task["spec"])
    folder, seed = Path(task["folder"]), task["seed"]
    modes, coverage = all_modes(spec), MacCoverage(spec)
    bench = Testbench(dut, spec, task["design"], seed, folder)
    items = (s for mode in modes for s in sequences(mode, task["vectors"], seed))
    with telling(folder) as outcome:
        outcome["modes"] = len(modes)
        try:
            for batch in batches(items):
                await bench.run(batch)
                for sequence in batch:
                    coverage.sample(sequence)
            outcome["coverage"] = [asdict(summary) for summary in coverage.summaries()]
        finally:
            outcome |= {"vectors": bench.vectors, "simulation_s": bench.simulation_s}

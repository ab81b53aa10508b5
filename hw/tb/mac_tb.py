"""cocotb bench of a MAC: every mode of its spec against `MacSpec.compute`.

hw.tb.harness starts it and says through the environment (BENCH, a JSON object) which MAC to test.
"""

import json
import os
import time
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge

from hw.rtl.spec import MacSpec
from hw.tb.drivers import Checker, Driver, Files, Monitor
from hw.tb.sequences import all_modes, sequences


class Testbench:
    """One MAC with its driver, monitor and checker."""

    __test__ = False

    def __init__(self, dut, spec: MacSpec, design: int, seed: int, folder: Path):
        self.dut, self.design, self.spec = dut, design, spec
        self.driver, self.monitor = Driver(spec, seed), Monitor(spec)
        self.checker, self.files = Checker(spec, seed), Files(folder)

    async def run(self, batch) -> float:
        """Simulate and check the sequences of `batch`; returns the simulator's seconds."""
        records = [self.driver.records(sequence) for sequence in batch]
        with self.files.stimulus.open("wb") as file:
            file.writelines(record.tobytes() for record in records)
        began = time.perf_counter()
        await self._simulate()
        seconds = time.perf_counter() - began
        results, at = self.files.results(self.spec), 0
        for sequence, record in zip(batch, records, strict=True):
            got = self.monitor.accumulators(results[at : at + len(record)], sequence.mode)
            self.checker.check(sequence, got)
            at += len(record)
        return seconds

    async def _simulate(self) -> None:
        self.dut.chosen.value = self.design
        self.dut.go.value = 1
        await RisingEdge(self.dut.finished)


@cocotb.test()
async def every_mode(dut):
    task = json.loads(os.environ["BENCH"])
    spec = MacSpec(**task["spec"])
    folder, seed = Path(task["folder"]), task["seed"]
    batch = [
        sequence
        for mode in all_modes(spec)
        for sequence in sequences(spec, mode, task["vectors"], seed)
    ]
    bench = Testbench(dut, spec, task["design"], seed, folder)
    outcome = {"modes": len(all_modes(spec)), "vectors": sum(map(len, batch))}
    try:
        outcome["simulation_s"] = await bench.run(batch)
    except AssertionError as error:
        outcome["error"] = str(error)
        raise
    finally:
        (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")

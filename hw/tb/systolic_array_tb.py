"""cocotb bench of a systolic array: products back to back, under stalls, against NumPy's.

hw.tb.array_harness starts it and says through the environment (BENCH, a JSON object) which array to
test.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, Timer
from numpy.typing import NDArray

from hw.rtl.spec import ArraySpec, Tile
from hw.tb.drivers import MismatchError
from hw.tb.files import telling
from hw.tb.products import Plan, Product, cover, crosses, longest, without_stalls
from hw.tb.streams import Driver, Files, Monitor


@dataclass
class Run:
    """What a batch of products gave: sums' words and cycles, beat by beat, and the array's own.

    `seconds` is the simulation's time by the clock, `processor_s` by this process' processor.
    """

    passed: NDArray[np.uint32]
    words: NDArray[Any]
    cycles: int
    broken: int
    seconds: float
    processor_s: float


class Testbench:
    """One array with its drivers, monitor and checker."""

    __test__ = False

    def __init__(self, dut, spec: ArraySpec, design: int, seed: int, folder: Path):
        self.dut, self.spec, self.design, self.seed = dut, spec, design, seed
        self.monitor, self.files = Monitor(spec), Files(folder)
        self.rng = np.random.default_rng([seed, 1])

    async def run(self, products: Sequence[Product]) -> Run:
        """Reset the array and send it the products without a pause but their stalls."""
        driver = Driver(self.spec, self.rng)
        for product in products:
            driver.drive(product)
        self.files.write(driver)
        return await self._simulate()

    async def _simulate(self) -> Run:
        began, worked = time.perf_counter(), time.process_time()
        self.dut.go.value = 0
        self.dut.chosen.value = self.design
        await Timer(1, "ns")
        self.dut.go.value = 1
        await RisingEdge(self.dut.finished)
        seconds, worked = time.perf_counter() - began, time.process_time() - worked
        passed, words = self.monitor.beats(self.files.paths["sums"].read_bytes())
        cycles, broken = int(self.dut.cycles.value), int(self.dut.broken.value)
        return Run(passed, words, cycles, broken, seconds, worked)


@dataclass(frozen=True)
class Checker:
    """Holds the sums of a run against NumPy's integer products."""

    spec: ArraySpec
    seed: int

    def check(self, products: Sequence[Product], run: Run) -> list[NDArray[np.int64]]:
        """The products' sums (M, N), as the array gave them.

        Raises MismatchError, naming the first product and operands whose result differs.
        """
        name = self.spec.name
        if run.broken:
            raise MismatchError(
                f"{name} withdrew or changed an offered beat of sums in {run.broken} cycles; "
                f"seed {self.seed}."
            )
        at, found = 0, []
        for index, product in enumerate(products):
            sums = np.zeros((len(product.a), product.w.shape[1]), np.int64)
            for tile in product.tiles(self.spec):
                if tile.emit:
                    words = run.words[at : at + tile.beats]
                    sums[tile.m, tile.n] = self._check_tile(index, product, tile, words)
                    at += tile.beats
            found.append(sums)
        if at != len(run.words):
            raise MismatchError(
                f"{name} gave {len(run.words)} beats of sums instead of {at}; seed {self.seed}."
            )
        return found

    def _check_tile(
        self, index: int, product: Product, tile: Tile, words: NDArray[Any]
    ) -> NDArray[Any]:
        where = (
            f"{self.spec.name}, product {index} ({product}), tile m {_span(tile.m)}, "
            f"n {_span(tile.n)}"
        )
        if len(words) < tile.beats:
            raise MismatchError(
                f"{where}: {len(words)} beats of sums instead of {tile.beats}, and the array "
                f"stands still; seed {self.seed}."
            )
        got = self.spec.unpack(words, tile, product.mode)
        want = product.a[tile.m] @ product.w[:, tile.n] << self.spec.mac.shift(product.mode)
        wrong = np.argwhere(got != want)
        if len(wrong):
            i, j = wrong[0]
            a, w = product.a[tile.m][i], product.w[:, tile.n][:, j]
            raise MismatchError(
                f"{where}: {got[i, j]} instead of {want[i, j]} at m {tile.m.start + i}, "
                f"n {tile.n.start + j}, a = {_short(a)}, w = {_short(w)}; seed {self.seed}."
            )
        return got >> self.spec.mac.shift(product.mode)


def _span(part: slice) -> str:
    return f"{part.start}..{part.stop - 1}"


def _short(codes: NDArray[np.int64]) -> str:
    """Codes as a list; of many, the first and how many."""
    shown = codes[:32].tolist()
    return f"{shown}" if len(codes) <= 32 else f"{shown} and {len(codes) - 32} more"


async def count_cycles(bench: Testbench, products: Sequence[Product]) -> int:
    """Hold `ArraySpec.cycles` against an array that nothing stalls; returns the cycles."""
    total = 0
    for product in products:
        run = await bench.run([product])
        Checker(bench.spec, bench.seed).check([product], run)
        took, stated = int(run.passed[-1]) + 1, bench.spec.cycles(*product.shape, product.mode)
        if took != stated:
            raise MismatchError(
                f"{bench.spec.name}, {product}: {took} cycles, and the spec states {stated}; "
                f"seed {bench.seed}."
            )
        total += took
    return total


async def test_array(bench: Testbench, outcome: dict[str, Any]) -> None:
    """Every goal of the plan, the longest sums, and the cycles without stalls."""
    spec, seed = bench.spec, bench.seed
    products = [*Plan(spec, seed).products(), *longest(spec)]
    run = await bench.run(products)
    Checker(spec, seed).check(products, run)
    found = crosses(spec)
    cover(spec, products, found)
    macs = sum(math.prod(product.shape) for product in products)
    outcome |= {"products": len(products), "macs": macs, "cycles": run.cycles}
    outcome |= {"tiles": sum(len(p.tiles(spec)) for p in products), "simulation_s": run.seconds}
    outcome["coverage"] = [asdict(cross.summary()) for cross in found]
    outcome["exact"] = await count_cycles(bench, without_stalls(spec, 20, seed))


@cocotb.test()
async def products_under_stalls(dut):
    task = json.loads(os.environ["BENCH"])
    folder, spec = Path(task["folder"]), ArraySpec(**task["spec"])
    with telling(folder) as outcome:
        await test_array(Testbench(dut, spec, task["design"], task["seed"], folder), outcome)

"""cocotb bench of a MAC's mutants: the MAC's own, on each mutant until its first mismatch.

The design has a port `mutant` (`flows.mutate`); 0 is the circuit as it is, which has to pass.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cocotb
import numpy as np

from hw.rtl.spec import MacSpec
from hw.tb.drivers import MismatchError
from hw.tb.files import telling
from hw.tb.mac_tb import Testbench, batches
from hw.tb.sequences import Sequence, all_modes, sequences

FIRST = 100  # cycles of each sequence in the first round, which most mutants do not survive


def rounds(spec: MacSpec, vectors: int, seed: int) -> Iterator[list[Sequence]]:
    """Batches, the quickest to find a fault first.

    The heads of the corners in the modes of equal bits, then the corners and the random pairs of
    every mode, and the extremes of the modes of equal bits. What the bench of the MAC applies
    besides, all pairs and the other extremes, is left out.
    """
    equal = set(spec.modes())
    every = {
        mode: [
            s
            for s in sequences(mode, vectors, seed)
            if s.pattern in ("corners", "random") or (s.pattern == "extremes" and mode in equal)
        ]
        for mode in all_modes(spec)
    }
    yield [every[mode][0].head(FIRST) for mode in spec.modes()]
    yield from batches((sequence for found in every.values() for sequence in found), 50_000)


async def mutate(bench: Testbench, prepared, mutant: int) -> str:
    """The first mismatch of a mutant, a sentence; empty where it survives."""
    bench.dut.mutant.value = mutant
    for batch, records, golden in prepared:
        found = await bench.apply(batch, records)
        for sequence, got, want in zip(batch, found, golden, strict=True):
            if not np.array_equal(got, want):
                try:
                    bench.checker.check(sequence, got)
                except MismatchError as error:
                    return str(error)
    return ""


@cocotb.test()
async def every_mutant(dut):
    task = json.loads(os.environ["BENCH"])
    spec, folder = MacSpec(**task["spec"]), Path(task["folder"])
    bench = Testbench(dut, spec, task["design"], task["seed"], folder)
    prepared = [
        (batch, bench.records(batch), [sequence.golden(spec) for sequence in batch])
        for batch in rounds(spec, task["vectors"], task["seed"])
    ]
    with telling(folder) as outcome:
        outcome |= {"error": await mutate(bench, prepared, 0), "found": {}}
        if not outcome["error"]:
            for mutant in task["mutants"]:
                outcome["found"][mutant] = await mutate(bench, prepared, mutant)
        outcome |= {"vectors": bench.vectors, "simulation_s": bench.simulation_s}

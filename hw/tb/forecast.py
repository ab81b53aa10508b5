"""The plan of the MACs' bench, `python -m hw.tb.harness --plan`: its vectors are counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hw.plan import Plan, Step
from hw.rtl.spec import MacSpec
from hw.tb.sequences import all_modes, sequences

VECTORS_PER_S = 530_000
"""Of processor time in the simulator, Verilog of any scheme (docs/verification.md)."""

BUILD_S = 2.5
"""Of building the simulator, a MAC (docs/verification.md: 50 s for 19)."""


def plan(specs: Sequence[MacSpec], build: Path, vectors: int, seed: int, jobs: int) -> Plan:
    """A step for building the simulator of the MACs, and one for each MAC."""
    steps = [
        Step(name="simulator", work="built, or kept from before", seconds=BUILD_S * len(specs))
    ]
    for spec in specs:
        modes = all_modes(spec)
        count = sum(len(s) for mode in modes for s in sequences(spec, mode, vectors, seed))
        work = f"{len(modes)} modes, {count} vectors"
        steps.append(Step(name=spec.name, work=work, seconds=count / VECTORS_PER_S))
    basis = (
        f"{VECTORS_PER_S} vectors a second and {BUILD_S:g} s of building a MAC of Verilog "
        "(docs/verification.md); netlists take longer"
    )
    return Plan(steps=steps, writes=[f"{build}/"], basis=basis, workers=jobs)

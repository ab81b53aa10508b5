"""The plans of the benches (`--plan`): vectors, arrays and a network's MACs are counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hw.plan import Plan, Step
from hw.rtl.spec import ArraySpec, MacSpec
from hw.tb.sequences import all_modes, count_vectors

# What docs/verification.md measured, of processor time.
VECTORS_PER_S = 530_000
"""Vectors a second in the simulator, Verilog of any scheme."""

BUILD_S = 2.5
"""Seconds of building the simulator, a MAC: 50 s for 19."""

ELEMENT_S = 2.2
"""Seconds of building the simulator, an element of 16 bits: 142 s for 64; a smaller multiplier's
grow with its area."""

ARRAY_S = 2.5
"""Seconds of simulating what an array's bench sends: 2,562 to 49,586 cycles at 14,000 to 37,000 a
second."""

MACS_PER_S = 5_000_000
"""Multiply-accumulates a second of a network on one simulator."""

KEPT = "built, or kept from before"
SOURCE = "docs/verification.md"


def plan(specs: Sequence[MacSpec], build: Path, vectors: int, jobs: int) -> Plan:
    """A step for building the simulator of the MACs, and one for each MAC."""
    steps = [Step(name="simulator", work=KEPT, seconds=BUILD_S * len(specs))]
    for spec in specs:
        modes = all_modes(spec)
        count = sum(count_vectors(mode, vectors) for mode in modes)
        work = f"{len(modes)} modes, {count} vectors"
        steps.append(Step(name=spec.name, work=work, seconds=count / VECTORS_PER_S))
    basis = (
        f"{VECTORS_PER_S} vectors a second and {BUILD_S:g} s of building a MAC of Verilog "
        f"({SOURCE}); netlists take longer"
    )
    return Plan(steps=steps, writes=[f"{build}/"], basis=basis, workers=jobs)


def array_plan(specs: Sequence[ArraySpec], build: Path, jobs: int) -> Plan:
    """A step for building the simulator of the arrays, and one for each array."""
    steps = [Step(name="simulator", work=KEPT, seconds=sum(map(_build_s, specs)))]
    for spec in specs:
        work = f"{_elements(spec)} element(s)"
        steps.append(Step(name=spec.name, work=work, seconds=ARRAY_S))
    basis = f"{ELEMENT_S:g} s of building an element of 16 bits ({SOURCE}); netlists take longer"
    return Plan(steps=steps, writes=[f"{build}/"], basis=basis, workers=jobs)


def network_plan(spec: ArraySpec, macs: int, build: Path, out: Path | None, jobs: int) -> Plan:
    """The build of the array's simulator, then the network on `jobs` of them at a time."""
    work, seconds = f"{macs} MACs on {jobs} simulator(s)", macs / MACS_PER_S / jobs
    steps = [
        Step(name="simulator", work=KEPT, seconds=_build_s(spec)),
        Step(name=spec.name, work=work, seconds=seconds),
    ]
    basis = (
        f"{MACS_PER_S} MACs a second of a simulator and {ELEMENT_S:g} s of building an element of "
        f"16 bits ({SOURCE})"
    )
    return Plan(steps=steps, writes=[f"{build}/", *([f"{out}"] if out else [])], basis=basis)


def _elements(spec: ArraySpec) -> int:
    return spec.rows * spec.columns


def _build_s(spec: ArraySpec) -> float:
    return ELEMENT_S * _elements(spec) * spec.w_width * spec.a_width / 256

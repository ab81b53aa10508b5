"""The plans of the benches (`--plan`): vectors, arrays and a network's MACs are counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hw.plan import Plan, Step
from hw.rtl.spec import ArraySpec, MacSpec
from hw.tb.sequences import all_modes, sequences

VECTORS_PER_S = 530_000
"""Of processor time in the simulator, Verilog of any scheme (docs/verification.md)."""

BUILD_S = 2.5
"""Of building the simulator, a MAC (docs/verification.md: 50 s for 19)."""


def plan(specs: Sequence[MacSpec], build: Path, vectors: int, seed: int, jobs: int) -> Plan:
    """A step for building the simulator of the MACs, and one for each MAC."""
    steps = [Step(name="simulator", work=KEPT, seconds=BUILD_S * len(specs))]
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


ELEMENT_S = 2.2
"""Of building the simulator, an element of 16 bits (docs/verification.md: 142 s for 64); a smaller
multiplier's grows with its area."""

ARRAY_S = 2.5
"""Of simulating what an array's bench sends (docs/verification.md: 2,562 to 49,586 cycles at 14,000
to 37,000 a second)."""

MACS_PER_S = 5_000_000
"""Of a network on one simulator (docs/verification.md)."""

KEPT = "built, or kept from before"


def array_plan(specs: Sequence[ArraySpec], build: Path, jobs: int) -> Plan:
    """A step for building the simulator of the arrays, and one for each array."""
    steps = [Step(name="simulator", work=KEPT, seconds=sum(map(_build_s, specs)))]
    for spec in specs:
        steps.append(Step(name=spec.name, work=f"{_elements(spec)} elements", seconds=ARRAY_S))
    basis = (
        f"{ELEMENT_S:g} s of building an element of 16 bits (docs/verification.md); netlists take "
        "longer"
    )
    return Plan(steps=steps, writes=[f"{build}/"], basis=basis, workers=jobs)


def network_plan(spec: ArraySpec, macs: int, build: Path, out: Path | None, jobs: int) -> Plan:
    """The build of the array's simulator, then the network on `jobs` of them at a time."""
    steps = [
        Step(name="simulator", work=KEPT, seconds=_build_s(spec)),
        Step(
            name=spec.name,
            work=f"{macs} MACs on {jobs} simulator(s)",
            seconds=macs / MACS_PER_S / jobs,
        ),
    ]
    basis = (
        f"{MACS_PER_S} MACs a second of a simulator and {ELEMENT_S:g} s of building an element of "
        "16 bits (docs/verification.md)"
    )
    return Plan(steps=steps, writes=[f"{build}/", *([f"{out}"] if out else [])], basis=basis)


def _elements(spec: ArraySpec) -> int:
    return spec.rows * spec.columns


def _build_s(spec: ArraySpec) -> float:
    return ELEMENT_S * _elements(spec) * spec.w_width * spec.a_width / 256

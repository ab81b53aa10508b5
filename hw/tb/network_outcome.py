"""What arrays made of a network: their work together, the images' classes, and both as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hw.rtl.layers import Layer
from hw.rtl.spec import ArraySpec
from hw.tb.head import Head


@dataclass(frozen=True, kw_only=True)
class NetworkOutcome:
    """What the arrays did, one a simulator.

    `cycles` are those of all of them. `clock_s` is the wall clock's time of the simulation that
    took longest, `processor_s` the processor's. `classes` follow from the array's sums of the last
    layer, `same_class` counts those that the trainer's network gives; neither without a head.
    """

    macs: int = 0
    tiles: int = 0
    modes: int = 0
    cycles: int = 0
    simulators: int = 1
    clock_s: float = 0.0
    processor_s: float = 0.0
    classes: tuple[int, ...] = ()
    same_class: int = 0
    error: str = ""


def merged(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The simulators' outcomes as one."""
    sums = {name: sum(one[name] for one in told) for name in ("macs", "tiles", "cycles")}
    longest = {name: max(one[name] for one in told) for name in ("clock_s", "processor_s")}
    modes = {mode for one in told for mode in one["modes"]}
    return sums | longest | {"modes": len(modes), "simulators": len(told)}


def classified(head: Head, sums: Any) -> dict[str, Any]:
    """The classes of the last layer's sums, beside the trainer's."""
    classes = tuple(head.compute(sums).argmax(1).tolist())
    same = sum(own == given for own, given in zip(classes, head.classes, strict=True))
    told = {"classes": classes, "same_class": same}
    if same < len(classes):
        told["error"] = (
            f"the array's sums give the classes {list(classes)}, the trainer's network "
            f"{head.classes}."
        )
    return told


def text(layers: list[Layer], spec: ArraySpec, outcome: NetworkOutcome) -> str:
    """The layers with their modes, and what the array did."""
    lines = [f"{'layer':24}{'bits':>5}{'lanes':>6}{'activations':>12}{'M x K x N':>18}{'MACs':>12}"]
    for layer in layers:
        mode, (m, k, n) = layer.mode(spec.mac), layer.shape
        shape = (f"{layer.groups} x " if layer.groups > 1 else "") + f"{m} x {k} x {n}"
        sign = "signed" if layer.a_signed else "unsigned"
        lines.append(
            f"{layer.name:24}{layer.bits:>5}{mode.lanes:>6}{sign:>12}{shape:>18}{layer.macs:>12}"
        )
    lines.append(
        f"{spec.name}: {outcome.macs} MACs of {layers[0].images} image(s) in {outcome.tiles} tiles "
        f"and {outcome.modes} modes, {outcome.cycles} cycles"
    )
    if not outcome.error:
        lines.append(
            f"{outcome.simulators} simulator(s): {outcome.macs / outcome.clock_s:.3g} MACs/s by "
            f"the clock, {outcome.macs / outcome.processor_s:.3g} by their processor time"
        )
    if outcome.classes:
        lines.append(
            f"classes {' '.join(map(str, outcome.classes))}: the trainer's for "
            f"{outcome.same_class} of {len(outcome.classes)} images"
        )
    return "\n".join(lines)

"""What `quanos attack` prints of its result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quanos.results import PASSES

ALONE = "one attack alone is an upper bound; the gate's verdict comes without --attack"


def lines(result: dict[str, Any]) -> Iterator[str]:
    """A line per attack, then the gate; what a masked network withstands is marked as none."""
    yield f"clean accuracy {100 * result['clean_accuracy']:.2f} % on {result['images']} images"
    gate = result.get("gate")
    masked = "; masked: no robustness" if gate and gate["verdict"] != PASSES else ""
    for part in ("rows", "paper", "strong"):
        for row in result.get(part, ()):
            yield _attacked("" if part == "rows" else part, row) + masked
    yield from _gate(gate) if gate else [ALONE]


def _attacked(label: str, row: dict[str, Any]) -> str:
    tried = f", tried on {row['tried']}" if "tried" in row else ""
    return (
        f"{label:7}{row['attack']:16} epsilon {row['epsilon']:.4f}: accuracy "
        f"{100 * row['accuracy']:6.2f} %, adversarial loss "
        f"{100 * row['adversarial_loss']:6.2f} points{tried}"
    )


def _gate(gate: dict[str, Any]) -> Iterator[str]:
    for name, reason in gate.get("absent", {}).items():
        yield f"absent {name}: {reason}"
    for row in gate["rows"]:
        yield (
            f"gate   epsilon {row['epsilon']:.4f}: {100 * row['survives_rounding']:.1f} % of "
            "adversarial images survive rounding to 8 bits"
        )
    yield f"gate   {100 * gate['zero_gradient_share']:.1f} % of the gradients are zero"
    yield f"gate: {gate['verdict']}"

"""What a finished run's files hold, as `quanos.results` reads it; units as in `summary.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quanos.storage.jsonfile import printable

PASSES = "passes"
"""The gate's verdict on a network whose accuracy under attack can be read; others say why not."""

WORST_CASE = "worst_case"


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """Accuracy under one attack; shares of 1, epsilon in pixel space."""

    attack: str
    epsilon: float
    accuracy: float
    adversarial_loss: float


@dataclass(frozen=True, kw_only=True)
class Price:
    """Energy of one image; `ratio_to_16` is to 16 bits, same scheme, reading and supply."""

    scheme: str
    reading: str
    supply: str
    energy_mj: float
    ratio_to_16: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the operating point."""
        return self.scheme, self.reading, self.supply


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Accuracies (shares of 1) of attacks that must be ordered at one epsilon.

    What older summaries do not tell is None.
    """

    epsilon: float
    fgsm_accuracy: float
    noise_accuracy: float
    pgd_accuracy: float
    white_box_accuracy: float | None = None
    worst_accuracy: float | None = None
    survives_rounding: float | None = None


@dataclass(frozen=True, kw_only=True)
class Longer:
    """What more steps and restarts leave of the accuracy under the worst case."""

    epsilon: float
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whether the attacks can be believed, and the numbers that this stands on."""

    verdict: str
    zero_gradient_share: float
    accuracy_at_half: float
    rows: tuple[Comparison, ...]
    longer: Longer | None = None
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def masked(self) -> bool:
        """Gradients are masked: accuracy under attack is no robustness."""
        return self.verdict != PASSES


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of sensing, after `epoch`, and the bits that were assigned.

    `stopped` says why they were undone and rounds ended; None where they were not.
    """

    epoch: int
    ans: dict[str, float]
    bits: dict[str, int]
    stopped: str | None = None

    @property
    def mean_bits(self) -> float:
        """Mean over all layers."""
        return sum(self.bits.values()) / max(len(self.bits), 1)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of `metrics.jsonl`."""

    epoch: float
    loss: float
    test_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Column:
    """One trained network; the fields are described in `quanos.training.experiment`."""

    name: str
    policy: str
    bits: dict[str, int]
    mean_bits: float
    epochs: int
    sense_epoch: int
    rounds: tuple[Round, ...]
    ans_final: dict[str, float]
    clean_accuracy: float
    attacked_images: int
    paper: tuple[Attacked, ...]
    strong: tuple[Attacked, ...]
    gate: Gate
    macs: int
    memory_gbit: float
    memory_compression: float
    prices: dict[tuple[str, str, str], Price]
    metrics: tuple[Epoch, ...]

    @property
    def title(self) -> str:
        """The column's name in words."""
        if self.name.isdigit():
            return f"{self.name} bit"
        if self.name == "mean":
            return f"{self.mean_bits:.0f} bit (rounded mean)"
        return "QUANOS" if self.name == "quanos" else self.name

    @property
    def worst_case(self) -> tuple[Attacked, ...]:
        """The strong protocol's result, an entry per epsilon."""
        return tuple(row for row in self.strong if row.attack == WORST_CASE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run; the first column is the network by the run's policy."""

    folder: Path
    dataset: str
    model: str
    input_shape: tuple[int, ...]
    classes: int
    seed: int
    table_sha256: str
    columns: tuple[Column, ...]
    summary: dict[str, Any]
    origin: dict[str, Any]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder as it was named."""
        return printable(str(self.folder))

    @property
    def main(self) -> Column:
        """The network that the run is about."""
        return self.columns[0]

    @property
    def baselines(self) -> tuple[Column, ...]:
        """The uniform networks trained beside it."""
        return self.columns[1:]

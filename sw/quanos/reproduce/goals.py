"""What was asked of the runs, as limits on numbers of theirs, and whether it was met."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from quanos.reproduce import record, tables

Run = dict[str, Any]
Value = Callable[[Run], float | None]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A number of a run of `experiment` at `scale`, of several seeds the worst one's.

    `sense` says which side of the limit is good: `at least` or `at most`. One of robustness
    (`robust`) has no value where the gate finds QUANOS masked in a run.
    """

    experiment: str
    scale: str
    text: str
    value: Value
    sense: str
    limit: float
    unit: str
    robust: bool = False

    def row(self, results: Path) -> list[str]:
        """The cells of this goal: what, where, asked, measured and verdict."""
        found = record.runs(results, self.experiment, self.scale).values()
        values = [value for run in found if (value := self.value(run)) is not None]
        asked = f"{self.sense} {self.limit:g} {self.unit}".strip()
        head = [self.text, f"`{self.experiment}`, {self.scale}", asked]
        if not values:
            return [*head, tables.NONE, "waiting"]
        if self.robust and not all(tables.passes(_column(run, "quanos")) for run in found):
            return [*head, tables.NONE, "masked"]
        worst, meets = (min, operator.ge) if self.sense == "at least" else (max, operator.le)
        value = worst(values)
        return [
            *head,
            f"{value:.2f} {self.unit}".strip(),
            "met" if meets(value, self.limit) else "missed",
        ]


def clean(column: str) -> Value:
    """Clean accuracy of a column, percent."""
    return lambda run: 100 * _column(run, column)["clean_accuracy"]


def mean_bits(run: Run) -> float:
    """Of QUANOS, over layers."""
    return float(_column(run, "quanos")["mean_bits"])


def worst_case(epsilon: float) -> Value:
    """Accuracy of QUANOS in the strong protocol, percent."""

    def value(run: Run) -> float | None:
        found = tables.accuracy(_column(run, "quanos"), "strong", "worst_case", epsilon)
        return None if found is None else 100 * found

    return value


def training_minutes(column: str) -> Value:
    """Minutes in which a network was trained, the epochs that it shares with others included."""

    def value(run: Run) -> float | None:
        seconds = run["summary"]["seconds"].get("columns")
        return None if seconds is None else float(seconds[column]) / 60

    return value


def minutes(run: Run) -> float:
    """From the start of a run's first slice to its end."""
    started, finished = (datetime.fromisoformat(run[key]) for key in ("started", "finished"))
    return (finished - started).total_seconds() / 60


def _column(run: Run, name: str) -> dict[str, Any]:
    column: dict[str, Any] = run["summary"]["columns"][name]
    return column


def _goals() -> Iterator[Goal]:
    least: dict[str, Any] = {"sense": "at least", "unit": "%"}
    most: dict[str, Any] = {"sense": "at most", "unit": "min"}
    vgg: dict[str, Any] = {"experiment": "vgg19-cifar10", "scale": "fast"}
    resnet: dict[str, Any] = {"experiment": "resnet18-cifar100", "scale": "fast"}
    yield Goal(**vgg, text="16 bits, clean", value=clean("16"), limit=91.6, **least)
    yield Goal(**vgg, text="16 bits, training", value=training_minutes("16"), limit=3, **most)
    yield Goal(**vgg, text="all four networks, attacks too", value=minutes, limit=10, **most)
    yield Goal(**vgg, text="QUANOS, clean", value=clean("quanos"), limit=90.7, **least)
    yield Goal(**vgg, text="QUANOS, mean bits", value=mean_bits, limit=4.95, **most | {"unit": ""})
    yield Goal(**resnet, text="16 bits, clean", value=clean("16"), limit=76.7, **least)
    yield Goal(**resnet, text="QUANOS, clean", value=clean("quanos"), limit=72.8, **least)
    yield Goal(
        experiment="resnet18-cifar10-hardened",
        scale="fast",
        text="QUANOS, worst case at 8/255",
        value=worst_case(8 / 255),
        limit=47,
        robust=True,
        **least,
    )
    for name in ("vgg-small-cifar10", "resnet-small-cifar10"):
        small: dict[str, Any] = {"experiment": name, "scale": "cpu"}
        yield Goal(**small, text="16 bits, clean", value=clean("16"), limit=80, **least)
        yield Goal(**small, text="beside the other, attacks too", value=minutes, limit=40, **most)


def goals(results: Path) -> str:
    """Every goal with what was measured; the accuracies of VGG-19 and ResNet-18 are the paper's."""
    head = ["number", "run", "asked", "measured", ""]
    return tables.markdown(head, (goal.row(results) for goal in _goals()))

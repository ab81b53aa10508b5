"""What is measured of every trained network of a run, kept in its folder as it comes.

The keys are those of `summary.json`; they stand in `quanos.experiment`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from flows.table import EnergyTable
from quanos.assignment import own_layers, sense
from quanos.config import Config
from quanos.data import Dataset
from quanos.layers import get_bits
from quanos.ledger import Ledger, fingerprint
from quanos.policies import POLICIES, mean
from quanos.prices import priced
from quanos.progress import Progress
from quanos.robustness import accuracy, count_attacks, evaluate
from quanos.run import write_json
from quanos.slices import Paused, Slice
from quanos.state import State

MEASURED = "measured.json"
ATTACKED = "attacked.json"


def main_column(config: Config) -> str:
    """`quanos` for the paper's policy, else the policy's own name."""
    return "quanos" if config.policy == "ans" else config.policy


def evaluate_columns(
    states: dict[str, State],
    config: Config,
    data: Dataset,
    folder: Path,
    table: EnergyTable,
    sitting: Slice,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every column's part of the summary; what was measured is kept in its folder as it comes.

    So a run that was cut off makes no attack twice. Prices are made anew: they cost nothing, and
    the table may be another one. Raises Paused after an attack where the time of `sitting` is up.
    """
    twin = states["16"].model if "16" in states else None
    for name, state in states.items():
        path = (folder if name == main_column(config) else folder / name) / MEASURED
        if not path.exists():
            ledger = _ledger(path.with_name(ATTACKED), state.model, config, data, twin, sitting)
            write_json(path, column(name, state, config, data, twin, ledger))
            ledger.remove()
        measured = json.loads(path.read_text(encoding="utf-8"))
        yield name, measured | priced(state.model, data.input_shape, measured["bits"], table)


def _ledger(
    path: Path,
    model: nn.Module,
    config: Config,
    data: Dataset,
    twin: nn.Module | None,
    sitting: Slice,
) -> Ledger:
    """The attacks on a network that were made before a slice ended; it may end after each."""

    def told(attack: str, *_: float) -> None:
        if sitting.over():
            raise Paused(f"{path.parent} is trained, and attacked up to {attack}")

    images = data.test.first(config.attack_images).codes
    return Ledger(path, fingerprint([model, twin], config, images), told)


def column(
    name: str,
    state: State,
    config: Config,
    data: Dataset,
    twin: nn.Module | None,
    ledger: Ledger,
) -> dict[str, Any]:
    """What is measured of one network, all of its summary but the prices."""
    model, bits = state.model, get_bits(state.model)
    data = data.to(next(model.parameters()).device)
    with Progress(f"{name}: attacks", count_attacks(config)) as progress:
        result = evaluate(
            model,
            data.test.first(config.attack_images),
            config,
            classes=data.classes,
            twin=twin,
            advance=progress.advance,
            ledger=ledger,
        )
        progress.line(f"gate {result.gate['verdict']}")
    return {
        "policy": _policy(name, config),
        "bits": bits,
        "mean_bits": mean(own_layers(model, bits)),
        "epochs": state.epoch,
        "sense_epoch": config.sense_epoch,
        "rounds": state.rounds,
        "adversarial": state.adversarial,
        "rollbacks": state.rollbacks,
        "ans_sensed": state.rounds[0]["ans"],
        "ans_final": sense(model, data.train, config),
        "clean_accuracy": accuracy(model, data.test),
        "attacked_images": result.images,
        "attacked_clean_accuracy": result.clean_accuracy,
        "paper": result.paper,
        "strong": result.strong,
        "gate": result.gate,
    } | _held_out(model, data)


def _policy(name: str, config: Config) -> str:
    """The policy of a column."""
    if name == main_column(config):
        return config.policy
    return name if name in POLICIES else "uniform"


def _held_out(model: nn.Module, data: Dataset) -> dict[str, float]:
    held_out = data.validation
    return {"validation_accuracy": accuracy(model, held_out)} if held_out else {}

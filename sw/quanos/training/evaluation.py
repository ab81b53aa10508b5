"""What is measured of every trained network of a run, kept in its folder as it comes.

The keys are those of `summary.json`; they stand in `quanos.training.experiment`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from flows.table import EnergyTable
from quanos.adversary.ledger import Ledger, fingerprint
from quanos.allocation.assignment import own_layers, sense
from quanos.allocation.prices import priced
from quanos.config import Config
from quanos.console.progress import Progress
from quanos.data import Dataset
from quanos.layers import get_bits
from quanos.policies import POLICIES, mean
from quanos.robustness import accuracy, count_attacks, evaluate
from quanos.run import write_json
from quanos.storage.checkpoint import NAME, load_network
from quanos.training.slices import Paused, Slice
from quanos.training.state import State, device

MEASURED = "measured.json"
ATTACKED = "attacked.json"


def main_column(config: Config) -> str:
    """`quanos` for the paper's policy, else the policy's own name."""
    return "quanos" if config.policy == "ans" else config.policy


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What all columns of a run share; `sitting` is what this slice of it may do."""

    config: Config
    data: Dataset
    folder: Path
    table: EnergyTable
    sitting: Slice


def evaluate_columns(
    experiment: Experiment, states: dict[str, State]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every column's part of the summary; what was measured is kept in its folder as it comes.

    So a run that was cut off makes no attack twice. Prices are made anew: they cost nothing, and
    the table may be another one. Raises Paused after an attack where the time of `sitting` is up.
    """
    config, data, folder = experiment.config, experiment.data, experiment.folder
    twin = states["16"].model if "16" in states else None
    for name, state in states.items():
        path = (folder if name == main_column(config) else folder / name) / MEASURED
        if not path.exists():
            others = Others(twin, from_other_seed(config, data, name))
            ledger = _ledger(path.with_name(ATTACKED), state.model, experiment, others)
            write_json(path, column(name, state, experiment, others, ledger))
            ledger.remove()
        measured = json.loads(path.read_text(encoding="utf-8"))
        yield (
            name,
            measured | priced(state.model, data.input_shape, measured["bits"], experiment.table),
        )


class Others(NamedTuple):
    """Networks that adversarial images are made on, where there are such, besides the own twins."""

    sixteen: nn.Module | None
    other_seed: nn.Module | None


def from_other_seed(config: Config, data: Dataset, name: str) -> nn.Module | None:
    """The network that the column `name` is in the run of another seed; None where there is none.

    Raises ValueError for a run of the same seed or of another network.
    """
    folder = Path(config.other_seed)
    place = folder if name == main_column(config) else folder / name
    if not config.other_seed or (place != folder and not (place / NAME).exists()):
        return None
    model, meta = load_network(place)
    own = {"model": config.model, "input_shape": list(data.input_shape), "classes": data.classes}
    theirs = {"model": meta["config"]["model"]} | {key: meta[key] for key in list(own)[1:]}
    if theirs != own or meta["config"]["seed"] == config.seed:
        raise ValueError(
            f"--other-seed {place} holds a network of seed {meta['config']['seed']} ({theirs}); it "
            f"must be of another seed than {config.seed} and of the same kind ({own})."
        )
    return model.to(device(config))


def _ledger(path: Path, model: nn.Module, experiment: Experiment, others: Others) -> Ledger:
    """The attacks on a network that were made before a slice ended; it may end after each."""

    def told(attack: str, *_: float) -> None:
        if experiment.sitting.over():
            raise Paused(f"{path.parent} is trained, and attacked up to {attack}")

    config = experiment.config
    images = experiment.data.test.first(config.attack_images).codes
    return Ledger(path, fingerprint([model, *others], config, images), told)


def column(
    name: str, state: State, experiment: Experiment, others: Others, ledger: Ledger
) -> dict[str, Any]:
    """What is measured of one network, all of its summary but the prices."""
    config, model = experiment.config, state.model
    data = experiment.data.to(next(model.parameters()).device)
    with Progress(f"{name}: attacks", count_attacks(config)) as progress:
        result = evaluate(
            model,
            data.test.first(config.attack_images),
            config,
            classes=data.classes,
            twin=others.sixteen,
            other_seed=others.other_seed,
            advance=progress.advance,
            ledger=ledger,
        )
        progress.line(f"gate {result.gate['verdict']}")
    measured = {
        "ans_final": sense(model, data.train, config),
        "clean_accuracy": accuracy(model, data.test),
        "attacked_images": result.images,
        "attacked_clean_accuracy": result.clean_accuracy,
        "paper": result.paper,
        "strong": result.strong,
        "gate": result.gate,
    }
    return _trained(name, state, config) | measured | _held_out(model, data)


def _trained(name: str, state: State, config: Config) -> dict[str, Any]:
    """What training came to."""
    bits = get_bits(state.model)
    return {
        "policy": _policy(name, config),
        "bits": bits,
        "mean_bits": mean(own_layers(state.model, bits)),
        "epochs": state.epoch,
        "sense_epoch": config.sense_epoch,
        "rounds": state.rounds,
        "adversarial": state.adversarial,
        "rollbacks": state.rollbacks,
        "ans_sensed": state.rounds[0]["ans"],
    }


def _policy(name: str, config: Config) -> str:
    """The policy of a column."""
    if name == main_column(config):
        return config.policy
    return name if name in POLICIES else "uniform"


def _held_out(model: nn.Module, data: Dataset) -> dict[str, float]:
    held_out = data.validation
    return {"validation_accuracy": accuracy(model, held_out)} if held_out else {}

"""A whole experiment: the QUANOS network and its uniform baselines, trained, attacked and priced.

`summary.json` holds, next to `schema`, `dataset`, `model`, `input_shape`, `classes`, `seed`,
`table_sha256`, `seconds` ({train, evaluate}) and `columns`, per column (`quanos`, or the policy's
name if it is another, then the baselines `16`, `mean`, ...):

    policy, bits {layer: bits}, mean_bits (shortcuts left out), epochs, sense_epoch
    rounds           list of {epoch, ans, bits}: what each round sensed and assigned; where rounds
                     are judged also before, after, stopped; see `quanos.allocation.stopping`
    ans_sensed {layer: ANS} at the sensing epoch, ans_final at the end; layers in forward order
    validation_accuracy (where training images were held out)
    rollbacks        epochs that were undone because of catastrophic overfitting
    clean_accuracy (all test images), attacked_images, attacked_clean_accuracy (those attacked)
    paper, strong    lists of {attack, epsilon, accuracy, adversarial_loss}; the result of `strong`
                     is its attack `worst_case`; its others have {box: "white" | "transfer" |
                     "black", tried: images} too; see `quanos.robustness`
    gate             {verdict: "passes" | "masked: reason", zero_gradient_share, accuracy_at_0.5,
                     repeats: whether the same images give the same logits,
                     rows: [{epsilon, fgsm_accuracy, pgd_accuracy, noise_accuracy,
                     white_box_accuracy, worst_accuracy, beyond_white_box {attack: share of images
                     that only it fooled}, survives_rounding: share of adversarial images that
                     still fool as 8-bit codes}], longer {epsilon, steps, restarts, before, after:
                     accuracy}, absent {attack: why it was not made}}
    macs, memory_gbit, memory_compression (16-bit weights over these)
    energy           list of {scheme, reading, supply, energy_mj, ratio_to_16} per image;
                     scheme `standard` has reading `paper` and supply `nominal` alone
    energy_missing   {scheme: why the table cannot give all of its prices}

Accuracies are shares of 1, epsilons in pixel space, adversarial_loss = clean - adversarial accuracy
on the attacked images, ratio_to_16 is to the same network at 16 bits, same scheme, reading and
supply.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flows.table import EnergyTable
from quanos.allocation.assignment import energy_mj, own_layers
from quanos.config import Config
from quanos.data import Dataset
from quanos.layers import get_bits
from quanos.policies import POLICIES, mean
from quanos.run import SUMMARY, open_run, provenance, write_json
from quanos.storage.files import held
from quanos.trainer import SENSED, train
from quanos.training import parallel
from quanos.training.evaluation import (
    Experiment,
    evaluate_columns,
    from_other_seed,
    main_column,
)
from quanos.training.parallel import Group
from quanos.training.slices import Slice
from quanos.training.state import State, device, fresh
from quanos.training.together import Task, prepared, train_together

SCHEMA = "quanos.summary/1"


def run_experiment(
    config: Config,
    folder: Path,
    table: EnergyTable,
    *,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    sitting: Slice | None = None,
    limit: int = 0,
    jobs: int = 1,
    data: Dataset | None = None,
) -> dict[str, Any]:
    """Train, attack and price all columns; writes the run folder and returns its summary.

    `command` is what the run was asked for with; it is kept in `run.json`. `limit` takes the first
    images of every split alone, for trying things out. With `jobs` above one, columns are trained
    at the same time, which needs a data set that processes can load: not `data`, which is taken in
    place of the configured one. Under torchrun process 0 returns the summary, the others nothing.
    Raises Paused where `sitting` is over, and BusyError where another process uses the folder.
    """
    sitting = sitting or Slice()
    data = prepared(config, limit, data)
    if config.threads:
        torch.set_num_threads(config.threads)
    fresh(config, data)  # refuses what cannot be before anything is written
    from_other_seed(config, data, main_column(config))  # the same for what attacks need
    group = parallel.group(config.device)
    experiment = Experiment(config=config, data=data, folder=folder, table=table, sitting=sitting)
    with ExitStack() as stack:
        group.from_lead(lambda: stack.enter_context(held(folder)))
        group.from_lead(lambda: open_run(folder, config, resume=resume, overwrite=overwrite))
        origin = provenance(config, table.sha256) | {"command": command}
        origin |= _begun(folder, _device_name(config))
        if group.lead:
            write_json(folder / "run.json", origin)
        summary = _summary(experiment, group, limit, jobs)
        if group.lead:
            write_json(folder / "run.json", origin | {"finished": _now()})
            write_json(folder / SUMMARY, summary)
        return summary


def _summary(experiment: Experiment, group: Group, limit: int, jobs: int) -> dict[str, Any]:
    """Train, attack and price; what `summary.json` holds, and nothing but in process 0."""
    start = time.perf_counter()
    if jobs > 1:
        main, *others = tasks(experiment, limit)
        train_together(main, others, experiment.sitting, jobs)
    states = dict(train_columns(experiment))
    if not group.lead:
        return {}
    trained = time.perf_counter()
    columns = dict(evaluate_columns(experiment, states))
    config, data = experiment.config, experiment.data
    return {
        "schema": SCHEMA,
        "dataset": data.name,
        "model": config.model,
        "input_shape": list(data.input_shape),
        "classes": data.classes,
        "seed": config.seed,
        "table_sha256": experiment.table.sha256,
        "seconds": {"train": trained - start, "evaluate": time.perf_counter() - trained},
        "columns": columns,
    }


def tasks(experiment: Experiment, limit: int) -> Iterator[Task]:
    """The network by the policy and the baselines at given bits, each with its folder made ready.

    Other baselines hang on the first network's bits; they are trained when it is.
    """
    config, folder = experiment.config, experiment.folder
    both: dict[str, Any] = {"limit": limit, "table": experiment.table}
    yield Task(name=main_column(config), config=config, folder=folder, warm=None, **both)
    for name in filter(str.isdigit, config.baselines):
        own = replace(config, baselines=(), **_uniform(float(name)))
        make_ready(folder / name, own)
        yield Task(name=name, config=own, folder=folder / name, warm=folder / SENSED, **both)


def make_ready(place: Path, config: Config) -> None:
    """Open a baseline's folder."""
    open_run(place, config, resume=True, overwrite=True)
    write_json(place / "run.json", provenance(config, ""))


def train_columns(experiment: Experiment) -> Iterator[tuple[str, State]]:
    """The network by the configured policy, then each baseline; name and final state."""
    config, data, folder = experiment.config, experiment.data, experiment.folder
    group = parallel.group(config.device)
    name = main_column(config)
    options: dict[str, Any] = {"sitting": experiment.sitting, "table": experiment.table}
    state = train(config, data, folder, label=name, **options)
    yield name, state
    options["warm"] = folder / SENSED
    for baseline in config.baselines:
        own = replace(config, baselines=(), **_baseline(baseline, state.model, experiment))
        group.from_lead(partial(make_ready, folder / baseline, own))
        yield baseline, train(own, data, folder / baseline, label=baseline, **options)


def _baseline(name: str, model: nn.Module, experiment: Experiment) -> dict[str, Any]:
    """The keys that make a run the baseline of that name: a policy's has the network's energy."""
    if name in POLICIES:
        shape = experiment.data.input_shape
        energy = energy_mj(model, shape, experiment.config, experiment.table)
        return ONCE | {"policy": name, "energy_mj": energy, "mean_bits": 0.0}
    bits = own_layers(model, get_bits(model))
    return _uniform(float(round(mean(bits))) if name == "mean" else float(name))


def _uniform(bits: float) -> dict[str, Any]:
    return ONCE | {"policy": "uniform", "energy_mj": 0.0, "mean_bits": bits}


ONCE = {"rounds": 1, "stop_points": 0.0, "stop_saving": 0.0}
"""Keys of a baseline, which gets its bits once and keeps them."""


def _device_name(config: Config) -> str:
    """What computed: the card's name, or the processor's threads."""
    place = device(config)
    if place.type == "cuda":
        return torch.cuda.get_device_name(place)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _begun(folder: Path, place: str) -> dict[str, str]:
    """When the first slice of a run started, and what all of them computed on, in turn."""
    path = folder / "run.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        started, places = str(before["started"]), str(before["device"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"started": _now(), "device": place}
    same = places.split("; then ")[-1] == place
    return {"started": started, "device": places if same else f"{places}; then {place}"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""The state of training: made by the seed, saved after every epoch and within long ones, resumed.

Nothing else is needed to go on: draws and learning rate follow from the place (see `schedule`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quanos.config import Config
from quanos.data import Dataset
from quanos.layers import get_bits, quantize, set_bits
from quanos.models import build_model
from quanos.storage import checkpoint
from quanos.storage.checkpoint import CheckpointError
from quanos.training.schedule import derive_seed

EVALUATION_KEYS = {
    *("data_dir", "device", "threads", "baselines", "fgsm_epsilons", "pgd_epsilons"),
    *("strong_steps", "strong_restarts", "attack_images", "attack_batch"),
    *("apgd_steps", "apgd_targets", "square_queries", "other_seed"),
}
"""Keys of the configuration that do not change what training gives."""

ASSIGNMENT_KEYS = {
    *("policy", "mean_bits", "energy_mj", "rounds", "round_epochs", "stop_points", "stop_saving"),
}
"""Keys that change training only after the bits are assigned."""


@dataclass
class State:
    """What training changes: network, optimizer, completed epochs, steps of the epoch under way.

    `partial` are the sums over those steps (loss, right). `rounds` holds, for every round of
    sensing so far, {epoch, ans, bits} with the bits assigned, and what judged it
    (`quanos.allocation.stopping`). `adversarial` is the kind of
    adversarial training in use, `watched` the best accuracy under PGD since bits last changed, and
    `rollbacks` the epochs that were undone because it collapsed.
    """

    model: nn.Module
    optimizer: torch.optim.SGD
    epoch: int = 0
    step: int = 0
    partial: tuple[Tensor, Tensor] | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    adversarial: str = "none"
    watched: float = 0.0
    rollbacks: list[int] = field(default_factory=list)


def device(config: Config) -> torch.device:
    """Where to compute. Raises ValueError where that device is not there.

    On CUDA convolutions then repeat to the last bit, so that a run that goes on ends as uncut.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        raise ValueError(f"device {name!r} is not there; use cpu or auto.") from None
    if name == "cuda":  # under torchrun each process of a host has a card of its own
        torch.backends.cudnn.deterministic = True
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device(name)


def wanted(word: str, place: torch.device) -> bool:
    """Whether an option that is `off`, `on`, or on for CUDA alone (`cuda`) holds on a device."""
    return word == "on" or word == place.type


def fresh(config: Config, data: Dataset) -> State:
    """Initial weights by the seed, all layers at k0 bits (16 at most), and the optimizer."""
    torch.manual_seed(derive_seed(config.seed, "weights"))
    network = build_model(config.model, input_shape=data.input_shape, classes=data.classes)
    place = device(config)
    example = torch.zeros(1, *data.input_shape)  # finds the classifier of any network
    model = quantize(network, config.first_bits, quantizer=config.quantizer, example=example)
    model = model.to(place)
    if wanted(config.channels_last, place):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )
    return State(model, optimizer, adversarial=config.adversarial)


def no_sums(place: torch.device) -> tuple[Tensor, Tensor]:
    """The sums of `State.partial` before the first step; both scalar."""
    return torch.zeros((), device=place), torch.zeros((), dtype=torch.int64, device=place)


def read(folder: Path, warm: Path | None) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint to go on from: the folder's own, else `warm`, else none."""
    own = folder / checkpoint.NAME
    path = own if own.exists() else warm
    return None if path is None else (path, *checkpoint.load(path))


def fill(
    state: State,
    path: Path,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    config: Config,
    ignored: set[str],
) -> None:
    """Put a checkpoint into `state` if its configuration is this one but for `ignored` keys.

    Raises CheckpointError where it is not, or where the tensors do not fit the network.
    """
    _same_run(path, meta, config, ignored)
    try:
        state.model.load_state_dict(checkpoint.part(tensors, "model"))
        set_bits(state.model, meta["bits"])
        state.optimizer.state.clear()
        for name, buffer in checkpoint.part(tensors, "optimizer").items():
            parameter = state.model.get_parameter(name)
            own = torch.empty_like(parameter).copy_(buffer)  # the parameter's device and layout
            state.optimizer.state[parameter]["momentum_buffer"] = own
        place = next(state.model.parameters()).device
        sums = checkpoint.part(tensors, "partial")
        state.partial = (sums["loss"].to(place), sums["right"].to(place)) if sums else None
        state.epoch, state.step, state.rounds = meta["epoch"], meta["step"], meta["rounds"]
        state.watched, state.rollbacks = meta["watched"], meta["rollbacks"]
        if meta["rollbacks"]:
            state.adversarial = meta["adversarial"]
    except (KeyError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"checkpoint {path} does not fit its network ({reason}).") from None


def reload(state: State, path: Path) -> None:
    """Put the run's own checkpoint back into `state`: an epoch that went wrong is undone."""
    tensors, meta = checkpoint.load(path)
    fill(state, path, tensors, meta, Config(**_tuples(meta["config"])), set())


def _tuples(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in keys.items()}


def _same_run(path: Path, meta: Mapping[str, Any], config: Config, ignored: set[str]) -> None:
    ours, default = (json.loads(json.dumps(asdict(one))) for one in (config, Config()))
    theirs = default | meta["config"]  # a key younger than the checkpoint had its default
    for key in sorted((set(ours) | set(theirs)) - ignored):
        if ours.get(key) != theirs.get(key):
            raise CheckpointError(
                f"checkpoint {path} is of another run: {key} is {theirs.get(key)!r} there "
                f"and {ours.get(key)!r} here; use --overwrite to start anew."
            )


def save(path: Path, state: State, config: Config, data: Dataset, shard_mb: float = 0) -> None:
    """Write the state as a checkpoint."""
    tensors = {f"model.{name}": t for name, t in state.model.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        buffer = state.optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[f"optimizer.{name}"] = buffer
    if state.partial is not None:
        tensors["partial.loss"], tensors["partial.right"] = state.partial
    meta: dict[str, Any] = {
        "config": asdict(config),
        "input_shape": data.input_shape,
        "classes": data.classes,
        "epoch": state.epoch,
        "step": state.step,
        "bits": get_bits(state.model),
        "rounds": state.rounds,
        "adversarial": state.adversarial,
        "watched": state.watched,
        "rollbacks": state.rollbacks,
    }
    checkpoint.save(path, tensors, meta, shard_mb=shard_mb)

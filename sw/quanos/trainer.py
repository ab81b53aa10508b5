"""Algorithm 1: train at k0 bits, sense ANS, assign bits per layer, train on to the end.

In its iterative form sensing and assigning are repeated every few epochs, each round from the bits
of the last: k_l <- k_l - round(ANS_l k_l).

Every policy runs through the same loop, so that a uniform baseline differs from the QUANOS network
in the assignment alone. All that is drawn by chance in an epoch comes from generators seeded by
(seed, epoch), and the learning rate follows from the step: a checkpoint needs no state of either.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from quanos import checkpoint
from quanos.ans import adversarial_noise_sensitivity
from quanos.attacks import fgsm, perturb, pgd
from quanos.checkpoint import CheckpointError
from quanos.config import Config
from quanos.data import Dataset, Split, random_flip, random_shift
from quanos.energy import resolve_bits
from quanos.layers import get_bits, quantize, set_bits
from quanos.models import build_model
from quanos.policies import Budget, assign, mean
from quanos.progress import Progress
from quanos.robustness import accuracy
from quanos.run import append_metric, keep_metrics

Value = TypeVar("Value", int, float)
SENSED = "sensed.safetensors"
EVALUATION_KEYS = {
    *("data_dir", "device", "baselines", "fgsm_epsilons", "pgd_epsilons", "pgd_steps"),
    *("strong_steps", "strong_restarts", "attack_images"),
}
"""Keys of the configuration that do not change what training gives."""

ASSIGNMENT_KEYS = {"policy", "mean_bits", "rounds", "round_epochs"}
"""Keys that change training only after the bits are assigned."""


class DivergedError(ValueError):
    """Training gave a loss that is no number."""


@dataclass
class State:
    """What training changes: network, optimizer, completed epochs.

    `rounds` holds, for every round of sensing so far, {epoch, ans, bits} with the bits assigned.
    """

    model: nn.Module
    optimizer: torch.optim.SGD
    epoch: int = 0
    rounds: list[dict[str, Any]] = field(default_factory=list)


def train(
    config: Config, data: Dataset, folder: Path, *, label: str, warm: Path | None = None
) -> State:
    """Train as `config` says, going on from the checkpoint in `folder` where there is one.

    `warm` is another run's checkpoint at the sensing epoch: where both configurations agree up to
    there, it stands in for the epochs at k0 bits. Writes a checkpoint and a line of
    `metrics.jsonl` per epoch. Raises DivergedError for a loss that is no number, with the last
    good checkpoint kept, and CheckpointError for a checkpoint of another run.
    """
    data = data.to(device(config))
    state = _restore(config, data, folder, warm)
    keep_metrics(folder, state.epoch)
    with Progress(label, config.epochs * len(data.train)) as progress:
        progress.advance(state.epoch * len(data.train))
        while state.epoch < config.epochs:
            metric = train_epoch(state, data.train, config, progress)
            state.epoch += 1
            if state.epoch in rounds(config):
                ans = sense(state.model, data.train, config)
                state.rounds.append({"epoch": state.epoch, "ans": ans})
                if len(state.rounds) == 1:
                    _save(folder / SENSED, state, config, data)
                assign_bits(state, config)
            metric["test_accuracy"] = accuracy(state.model, data.test)
            metric["mean_bits"] = mean(own_layers(state.model, get_bits(state.model)))
            append_metric(folder, metric)
            _save(folder / checkpoint.NAME, state, config, data)
            progress.line(
                f"epoch {state.epoch}/{config.epochs}: loss {metric['loss']:.4f}, test accuracy "
                f"{100 * metric['test_accuracy']:.2f} %, mean bits {metric['mean_bits']:.2f}, "
                f"{metric['images_per_s']:.0f} images/s"
            )
    return state


def sense(model: nn.Module, split: Split, config: Config) -> dict[str, float]:
    """ANS of every layer on the first `ans_images` training images."""
    return adversarial_noise_sensitivity(
        model,
        split.first(config.ans_images).batches(256),
        attack=fgsm(config.ans_epsilon),
        reduction=config.ans_reduction,
    )


def rounds(config: Config) -> range:
    """The epochs after which ANS is sensed and bits are assigned."""
    return range(
        config.sense_epoch,
        config.sense_epoch + config.rounds * config.round_epochs,
        config.round_epochs,
    )


def assign_bits(state: State, config: Config) -> None:
    """Give each layer the bits that policy and budget make of the last measurement.

    A round starts from the bits that are; a shortcut takes those of the layer it feeds.
    """
    measurement = state.rounds[-1]["ans"]
    budget = Budget(
        start=get_bits(state.model), mean_bits=config.mean_bits or None, seed=config.seed
    )
    bits = assign(config.policy, own_layers(state.model, measurement), budget)
    bits = resolve_bits(list(measurement), bits, shortcuts(state.model))
    set_bits(state.model, bits)
    state.rounds[-1]["bits"] = bits


def shortcuts(model: nn.Module) -> dict[str, str]:
    """Which layer each shortcut convolution feeds; a network without any may say nothing."""
    feeds: dict[str, str] = getattr(model, "feeds", {})
    return feeds


def own_layers(model: nn.Module, values: Mapping[str, Value]) -> dict[str, Value]:
    """The values of the layers that are no shortcuts."""
    return {name: value for name, value in values.items() if name not in shortcuts(model)}


def train_epoch(
    state: State, split: Split, config: Config, progress: Progress
) -> dict[str, float | int]:
    """One pass over the training images; what goes into `metrics.jsonl`."""
    model, start = state.model.train(), time.perf_counter()
    loss_sum = torch.zeros((), device=split.device)
    right = torch.zeros((), dtype=torch.int64, device=split.device)
    torch.manual_seed(derive_seed(config.seed, "modules", state.epoch))
    steps = math.ceil(len(split) / config.batch_size)
    for step, (images, labels) in enumerate(training_batches(split, config, state.epoch)):
        rate = learning_rate(config, state.epoch + step / steps)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        logits = model(_hardened(model, images, labels, config))
        loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        loss_sum += loss.detach() * len(labels)
        right += (logits.argmax(1) == labels).sum()
        progress.advance(len(labels), f"epoch {state.epoch + 1}")
    loss_mean, seconds = loss_sum.item() / len(split), time.perf_counter() - start
    if not math.isfinite(loss_mean):
        raise DivergedError(
            f"the loss became {loss_mean} in epoch {state.epoch + 1}; the checkpoint of epoch "
            f"{state.epoch} is kept; start anew with a smaller --lr than {config.lr:g}."
        )
    return {
        "epoch": state.epoch + 1,
        "loss": loss_mean,
        "train_accuracy": right.item() / len(split),
        "lr": rate,
        "seconds": seconds,
        "images_per_s": len(split) / seconds,
    }


def training_batches(split: Split, config: Config, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, shifted and mirrored batches, the same for the same seed and epoch.

    A last batch of one image is left out: batch norm has no variance of one 1x1 activation.
    """
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "batches", epoch))
    order = torch.randperm(len(split), generator=generator).to(split.device)
    for index in torch.split(order, config.batch_size):
        if len(index) == 1 and len(split) > 1:
            continue
        images = random_shift(split.images(index), config.shift, generator)
        if config.flip:
            images = random_flip(images, generator)
        yield images, split.labels[index]


def _hardened(model: nn.Module, images: Tensor, labels: Tensor, config: Config) -> Tensor:
    """The images to train on: adversarial ones where the configuration asks for them."""
    epsilon = config.adversarial_epsilon
    if config.adversarial == "fgsm":
        return perturb(model, images, labels, fgsm(epsilon))
    if config.adversarial == "pgd":
        return perturb(model, images, labels, pgd(epsilon, steps=config.pgd_steps))
    return images


def learning_rate(config: Config, epoch: float) -> float:
    """Learning rate at a time in epochs; the change of bits does not restart it."""
    if config.schedule == "step":
        return config.lr * 0.1 ** sum(epoch >= milestone for milestone in config.milestones)
    if epoch < config.warmup_epochs:
        return config.lr * max(epoch, 0.1) / config.warmup_epochs
    return config.lr * (config.epochs - epoch) / max(config.epochs - config.warmup_epochs, 1e-9)


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """An independent seed for each purpose, below 2**63."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def device(config: Config) -> torch.device:
    """Where to compute. Raises ValueError where that device is not there."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        raise ValueError(f"device {name!r} is not there; use cpu, cuda or auto.") from None
    return torch.device(name)


def fresh(config: Config, data: Dataset) -> State:
    """Initial weights by the seed, all layers at k0 bits, and the optimizer."""
    torch.manual_seed(derive_seed(config.seed, "weights"))
    network = build_model(config.model, input_shape=data.input_shape, classes=data.classes)
    model = quantize(network, config.k0, quantizer=config.quantizer).to(device(config))
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )
    return State(model, optimizer)


def _restore(config: Config, data: Dataset, folder: Path, warm: Path | None) -> State:
    state = fresh(config, data)
    if (own := folder / checkpoint.NAME).exists():
        _fill(state, own, config, EVALUATION_KEYS)
    elif warm is not None:
        _fill(state, warm, config, EVALUATION_KEYS | ASSIGNMENT_KEYS)
        assign_bits(state, config)
    return state


def _fill(state: State, path: Path, config: Config, ignored: set[str]) -> None:
    """Put a checkpoint into `state` if its configuration is this one but for `ignored` keys."""
    tensors, meta = checkpoint.load(path)
    ours = json.loads(json.dumps(asdict(config)))
    for key in sorted((set(ours) | set(meta["config"])) - ignored):
        if ours.get(key) != meta["config"].get(key):
            raise CheckpointError(
                f"checkpoint {path} is of another run: {key} is {meta['config'].get(key)!r} there "
                f"and {ours.get(key)!r} here; use --overwrite to start anew."
            )
    try:
        state.model.load_state_dict(checkpoint.part(tensors, "model"))
        set_bits(state.model, meta["bits"])
        for name, buffer in checkpoint.part(tensors, "optimizer").items():
            parameter = state.model.get_parameter(name)
            state.optimizer.state[parameter]["momentum_buffer"] = buffer.to(parameter.device)
        state.epoch, state.rounds = meta["epoch"], meta["rounds"]
    except (KeyError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"checkpoint {path} does not fit its network ({reason}).") from None


def _save(path: Path, state: State, config: Config, data: Dataset) -> None:
    tensors = {f"model.{name}": t for name, t in state.model.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        buffer = state.optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[f"optimizer.{name}"] = buffer
    meta: dict[str, Any] = {
        "config": asdict(config),
        "input_shape": data.input_shape,
        "classes": data.classes,
        "epoch": state.epoch,
        "bits": get_bits(state.model),
        "rounds": state.rounds,
    }
    checkpoint.save(path, tensors, meta)

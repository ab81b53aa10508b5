"""Algorithm 1: train at k0 bits, sense ANS, assign bits per layer, train on to the end.

In its iterative form sensing and assigning are repeated every few epochs, each round from the bits
of the last: k_l <- k_l - round(ANS_l k_l), until a round is not worth it
(`quanos.allocation.stopping`).

Every policy runs through the same loop, so that a uniform baseline differs from the QUANOS network
in the assignment alone. All that is drawn by chance comes from generators seeded by (seed, epoch,
step), and the learning rate follows from the step: a checkpoint needs no state of either, and a
slice may end after any step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flows.table import EnergyTable
from quanos.adversary.hardening import collapsed, hardened, remedy, watch
from quanos.allocation import stopping
from quanos.allocation.assignment import assign_bits, own_layers, rounds, sense, standing
from quanos.config import Config
from quanos.console.progress import Progress
from quanos.data import Dataset
from quanos.layers import get_bits, set_bits
from quanos.policies import mean
from quanos.quantizer import ActivationQuantizer
from quanos.quantizers.switches import quantizers
from quanos.robustness import accuracy
from quanos.run import append_metric, keep_metrics, sweep
from quanos.storage import checkpoint
from quanos.training import parallel
from quanos.training import state as states
from quanos.training.batches import steps_per_epoch, training_batches
from quanos.training.board import Board
from quanos.training.parallel import Group
from quanos.training.schedule import learning_rate
from quanos.training.slices import Paused, Slice
from quanos.training.state import ASSIGNMENT_KEYS, EVALUATION_KEYS, State, device, fresh

Forward = Callable[[Tensor], Tensor]
SENSED = "sensed.safetensors"
SHOWN_EVERY = 0.5
"""Seconds between updates of the bar: reading the loss waits for the device."""


class DivergedError(ValueError):
    """Training gave a loss that is no number."""


@dataclass
class Trainer:
    """One network's training: configuration, data, folder and what this slice may do."""

    config: Config
    data: Dataset
    folder: Path
    slice: Slice
    group: Group
    table: EnergyTable | None
    board: Board = field(init=False)

    def run(self, state: State, label: str) -> State:
        """Train from `state` to the last epoch."""
        config, images = self.config, len(self.data.train)
        if self.group.lead:
            sweep(self.folder)
            keep_metrics(self.folder, state.epoch)
        wanted = self.slice.tensorboard and self.group.lead
        self.board = Board(self.folder, state.epoch, wanted=wanted)
        forward = self._forward(state)
        with Progress(label, config.epochs * images, quiet=not self.group.lead) as progress:
            steps = steps_per_epoch(self.data.train, config)
            progress.advance(state.epoch * images + state.step * images // steps)
            while state.epoch < config.epochs:
                metric = self._epoch(state, forward, progress)
                if self._undone(state, metric, progress):
                    continue
                self._close_epoch(state, metric, progress)
        return state

    def _forward(self, state: State) -> Forward:
        """What a training step calls: the network, distributed and compiled where asked for."""
        place = next(state.model.parameters()).device
        model = parallel.distribute(state.model, self.group)
        return compiled(model) if states.wanted(self.config.compile, place) else model

    def _epoch(self, state: State, forward: Forward, progress: Progress) -> dict[str, Any]:
        """The rest of an epoch; what goes into `metrics.jsonl`."""
        config, split = self.config, self.data.train
        state.model.train()
        steps = steps_per_epoch(split, config)
        loss_sum, right = state.partial or _no_sums(split.device)
        start, first, shown = time.perf_counter(), state.step, 0.0
        for images, labels, total, generator in self._batches(state):
            place = state.epoch + state.step / steps
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(config, place)
            loss, logits = self._loss(state, forward, images, labels, generator)
            state.optimizer.zero_grad()
            # DDP averages over processes; the weight makes that the mean over the whole batch.
            (loss * (len(labels) * self.group.size / total)).backward()  # type: ignore[no-untyped-call]
            state.optimizer.step()
            loss_sum = loss_sum + loss.detach() * len(labels)
            right = right + (logits.argmax(1) == labels).sum()
            state.step += 1
            progress.advance(total)
            now = time.perf_counter()
            if now - shown >= SHOWN_EVERY and progress.live:
                shown = now
                seen = state.step * len(split) // (steps * self.group.size)
                speed = (state.step - first) * len(split) / steps / (now - start)
                progress.show(_standing(state, loss_sum, right, seen, speed))
            if state.step < steps:
                state.partial = loss_sum, right
                self._maybe_stop(state)
        loss_mean = self.group.sum(loss_sum).item() / len(split)  # waits for the device
        seconds = time.perf_counter() - start
        done = len(split) * (steps - first) / steps
        self._check(state, loss_mean)
        metric = {
            "epoch": state.epoch + 1,
            "loss": loss_mean,
            "train_accuracy": self.group.sum(right).item() / len(split),
            "lr": state.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
            "images_per_s": done / seconds,
        }
        state.epoch, state.step, state.partial = state.epoch + 1, 0, None
        return metric

    def _batches(self, state: State) -> Iterator[tuple[Tensor, Tensor, int, torch.Generator]]:
        """This process's part of the batches left, the whole batch's size, and its draws."""
        yield from training_batches(
            self.data.train, self.config, state.epoch, first=state.step, group=self.group
        )

    def _loss(
        self,
        state: State,
        forward: Forward,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        config = self.config
        place = images.device
        late = state.epoch >= config.adversarial_epoch
        with torch.autocast(place.type, torch.bfloat16, states.wanted(config.bf16, place)):
            kind = state.adversarial if late else "none"
            images = hardened(state.model, images, labels, kind, config, generator)
            if states.wanted(config.channels_last, place):
                images = images.contiguous(memory_format=torch.channels_last)
            logits = forward(images).float()
        smoothing = config.label_smoothing
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing), logits

    def _maybe_stop(self, state: State) -> None:
        """Save within an epoch where it is time to, and end the slice where its time is up."""
        over = self.slice.over()
        if self.group.size > 1 and self.slice.time_limit:
            over = self.group.from_lead(lambda: over)
        if over or self.slice.save_due():
            assert state.partial is not None
            self._check(state, state.partial[0].item())
            self._save(checkpoint.NAME, state)
        if over:
            raise Paused(self._where(state))

    def _where(self, state: State) -> str:
        steps = steps_per_epoch(self.data.train, self.config)
        return (
            f"{self.folder} stands in epoch {state.epoch + 1} of {self.config.epochs}, "
            f"after step {state.step} of {steps}"
        )

    def _check(self, state: State, loss: float) -> None:
        """Raise DivergedError for a loss or a weight that is no finite number."""
        finite = math.isfinite(loss)
        if finite and all(bool(p.isfinite().all()) for p in state.model.parameters()):
            return
        what = "a weight became no number" if finite else f"the loss became {loss}"
        raise DivergedError(
            f"{what} in epoch {state.epoch + 1}; the checkpoint of epoch {state.epoch} is kept; "
            f"start anew with a smaller --lr than {self.config.lr:g}."
        )

    def _undone(self, state: State, metric: dict[str, Any], progress: Progress) -> bool:
        """Watch adversarial training; whether the epoch was undone, with a remedy from then on."""
        config = self.config
        if state.adversarial == "none" or state.epoch <= config.adversarial_epoch:
            return False
        held_out = self.data.validation
        assert held_out is not None  # or `train` would have refused
        value = self.group.from_lead(lambda: watch(state.model, held_out, config))
        metric["watch_accuracy"] = value
        if not collapsed(value, state.watched, self.data.classes):
            state.watched = max(state.watched, value)
            return False
        says = f"epoch {state.epoch}: accuracy under PGD-10 fell from {100 * state.watched:.1f} % "
        says += f"to {100 * value:.1f} %, catastrophic overfitting"
        stronger = remedy(state.adversarial)
        if stronger is None:
            progress.line(f"{says}; nothing stronger than {state.adversarial} is left, going on")
            return False
        undone = state.epoch
        states.reload(state, self.folder / checkpoint.NAME)
        state.adversarial, state.rollbacks = stronger, [*state.rollbacks, undone]
        self._save(checkpoint.NAME, state)
        progress.line(f"{says}; back to epoch {state.epoch}, from there with {stronger}")
        progress.advance((state.epoch - undone) * len(self.data.train))
        return True

    def _close_epoch(self, state: State, metric: dict[str, Any], progress: Progress) -> None:
        """Sense and assign where it is time to, evaluate, and write metrics and checkpoint."""
        config, data = self.config, self.data
        if stopping.due(config, state.rounds, state.epoch):
            self._judge(state, metric, progress)
        if state.epoch in rounds(config) and not stopping.over(state.rounds):
            ans = self.group.from_lead(lambda: sense(state.model, data.train, config))
            state.rounds.append({"epoch": state.epoch, "ans": ans})
            if len(state.rounds) == 1:
                self._save(SENSED, state)
            assign_bits(state, config, data, self.table)
            state.watched = 0.0  # fewer bits may cost robustness without any overfitting
        if self.group.lead:
            metric["test_accuracy"] = accuracy(state.model, data.test)
            if data.validation:
                metric["validation_accuracy"] = accuracy(state.model, data.validation)
            metric["mean_bits"] = mean(own_layers(state.model, get_bits(state.model)))
            append_metric(self.folder, metric)
            self.board.add(metric)
        self._save(checkpoint.NAME, state)
        if self.group.lead:
            progress.line(epoch_line(metric, config))
        ended = self.group.from_lead(self.slice.over) or state.epoch == self.slice.stop_epoch
        if state.epoch < config.epochs and ended:
            raise Paused(f"{self.folder} stands after epoch {state.epoch} of {config.epochs}")

    def _judge(self, state: State, metric: dict[str, Any], progress: Progress) -> None:
        """Judge the last round; undo its bits, for good, where it is not worth it."""
        config = self.config
        now = standing(state.model, self.data, config, self.table)
        reason = stopping.judge(config, state.rounds, now)
        metric["round_energy_mj"], metric["round_accuracy"] = now.energy_mj, now.accuracy
        metric["round_kept"] = reason is None
        if reason:
            set_bits(state.model, stopping.bits_before(config, state.rounds))
            state.watched = 0.0
            before = mean(own_layers(state.model, get_bits(state.model)))
            number = len(state.rounds)
            progress.line(f"round {number}: {reason}; back to {before:.2f} mean bits, for good")

    def _save(self, name: str, state: State) -> None:
        self.slice.mark_saved()
        if self.group.lead:
            path = self.folder / name
            states.save(path, state, self.config, self.data, self.slice.shard_mb)


def train(
    config: Config,
    data: Dataset,
    folder: Path,
    *,
    label: str,
    warm: Path | None = None,
    sitting: Slice | None = None,
    table: EnergyTable | None = None,
) -> State:
    """Train as `config` says, going on from the checkpoint in `folder` where there is one.

    `table` prices budgets in millijoules (default: the package's). `warm` is another run's
    checkpoint at the sensing epoch: where both configurations agree up to there, it stands in for
    the epochs at k0 bits. Writes a checkpoint and a line of `metrics.jsonl` per epoch. Raises
    DivergedError for a loss that is no number, with the last good checkpoint kept, CheckpointError
    for a checkpoint of another run, ValueError for batches too small to be shared or adversarial
    training without held-out images, and Paused where the time of `sitting` is up, with everything
    saved.
    """
    if config.adversarial != "none" and not data.validation:
        raise ValueError(
            "adversarial training is watched on held-out images, and the data set has none; "
            "Dataset.hold_out gives them."
        )
    data = data.to(device(config))
    group = parallel.group(config.device)
    if min(config.batch_size, len(data.train)) < 2 * group.size:
        raise ValueError(
            f"{group.size} processes cannot share batches of {config.batch_size} out of "
            f"{len(data.train)} images; start fewer, or raise --batch-size."
        )
    state = _restore(config, data, folder, warm, group, table)
    return Trainer(config, data, folder, sitting or Slice(), group, table).run(state, label)


def _restore(
    config: Config,
    data: Dataset,
    folder: Path,
    warm: Path | None,
    group: Group,
    table: EnergyTable | None,
) -> State:
    state = fresh(config, data)
    found = group.from_lead(lambda: states.read(folder, warm))
    if found is None:
        return state
    path, tensors, meta = found
    if path != warm:
        states.fill(state, path, tensors, meta, config, EVALUATION_KEYS)
    else:
        states.fill(state, path, tensors, meta, config, EVALUATION_KEYS | ASSIGNMENT_KEYS)
        assign_bits(state, config, data, table)
    return state


def epoch_line(metric: Mapping[str, Any], config: Config) -> str:
    """What is printed after an epoch."""
    watched = ""
    if "watch_accuracy" in metric:
        watched = f", under PGD-10 {100 * metric['watch_accuracy']:.2f} %"
    return (
        f"epoch {metric['epoch']}/{config.epochs}: loss {metric['loss']:.4f}, test accuracy "
        f"{100 * metric['test_accuracy']:.2f} %{watched}, mean bits {metric['mean_bits']:.2f}, "
        f"{metric['images_per_s']:.0f} images/s"
    )


def compiled(model: nn.Module) -> Forward:
    """The network compiled, but for the first batch of all: it decides on signed codes.

    That decision waits for the device in every layer; compiled, it would cut the network into more
    pieces than torch is willing to compile, and most of them would run uncompiled for good. Every
    size of batch is compiled for itself, so let `batch_size` divide the training images.
    """
    fast = torch.compile(model, dynamic=False)
    ranges = [q for q in quantizers(model) if isinstance(q, ActivationQuantizer)]

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = (fast if all(q.ready for q in ranges) else model)(images)
        return logits

    return forward


def _no_sums(place: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros((), device=place), torch.zeros((), dtype=torch.int64, device=place)


def _standing(state: State, loss: Tensor, right: Tensor, seen: int, speed: float) -> str:
    """What stands beside the bar."""
    return (
        f"epoch {state.epoch + 1}: loss {loss.item() / seen:.3f}, accuracy "
        f"{100 * right.item() / seen:.1f} %, {speed:.0f} images/s"
    )

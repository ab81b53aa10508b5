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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.table import EnergyTable
from quanos.adversary.hardening import collapsed, remedy, watch
from quanos.allocation import stopping
from quanos.allocation.assignment import assign_bits, own_layers, rounds, sense, standing
from quanos.config import Config
from quanos.console.progress import Progress
from quanos.data import Dataset
from quanos.layers import get_bits, set_bits
from quanos.policies import mean
from quanos.robustness import accuracy
from quanos.run import append_metric, keep_metrics, sweep
from quanos.storage import checkpoint
from quanos.training import lines, parallel
from quanos.training import state as states
from quanos.training.batches import Batch, steps_per_epoch, training_batches
from quanos.training.board import Board
from quanos.training.forward import Forward, forward_of, loss
from quanos.training.parallel import Group
from quanos.training.schedule import learning_rate
from quanos.training.slices import Paused, Slice
from quanos.training.state import ASSIGNMENT_KEYS, EVALUATION_KEYS, State, device, fresh

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
        forward = forward_of(state.model, config, self.group)
        with Progress(label, config.epochs * images, quiet=not self.group.lead) as progress:
            steps = steps_per_epoch(self.data.train, config)
            progress.advance(state.epoch * images + state.step * images // steps)
            while state.epoch < config.epochs:
                metric = self._epoch(state, forward, progress)
                if self._undone(state, metric, progress):
                    continue
                self._close_epoch(state, metric, progress)
        return state

    def _epoch(self, state: State, forward: Forward, progress: Progress) -> dict[str, Any]:
        """The rest of an epoch; what goes into `metrics.jsonl`."""
        split, config = self.data.train, self.config
        state.model.train()
        steps, first = steps_per_epoch(split, config), state.step
        state.partial = state.partial or states.no_sums(split.device)
        start, shown = time.perf_counter(), 0.0
        for batch in training_batches(split, config, state.epoch, first=first, group=self.group):
            self._step(state, forward, batch, steps)
            progress.advance(batch.total)
            now = time.perf_counter()
            if now - shown >= SHOWN_EVERY and progress.live:
                shown = now
                seen = state.step * len(split) // (steps * self.group.size)
                speed = (state.step - first) * len(split) / steps / (now - start)
                progress.show(lines.under_way(state, seen, speed))
            if state.step < steps:
                self._maybe_stop(state)
        return self._ended(state, start, len(split) * (steps - first) / steps)

    def _step(self, state: State, forward: Forward, batch: Batch, steps: int) -> None:
        """One batch: forward, backward, SGD; its loss and right answers join the epoch's sums."""
        assert state.partial is not None
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, state.epoch + state.step / steps)
        value, logits = loss(state, forward, batch, self.config)
        state.optimizer.zero_grad()
        # DDP averages over processes; the weight makes that the mean over the whole batch.
        (value * (len(batch.labels) * self.group.size / batch.total)).backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        loss_sum, right = state.partial
        loss_sum = loss_sum + value.detach() * len(batch.labels)
        state.partial = loss_sum, right + (logits.argmax(1) == batch.labels).sum()
        state.step += 1

    def _ended(self, state: State, start: float, images: float) -> dict[str, Any]:
        """The metric of an epoch of which `images` were seen since `start`; the next may begin."""
        assert state.partial is not None
        count, (loss_sum, right) = len(self.data.train), state.partial
        loss_mean = self.group.sum(loss_sum).item() / count  # waits for the device
        seconds = time.perf_counter() - start
        self._check(state, loss_mean)
        metric = {
            "epoch": state.epoch + 1,
            "loss": loss_mean,
            "train_accuracy": self.group.sum(right).item() / count,
            "lr": state.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
            "images_per_s": images / seconds,
        }
        state.epoch, state.step, state.partial = state.epoch + 1, 0, None
        return metric

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
            steps = steps_per_epoch(self.data.train, self.config)
            raise Paused(f"{self.folder} {lines.within_epoch(state, self.config, steps)}")

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
        says = lines.collapse(state, value)
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
            progress.line(lines.after_epoch(metric, config))
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

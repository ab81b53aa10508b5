"""Columns of a run at the same time, in processes of their own: several share one card.

The epochs that all columns share come first, in one process; then each column whose bits do not
hang on another's end is trained beside the others; after that, all are attacked in turn. Nothing
here decides a number: every column is trained as it would be alone, and found finished by what
comes after.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch

from flows.table import EnergyTable
from quanos.config import Config
from quanos.data import Dataset, load_dataset
from quanos.trainer import SENSED, train
from quanos.training.slices import Paused, Slice

if TYPE_CHECKING:
    from quanos.training.state import State


@dataclass(frozen=True, kw_only=True)
class Task:
    """A column: its configuration and folder, where it starts from, and how many images it sees."""

    name: str
    config: Config
    folder: Path
    warm: Path | None
    limit: int
    table: EnergyTable

    def train(self, sitting: Slice) -> tuple[State, Dataset]:
        """Train, or find it trained; the final state, and the data."""
        data = prepared(self.config, self.limit)
        options: dict[str, Any] = {"warm": self.warm, "sitting": sitting, "table": self.table}
        return train(self.config, data, self.folder, label=self.name, **options), data


def prepared(config: Config, limit: int, data: Dataset | None = None) -> Dataset:
    """The data set of a run, its validation images held out; `limit` images a split, 0: all.

    `data` is taken in place of the configured one.
    """
    data = data or load_dataset(config.dataset, config.data_path)
    return data.hold_out(_held_out(config, len(data.train))).limit(limit)


def _held_out(config: Config, images: int) -> int:
    """How many of the training images are held out: adversarial training is watched on some."""
    if config.validation_images or config.adversarial == "none":
        return config.validation_images
    return min(config.watch_images, max(images // 10, 1))


def train_together(main: Task, others: Sequence[Task], sitting: Slice, jobs: int) -> None:
    """Train `main` and `others`, `jobs` at a time. Raises Paused where the time is up."""
    if not (main.folder / SENSED).exists():
        shared = replace(sitting, stop_epoch=main.config.sense_epoch)
        with contextlib.suppress(Paused):
            main.train(shared)
        if sitting.over():
            raise Paused(f"{main.folder} stands at the epochs that its columns share")
    left = replace(sitting, time_limit=sitting.left())
    with pool(jobs) as workers:
        waiting = [workers.submit(_train, task, left) for task in (main, *others)]
        for future in waiting:
            future.result()


def pool(jobs: int) -> ProcessPoolExecutor:
    """Processes that train at the same time, each printing lines in place of bars."""
    spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin)


def _begin() -> None:
    os.environ["TTY_COMPATIBLE"] = "0"  # several bars would write over each other
    end_with_parent()


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, be it killed.

    Else it would train on beside the run that goes on in the same folder, and on the same card.
    """
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent:
            parent.join()
            os._exit(1)

    Thread(target=follow, daemon=True).start()


def _train(task: Task, sitting: Slice) -> None:
    if task.config.threads:
        torch.set_num_threads(task.config.threads)
    task.train(replace(sitting, started=Slice().started))

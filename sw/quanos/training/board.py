"""The metrics for TensorBoard, whose package is an extra: imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"


class Board:
    """Writes every number of a metric as a curve over epochs; without `wanted`, nothing.

    Raises ValueError where TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, epoch: int, *, wanted: bool) -> None:
        self._writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise ValueError(
                "TensorBoard is not installed; pip install 'quanos[tensorboard]', or leave "
                "--tensorboard out: metrics.jsonl holds the same numbers."
            ) from None
        # What was written of later epochs, before a kill, is about to be written again.
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=epoch + 1)

    def add(self, metric: Mapping[str, Any]) -> None:
        """Write a line of `metrics.jsonl`."""
        if self._writer is None:
            return
        for name, value in metric.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, metric["epoch"])
        self._writer.flush()

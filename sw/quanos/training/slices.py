"""Training in slices: how long a slice may last, how often it saves, what stops it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


class Paused(Exception):  # noqa: N818  (no error: the slice ended as asked)
    """The time limit was reached; everything is saved, and the message says where it stands."""


@dataclass
class Slice:
    """One sitting of a run, in seconds of wall clock; none of it changes what training gives.

    `time_limit` 0 is none. Within an epoch a checkpoint is written every `save_every` seconds.
    `stop_epoch` ends the slice after that epoch (0: none). `shard_mb` splits checkpoints into files
    below so many megabytes (0: whole). `tensorboard` writes the metrics for TensorBoard as well.
    """

    time_limit: float = 0
    save_every: float = 300
    shard_mb: float = 0
    tensorboard: bool = False
    stop_epoch: int = 0
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    def over(self) -> bool:
        """Whether the time is up."""
        return bool(self.time_limit) and time.monotonic() - self.started >= self.time_limit

    def left(self) -> float:
        """Seconds left, as a time limit: 0 where there is none, never less than a millisecond."""
        gone = time.monotonic() - self.started
        return max(self.time_limit - gone, 1e-3) if self.time_limit else 0

    def save_due(self) -> bool:
        """Whether the last checkpoint is old."""
        return time.monotonic() - self.saved >= self.save_every

    def mark_saved(self) -> None:
        """A checkpoint was written now."""
        self.saved = time.monotonic()

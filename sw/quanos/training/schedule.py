"""Learning rate by time, and seeds by purpose: both follow from the place in training alone.

So a checkpoint needs no state of either, and a run that goes on draws what it would have drawn.
"""

from __future__ import annotations

import hashlib

from quanos.config import Config


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

"""What training says: beside the bar, after an epoch, where it stops, why an epoch is undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quanos.config import Config
from quanos.training.state import State


def under_way(state: State, seen: int, speed: float) -> str:
    """Loss and accuracy over `seen` images of the epoch, at `speed` images a second."""
    assert state.partial is not None
    loss_sum, right = state.partial
    return (
        f"epoch {state.epoch + 1}: loss {loss_sum.item() / seen:.3f}, accuracy "
        f"{100 * right.item() / seen:.1f} %, {speed:.0f} images/s"
    )


def after_epoch(metric: Mapping[str, Any], config: Config) -> str:
    """The metric of an epoch."""
    watched = ""
    if "watch_accuracy" in metric:
        watched = f", under PGD-10 {100 * metric['watch_accuracy']:.2f} %"
    return (
        f"epoch {metric['epoch']}/{config.epochs}: loss {metric['loss']:.4f}, test accuracy "
        f"{100 * metric['test_accuracy']:.2f} %{watched}, mean bits {metric['mean_bits']:.2f}, "
        f"{metric['images_per_s']:.0f} images/s"
    )


def within_epoch(state: State, config: Config, steps: int) -> str:
    """The place in an epoch of `steps` steps."""
    return (
        f"stands in epoch {state.epoch + 1} of {config.epochs}, after step {state.step} of {steps}"
    )


def collapse(state: State, accuracy: float) -> str:
    """The accuracy (0 to 1) under PGD-10 that adversarial training fell to, and from what."""
    return (
        f"epoch {state.epoch}: accuracy under PGD-10 fell from {100 * state.watched:.1f} % "
        f"to {100 * accuracy:.1f} %, catastrophic overfitting"
    )

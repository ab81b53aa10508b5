"""Which configurations can be run: numbers in range, times in order, a budget where one is due."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from quanos.policies import POLICIES
from quanos.sensing.measurement import WITH_LOSSES

if TYPE_CHECKING:
    from quanos.config import Config

LARGEST_SEED = 2**32 - 1
"""Every generator of random numbers takes one up to this."""

AT_LEAST_ONE = (
    *("epochs", "rounds", "round_epochs", "batch_size", "ans_images", "adversarial_steps"),
    *("watch_images", "pgd_steps", "strong_steps", "strong_restarts", "attack_batch"),
)
NOT_NEGATIVE = (
    *("mean_bits", "energy_mj", "threads", "lr", "weight_decay", "shift", "attack_images"),
    *("validation_images", "stop_points", "stop_saving", "adversarial_epoch"),
    *("adversarial_epsilon", "ans_epsilon"),
)


class ConfigError(ValueError):
    """A configuration that cannot be run; the message says what is allowed."""


def check(config: Config) -> None:
    """Raise ConfigError for the first thing that cannot be."""
    _words(config)
    _numbers(config)
    _times(config)
    if config.stops:
        _stops(config)
    _budget(config)


def _numbers(config: Config) -> None:
    if not 0 <= config.seed <= LARGEST_SEED:
        raise ConfigError(f"seed must be from 0 to {LARGEST_SEED}, not {config.seed}.")
    for name in AT_LEAST_ONE:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, not {getattr(config, name)}.")
    for name in NOT_NEGATIVE:
        if getattr(config, name) < 0:
            raise ConfigError(f"{name} must not be negative: {getattr(config, name)}.")
    if not 1 <= config.k0 <= 32:
        raise ConfigError(f"k0 must be a whole number of bits from 1 to 32, not {config.k0}.")


def _times(config: Config) -> None:
    if not 1 <= config.sense_epoch <= config.epochs:
        raise ConfigError(
            f"sense_epoch must be from 1 to epochs ({config.epochs}), not {config.sense_epoch}."
        )
    last = config.sense_epoch + (config.rounds - 1) * config.round_epochs
    if last > config.epochs:
        raise ConfigError(
            f"rounds and round_epochs put the last round at epoch {last}, after the end of "
            f"training at {config.epochs}; give more epochs or fewer rounds."
        )


def _budget(config: Config) -> None:
    if config.policy in WITH_LOSSES and not (config.mean_bits or config.energy_mj):
        raise ConfigError(f"policy {config.policy} needs a budget; give mean_bits or energy_mj.")
    if config.mean_bits and config.energy_mj:
        raise ConfigError("mean_bits and energy_mj exclude each other; give one of them.")
    if config.mean_bits and not 1 <= config.mean_bits <= 16:
        raise ConfigError(f"mean_bits must be from 1 to 16, or 0, not {config.mean_bits:g}.")


def _stops(config: Config) -> None:
    if not config.validation_images:
        raise ConfigError(
            "stop_points and stop_saving judge rounds by held-out training images; give "
            "validation_images."
        )
    judged = config.sense_epoch + config.rounds * config.round_epochs
    if judged >= config.epochs:
        raise ConfigError(
            f"stop_points and stop_saving judge the last round at epoch {judged}, and training "
            f"ends at {config.epochs}; give more epochs or fewer rounds."
        )


def _words(config: Config) -> None:
    for item in fields(config):
        allowed = item.metadata["choices"]
        value = getattr(config, item.name)
        if allowed and value not in allowed:
            raise ConfigError(
                f"{item.name} {value!r} is unknown; it is one of {', '.join(allowed)}."
            )
    for baseline in config.baselines:
        if baseline not in ("mean", *POLICIES, *map(str, range(1, 17))):
            raise ConfigError(
                f"baseline {baseline!r} is unknown; it is `mean` or bits from 1 to 16, or a "
                f"policy: {', '.join(POLICIES)}."
            )

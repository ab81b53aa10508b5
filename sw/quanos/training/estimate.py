"""How long training and attacks may take, from a few steps of them made here and now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from quanos.adversary.gate import LONGER
from quanos.adversary.hardening import hardened
from quanos.adversary.protocols import members
from quanos.attacks import evaluating, input_gradient, predict
from quanos.config import Config
from quanos.data import Dataset, Split
from quanos.quantizers.switches import at_rest
from quanos.training.state import device, fresh

STEPS = 3
ENOUGH_S = 1.0
"""A rate is timed over so many steps, or as many as fit this time; the first is not counted."""

PROBE_IMAGES = 64


@dataclass(frozen=True)
class Rates:
    """Seconds an image: of training, of a forward and backward pass, of a forward pass."""

    train_s: float
    pass_s: float
    forward_s: float


def rates(config: Config, data: Dataset) -> Rates:
    """Time a few training steps and passes of the configured network, all at k0 bits.

    Raises ValueError for a network, images or a device that cannot be, as training would.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    state = fresh(config, data)
    data = data.to(device(config))
    images, labels = _probe(data.train, config.batch_size)
    generator = torch.Generator().manual_seed(config.seed)
    adversarial = config.adversarial if config.adversarial_epoch < config.epochs else "none"

    def step() -> None:
        shown = hardened(state.model, images, labels, adversarial, config, generator)
        state.optimizer.zero_grad()
        functional.cross_entropy(state.model(shown), labels).backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()

    state.model.train()
    train_s = _seconds(step) / len(images)
    return Rates(train_s, *pass_rates(state.model, data.train, config))


def pass_rates(model: nn.Module, split: Split, config: Config) -> tuple[float, float]:
    """Seconds an image of a forward and backward pass, and of a forward pass alone."""
    images, labels = _probe(split, config.attack_batch)
    with evaluating(model), at_rest(model):
        both = _seconds(lambda: input_gradient(model, images, labels))
        forward = _seconds(lambda: predict(model, images))
    return both / len(images), forward / len(images)


def _probe(split: Split, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    part = slice(0, min(batch, PROBE_IMAGES))
    return split.images(part), split.labels[part]


def _seconds(work: Callable[[], object]) -> float:
    """Mean time of a call, the first one left out."""
    work()
    began, done = time.perf_counter(), 0
    while done < STEPS and (not done or time.perf_counter() - began < ENOUGH_S):
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        done += 1
    return (time.perf_counter() - began) / done


@dataclass(frozen=True)
class Cost:
    """Passes of an image, at most, that a part of an evaluation makes at all its epsilons.

    `both` are forward and backward. An image that an attack fools is not attacked further.
    """

    name: str
    both: int
    forward: int = 0

    def seconds(self, images: int, pass_s: float, forward_s: float) -> float:
        """Time for so many images, from those of a pass."""
        return images * (self.both * pass_s + self.forward * forward_s)


def costs(config: Config, absent: frozenset[str] = frozenset()) -> Iterator[Cost]:
    """What both protocols and the gate cost, attack by attack.

    Transfer attacks whose twin is among `absent` are not made.
    """
    radii, budget = len(config.pgd_epsilons), config.strong_steps * config.strong_restarts
    yield Cost("paper's protocol", len(config.fgsm_epsilons) + radii * config.pgd_steps)
    own = {
        **dict.fromkeys(("pgd", "pgd_identity", "pgd_temperature"), budget),
        **dict.fromkeys(("apgd_ce", "apgd_dlr"), config.apgd_steps),
        "fgsm": 1,
        "apgd_t": config.apgd_steps * config.apgd_targets,
    }
    for one in members(config):
        if one.box == "black":
            yield Cost(one.name, 0, radii * config.square_queries)
        elif one.twin not in absent or one.twin is None:
            yield Cost(one.name, radii * own.get(one.name, config.strong_steps))
    yield Cost("gate", 1 + config.strong_steps + radii * (1 + config.strong_steps))
    if radii:
        yield Cost("gate's longer PGD", LONGER * LONGER * budget)


def attack_seconds(
    config: Config, images: int, pass_s: float, forward_s: float, absent: frozenset[str]
) -> float:
    """Both protocols and the gate on so many images, at most."""
    return sum(cost.seconds(images, pass_s, forward_s) for cost in costs(config, absent))

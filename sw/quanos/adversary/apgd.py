"""APGD: projected gradient ascent that chooses its own step size (Croce and Hein, ICML 2020).

Algorithm 1 there: steps with momentum; at checkpoints that come closer and closer, an image whose
loss rose too rarely, or whose step and best loss both stayed as they were, gets half its step and
goes on from its best point. Nothing is left to tune but the number of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from quanos.adversary.task import Task, ascend
from quanos.attacks import Attack

RISES = 0.75  # rho: the share of steps that must raise the loss
MOMENTUM = 0.75  # alpha: weight of the newest step
FIRST, SHRINK, SHORTEST = 0.22, 0.03, 0.06  # the periods between checkpoints, in shares of steps


def checkpoints(steps: int) -> list[int]:
    """w_1, w_2, ...: after how many steps the step size is reconsidered (their Section 3.2).

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    found, last, now = [], 0.0, FIRST
    while now <= 1:
        found.append(math.ceil(round(now * steps, 6)))
        last, now = now, now + max(now - last - SHRINK, SHORTEST)
    return found


@dataclass(frozen=True, kw_only=True)
class Apgd(Attack):
    """APGD with `steps` steps from a random start, on the cross-entropy or a DLR loss.

    An image is left at the first point that fools the model, whatever `early_stop` says.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"attack {self.name}: steps and restarts must be at least 1.")

    def once(self, model: nn.Module, task: Task, generator: torch.Generator | None) -> Tensor:
        state, right = _start(model, task, _random_corner(task, generator), self.loss)
        result, marks = state.x.clone(), checkpoints(self.steps)
        state, since = state.keep(right), 0
        for step in range(1, self.steps + 1):
            if len(state.x) == 0:
                break
            moved = state.moved(MOMENTUM if step > 1 else 1.0)
            right = state.climb(model, moved, self.loss)
            result[state.index] = moved
            if step in marks:
                state.adapt(step - since)
                since = step
            state = state.keep(right)
        return result


def _random_corner(task: Task, generator: torch.Generator | None) -> Tensor:
    """A random start on the border of the ball: uniform noise, scaled up to touch it."""
    if generator is None:
        raise ValueError("APGD needs a generator, so that its start can be drawn again.")
    noise = 2 * torch.rand(task.images.shape, generator=generator) - 1
    noise = noise / noise.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return task.project(task.images + task.radius * noise.to(task.images.device))


@dataclass
class _State:
    """What APGD knows of each image; `index` is its place in the batch."""

    task: Task
    index: Tensor
    x: Tensor
    before: Tensor
    gradient: Tensor
    loss: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    share: Tensor  # the step in radii, (B, 1, 1, 1)
    rises: Tensor  # steps since the last checkpoint that raised the loss
    marked_loss: Tensor  # best loss at the last checkpoint
    halved: Tensor  # whether the last checkpoint halved the step

    def keep(self, mask: Tensor) -> _State:
        """The same for some of the images."""
        if bool(mask.all()):
            return self
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "task"}
        kept = {name: value[mask] for name, value in values.items()}
        return replace(self, task=self.task.keep(mask), **kept)

    def moved(self, momentum: float) -> Tensor:
        """The next point: a step, then a mean of it and the last step, both in the ball."""
        step = self.share * self.task.radius * self.gradient.sign()
        ahead = self.task.project(self.x + step)
        onward = momentum * (ahead - self.x) + (1 - momentum) * (self.x - self.before)
        return self.task.project(self.x + onward)

    def climb(self, model: nn.Module, moved: Tensor, loss: str) -> Tensor:
        """Go to `moved`; which images are still classified right there, (B,)."""
        gradient, losses, right = ascend(model, moved, self.task, loss)
        self.rises += losses > self.loss
        self.before, self.x, self.gradient, self.loss = self.x, moved, gradient, losses
        better = losses > self.best_loss
        self.best = _where(better, moved, self.best)
        self.best_gradient = _where(better, gradient, self.best_gradient)
        self.best_loss = torch.where(better, losses, self.best_loss)
        return right

    def adapt(self, period: int) -> None:
        """Condition 1 or 2 of the paper: half the step, and on from the best point."""
        rare = self.rises < RISES * period
        stuck = ~self.halved & (self.best_loss <= self.marked_loss)
        self.halved = rare | stuck
        self.share = _where(self.halved, self.share / 2, self.share)
        self.x = _where(self.halved, self.best, self.x)
        self.gradient = _where(self.halved, self.best_gradient, self.gradient)
        self.loss = torch.where(self.halved, self.best_loss, self.loss)
        self.marked_loss = self.best_loss
        self.rises = torch.zeros_like(self.rises)


def _where(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, 1, 1, 1), yes, no)


def _start(model: nn.Module, task: Task, x: Tensor, loss: str) -> tuple[_State, Tensor]:
    gradient, losses, right = ascend(model, x, task, loss)
    count = len(x)
    state = _State(
        task=task,
        index=torch.arange(count, device=x.device),
        x=x,
        before=x,
        gradient=gradient,
        loss=losses,
        best=x,
        best_gradient=gradient,
        best_loss=losses,
        share=torch.full((count, 1, 1, 1), 2.0, device=x.device),
        rises=torch.zeros(count, device=x.device),
        marked_loss=losses,
        halved=torch.ones(count, dtype=torch.bool, device=x.device),
    )
    return state, right

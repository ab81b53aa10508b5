"""Square Attack in the maximum norm: random search without gradients (Andriushchenko et al. 2020).

Algorithms 1 and 2 there: an image starts with random vertical stripes at the border of the ball;
each query sets one random square to a random colour of the border, and the change stays if the
margin of the logits gets smaller. Masked gradients cannot stop it, so that it tells them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quanos.adversary.task import Task, margin
from quanos.attacks import Attack

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10000, after which the share of pixels that is changed at once is halved."""


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square Attack with `queries` queries an image; `share` is the first square's, of all pixels.

    An image is left at the first query that fools the model.
    """

    queries: int = 5000
    share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1 or not 0 < self.share <= 1:
            raise ValueError(
                f"attack {self.name}: queries must be at least 1 and the share in (0, 1]."
            )

    def once(self, model: nn.Module, task: Task, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            raise ValueError("Square Attack needs a generator, so that it can be drawn again.")
        x = _stripes(task, generator)
        result, index = x.clone(), torch.arange(len(x), device=x.device)
        lowest, right = _query(model, x, task.labels)
        for query in range(1, self.queries):
            x, task, lowest, index = x[right], task.keep(right), lowest[right], index[right]
            if len(x) == 0:
                break
            side = side_length(self.share, query, self.queries, x.shape[2], x.shape[3])
            tried = _with_squares(x, task, side, generator)
            margins, right = _query(model, tried, task.labels)
            better = margins < lowest
            x = torch.where(better.view(-1, 1, 1, 1), tried, x)
            lowest = torch.where(better, margins, lowest)
            result[index] = x
        return result


def side_length(share: float, query: int, queries: int, height: int, width: int) -> int:
    """Side of the square at a query, in pixels; the schedule is stretched to the budget.

    >>> [side_length(0.8, query, 10000, 32, 32) for query in (1, 100, 1500, 9999)]
    [29, 14, 5, 1]
    """
    place = 10000 * query / queries
    halved = share / 2 ** sum(place > mark for mark in HALVINGS)
    side = round(math.sqrt(halved * height * width))
    return min(max(side, 1), height, width)


@torch.no_grad()
def _query(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Margin (B,) and which images are classified right (B,)."""
    logits = model(x)
    return margin(logits, labels), logits.argmax(1) == labels


def _signs(shape: tuple[int, ...], task: Task, generator: torch.Generator) -> Tensor:
    """Random -1 and +1, drawn on the CPU."""
    return (2.0 * torch.randint(2, shape, generator=generator) - 1).to(task.images.device)


def _stripes(task: Task, generator: torch.Generator) -> Tensor:
    """Every column of every channel at one border of the ball."""
    count, channels, _, width = task.images.shape
    signs = _signs((count, channels, 1, width), task, generator)
    return task.project(task.images + task.radius * signs)


def _with_squares(x: Tensor, task: Task, side: int, generator: torch.Generator) -> Tensor:
    """`x` with one square an image, at its own place, set to a colour of the border."""
    count, channels, height, width = x.shape
    rows = _window(count, height, side, generator).to(x.device)
    columns = _window(count, width, side, generator).to(x.device)
    square = rows.view(count, 1, height, 1) & columns.view(count, 1, 1, width)
    colour = task.radius * _signs((count, channels, 1, 1), task, generator)
    return torch.where(square, task.project(task.images + colour), x)


def _window(count: int, size: int, side: int, generator: torch.Generator) -> Tensor:
    """A random run of `side` true values among `size`, (count, size)."""
    first = torch.randint(size - side + 1, (count, 1), generator=generator)
    place = torch.arange(size)
    return (place >= first) & (place < first + side)

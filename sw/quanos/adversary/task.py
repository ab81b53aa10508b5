"""What an attack works on: images, how far each may be moved, and what it wants of their logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS_SPACES = ("pixel", "normalized")
RANGES = (1.0, 10.0)
"""Ranges that temperature brings an image's logits to: nearly even, and as of a usual network."""


@dataclass(frozen=True)
class Task:
    """Images (B, C, H, W) in [0, 1] with labels (B,), each movable by `radius` (1, 1 or C, 1, 1).

    `target` (B,) is the class that a targeted loss wants; `restart` counts the attempts.
    """

    images: Tensor
    labels: Tensor
    radius: Tensor
    target: Tensor
    restart: int = 0

    def project(self, x: Tensor) -> Tensor:
        """The nearest images (B, C, H, W) within the radius everywhere and in [0, 1]."""
        low, high = self.images - self.radius, self.images + self.radius
        return torch.minimum(torch.maximum(x, low), high).clamp(0, 1)

    def noise(self, generator: torch.Generator | None, factor: float = 1.0) -> Tensor:
        """Images (B, C, H, W) plus uniform noise up to `factor` radii, kept in [0, 1].

        Drawn on the CPU. Raises ValueError without a generator.
        """
        if generator is None:
            raise ValueError("random noise needs a generator, so that it can be drawn again.")
        uniform = torch.rand(self.images.shape, generator=generator).to(self.images.device)
        return (self.images + factor * self.radius * (2 * uniform - 1)).clamp(0, 1)

    def keep(self, index: Tensor) -> Task:
        """The same for some of the images: a mask (B,) or indices (n,)."""
        chosen = (values[index] for values in (self.images, self.labels, self.target))
        images, labels, target = chosen
        return replace(self, images=images, labels=labels, target=target)


def radius_of(model: nn.Module, images: Tensor, epsilon: float, eps_space: str) -> Tensor:
    """`epsilon` in pixels, (1, 1 or C, 1, 1).

    In space "normalized" it is `epsilon` times the deviation by which the model's own normalisation
    divides; ValueError for a model that has none (no module with `mean` and `std`).
    """
    if eps_space not in EPS_SPACES:
        raise ValueError(f"eps_space {eps_space!r} is unknown; it is {' or '.join(EPS_SPACES)}.")
    radius = torch.full((1, 1, 1, 1), epsilon, device=images.device)
    if eps_space == "pixel":
        return radius
    for module in model.modules():
        std = getattr(module, "std", None)
        if isinstance(std, Tensor) and isinstance(getattr(module, "mean", None), Tensor):
            return radius * std.detach().reshape(1, -1, 1, 1).to(images.device)
    raise ValueError('the model has no normalisation inside; use eps_space "pixel".')


def cross_entropy(logits: Tensor, task: Task) -> Tensor:
    """-log softmax_y(z), (B,)."""
    return functional.cross_entropy(logits, task.labels, reduction="none")


def temperature(logits: Tensor, task: Task) -> Tensor:
    """Cross-entropy of z / T, (B,): saturated logits leave a gradient (after Gupta et al. 2020).

    T follows each image's logits: it brings their range to the `RANGES`, in turn by restart.
    """
    wanted = RANGES[task.restart % len(RANGES)]
    span = (logits.amax(1) - logits.amin(1)).detach().clamp_min(1e-30)
    scaled = logits * (wanted / span).unsqueeze(1)
    return functional.cross_entropy(scaled, task.labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """z_y - max over i != y of z_i, (B,): below zero where the image is misclassified."""
    own = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    return own - others


def dlr(logits: Tensor, task: Task) -> Tensor:
    """Difference of logits ratio, -(z_y - max z_i) / (z_1 - z_3), (B,) (Croce and Hein 2020).

    Free of the logits' scale and offset. Two classes have no z_3: the margin is not divided then.
    """
    return -margin(logits, task.labels) / _spread(logits, 1)


def dlr_targeted(logits: Tensor, task: Task) -> Tensor:
    """-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2), (B,); with three classes z_4 is z_3."""
    rows = torch.arange(len(logits), device=logits.device)
    difference = logits[rows, task.labels] - logits[rows, task.target]
    return -difference / _spread(logits, 2)


def _spread(logits: Tensor, count: int) -> Tensor:
    """z_1 less the mean of `count` logits from the third on; one where there is no third."""
    ordered = logits.topk(min(2 + count, logits.shape[1]), dim=1).values
    if ordered.shape[1] < 3:
        return torch.ones_like(ordered[:, 0])
    return (ordered[:, 0] - ordered[:, 2:].mean(1)).clamp_min(1e-12)


Loss = Callable[[Tensor, Task], Tensor]
LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "temperature": temperature,
    "dlr": dlr,
    "dlr_targeted": dlr_targeted,
}
"""What an attack raises, by name."""


def ascend(
    model: nn.Module, x: Tensor, task: Task, loss: str = "ce"
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (B, C, H, W) of the loss at `x`, the loss (B,), and which are still right (B,).

    Where the model cuts the graph, the gradient is zero: the attack then stands still, and the gate
    counts it.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        losses = LOSSES[loss](logits, task)
    gradient = None
    if losses.requires_grad:
        (gradient,) = torch.autograd.grad(losses.sum(), x, allow_unused=True)
    right = logits.detach().argmax(1) == task.labels
    return torch.zeros_like(x) if gradient is None else gradient, losses.detach(), right

"""Gradient attacks in the maximum norm: one loop, of which FGSM is the case of one step.

Epsilon is in pixel space, images in [0, 1]; normalisation is the model's own business. An attack
leaves the model as it found it: evaluation mode inside, no statistic and no gradient touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quanos.adversary.task import EPS_SPACES, LOSSES, Task, ascend, radius_of
from quanos.quantizers.switches import at_rest, identity_gradients


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What every attack says of itself; a kind of attack adds how it looks for images.

    With `restarts` > 1 an image that is still classified right is attacked again. `early_stop`
    leaves an image at the first point that fools the model. `identity` lets gradients pass the
    quantizers' clipping as if it were not there (BPDA with the identity, Athalye et al. 2018).
    """

    name: str
    epsilon: float
    restarts: int = 1
    loss: str = "ce"
    early_stop: bool = False
    identity: bool = False
    eps_space: str = "pixel"

    def __post_init__(self) -> None:
        if self.epsilon < 0:
            raise ValueError(f"attack {self.name}: epsilon and step size must not be negative.")
        if self.restarts < 1:
            raise ValueError(f"attack {self.name}: steps and restarts must be at least 1.")
        for value, allowed in ((self.loss, LOSSES), (self.eps_space, EPS_SPACES)):
            if value not in allowed:
                raise ValueError(
                    f"attack {self.name}: {value!r} is unknown; there are {', '.join(allowed)}."
                )

    def once(self, model: nn.Module, task: Task, generator: torch.Generator | None) -> Tensor:
        """Adversarial images (B, C, H, W) by one attempt."""
        raise TypeError(f"{type(self).__name__} does not say how it attacks.")


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """`steps` steps of `step_size` along the gradient's sign, each projected back into the ball.

    `start` is the radius of the random start in epsilons, 0 the image itself. Without `clip` a step
    may leave the ball, as N-FGSM does.
    """

    steps: int = 1
    step_size: float
    start: float = 0.0
    clip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size < 0 or self.start < 0:
            raise ValueError(f"attack {self.name}: epsilon and step size must not be negative.")
        if self.steps < 1:
            raise ValueError(f"attack {self.name}: steps and restarts must be at least 1.")

    def once(self, model: nn.Module, task: Task, generator: torch.Generator | None) -> Tensor:
        x = task.noise(generator, self.start) if self.start else task.images.clone()
        step = task.radius * (self.step_size / self.epsilon if self.epsilon else 0.0)
        result, alive = x, torch.arange(len(x), device=x.device)
        for _ in range(self.steps):
            gradient, _, right = ascend(model, x, task, self.loss)
            if self.early_stop:
                x, gradient, alive, task = x[right], gradient[right], alive[right], task.keep(right)
            x = x + step * gradient.sign()
            x = task.project(x) if self.clip else x.clamp(0, 1)
            result = result.index_copy(0, alive, x) if self.early_stop else x
            if len(alive) == 0:
                break
        return result


def fgsm(
    epsilon: float, *, random_start: bool = False, step_size: float | None = None
) -> GradientAttack:
    """X_adv = X + epsilon sign(grad_X L) (Goodfellow et al. 2015).

    With `random_start` (Wong et al. 2020) the step is 1.25 epsilon unless `step_size` is given.
    """
    step = (1.25 if random_start else 1.0) * epsilon if step_size is None else step_size
    return GradientAttack(
        name="fgsm_rs" if random_start else "fgsm",
        epsilon=epsilon,
        step_size=step,
        start=float(random_start),
    )


def n_fgsm(epsilon: float, *, noise: float = 2.0) -> GradientAttack:
    """A step of epsilon from U(-noise epsilon, noise epsilon), kept in [0, 1], not in the ball.

    Equation 5 of de Jorge et al. (2022) with their k = 2: for training, not for judging.
    """
    return GradientAttack(
        name="n_fgsm", epsilon=epsilon, step_size=epsilon, start=noise, clip=False
    )


def pgd(
    epsilon: float,
    *,
    steps: int = 7,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = False,
    identity: bool = False,
    loss: str = "ce",
    early_stop: bool = False,
    name: str = "pgd",
) -> GradientAttack:
    """The FGSM step repeated and projected back into the ball (Madry et al. 2018).

    Without `step_size` the steps together can cross the ball two and a half times.
    """
    return GradientAttack(
        name=name,
        epsilon=epsilon,
        steps=steps,
        step_size=2.5 * epsilon / steps if step_size is None else step_size,
        start=float(random_start or restarts > 1),
        restarts=restarts,
        identity=identity,
        loss=loss,
        early_stop=early_stop,
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode again after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the summed cross-entropy by the images, (B, C, H, W); parameters get none."""
    task = Task(images, labels, torch.zeros(1), labels)
    return ascend(model, images, task)[0]


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Adversarial images (B, C, H, W): in [0, 1] and within epsilon of `images` everywhere.

    Whatever is drawn by chance is drawn from `generator` (on the CPU; required where the attack
    draws).
    """
    gradients = identity_gradients(model) if attack.identity else nullcontext()
    with evaluating(model), at_rest(model), gradients:
        radius = radius_of(model, images, attack.epsilon, attack.eps_space)
        task = Task(images, labels, radius, labels)
        result = attack.once(model, _aimed(model, task, attack), generator)
        for restart in range(1, attack.restarts):
            missed = (predict(model, result) == labels).nonzero().flatten()
            if len(missed) == 0:
                break
            again = _aimed(model, replace(task.keep(missed), restart=restart), attack)
            result[missed] = attack.once(model, again, generator)
    return result


def _aimed(model: nn.Module, task: Task, attack: Attack) -> Task:
    """The task with its target: by restart the likeliest wrong class, the second likeliest, ..."""
    if attack.loss != "dlr_targeted":
        return task
    with torch.no_grad():
        logits = model(task.images).scatter(1, task.labels.unsqueeze(1), -torch.inf)
    place = task.restart % max(logits.shape[1] - 1, 1)
    return replace(task, target=logits.argsort(dim=1, descending=True, stable=True)[:, place])


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The class of each image, (B,)."""
    with torch.no_grad(), evaluating(model):
        classes: Tensor = model(images).argmax(1)
    return classes

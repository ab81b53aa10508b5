"""Gradient attacks in the maximum norm: one loop, of which FGSM is the case of one step.

Epsilon is in pixel space, images in [0, 1]; normalisation is the model's own business. An attack
leaves the model as it found it: evaluation mode inside, no statistic and no gradient touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from quanos.quantizer import identity_gradients


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What an attack may do: `steps` steps of `step_size` inside the ball of radius `epsilon`.

    With `restarts` > 1 an image that is still classified right is attacked again from another
    random start. `identity` lets gradients pass the quantizers' clipping as if it were not there
    (BPDA with the identity, Athalye et al. 2018).
    """

    name: str
    epsilon: float
    steps: int = 1
    step_size: float
    random_start: bool = False
    restarts: int = 1
    identity: bool = False

    def __post_init__(self) -> None:
        if self.epsilon < 0 or self.step_size < 0:
            raise ValueError(f"attack {self.name}: epsilon and step size must not be negative.")
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"attack {self.name}: steps and restarts must be at least 1.")


def fgsm(epsilon: float) -> Attack:
    """X_adv = X + epsilon sign(grad_X L) (Goodfellow et al. 2015)."""
    return Attack(name="fgsm", epsilon=epsilon, step_size=epsilon)


def pgd(
    epsilon: float,
    *,
    steps: int = 7,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = False,
    identity: bool = False,
    name: str = "pgd",
) -> Attack:
    """The FGSM step repeated and projected back into the ball (Madry et al. 2018).

    Without `step_size` the steps together can cross the ball two and a half times.
    """
    return Attack(
        name=name,
        epsilon=epsilon,
        steps=steps,
        step_size=2.5 * epsilon / steps if step_size is None else step_size,
        random_start=random_start or restarts > 1,
        restarts=restarts,
        identity=identity,
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
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = functional.cross_entropy(model(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Adversarial images (B, C, H, W): in [0, 1] and within epsilon of `images` everywhere.

    Random starts are drawn from `generator` (on the CPU; required where `random_start` is set).
    """
    gradients = identity_gradients(model) if attack.identity else nullcontext()
    with evaluating(model), gradients:
        result = _run(model, images, labels, attack, generator)
        for _ in range(attack.restarts - 1):
            missed = (predict(model, result) == labels).nonzero().flatten()
            if len(missed) == 0:
                break
            result[missed] = _run(model, images[missed], labels[missed], attack, generator)
    return result


def _run(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    generator: torch.Generator | None,
) -> Tensor:
    low, high = (images - attack.epsilon).clamp(min=0), (images + attack.epsilon).clamp(max=1)
    adversarial = images.clone()
    if attack.random_start:
        adversarial = random_noise(images, attack.epsilon, generator)
    for _ in range(attack.steps):
        step = attack.step_size * input_gradient(model, adversarial, labels).sign()
        adversarial = torch.minimum(torch.maximum(adversarial + step, low), high)
    return adversarial


def random_noise(images: Tensor, epsilon: float, generator: torch.Generator | None) -> Tensor:
    """Images plus uniform noise from the ball of radius epsilon, kept in [0, 1]."""
    if generator is None:
        raise ValueError("random noise needs a generator, so that it can be drawn again.")
    noise = torch.rand(images.shape, generator=generator).to(images.device) * 2 - 1
    return (images + epsilon * noise).clamp(0, 1)


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The class of each image, (B,)."""
    with torch.no_grad(), evaluating(model):
        classes: Tensor = model(images).argmax(1)
    return classes

"""Every measurement that a policy takes, by its kind."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from quanos.ans import adversarial_noise_sensitivity
from quanos.attacks import Attack
from quanos.sensing.activation_density import activation_density
from quanos.sensing.hessian import hessian_traces
from quanos.sensing.lipschitz import lipschitz_constants
from quanos.sensing.measurement import KINDS, Measurement

HESSIAN_BATCH = 64
"""Images whose second derivatives are held in memory at once."""


def measure(
    kind: str,
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    attack: Attack | None = None,
    reduction: str = "sample",
    seed: int = 0,
) -> Measurement:
    """One number for every quantized layer of `model`, in forward order.

    `batches` yields images (B, C, H, W) in [0, 1] with labels (B,). `attack` (FGSM with epsilon
    0.05 where not given) is for ans and lipschitz, `reduction` for ans, `seed` for hessian. Raises
    ValueError for an unknown kind or no images.
    """
    if kind == "ans":
        values = adversarial_noise_sensitivity(model, batches, attack=attack, reduction=reduction)
        return Measurement(kind=kind, layers=values)
    if kind == "activation-density":
        return activation_density(model, batches)
    if kind == "hessian":
        return hessian_traces(model, _smaller(batches), seed=seed)
    if kind == "lipschitz":
        return lipschitz_constants(model, batches, attack=attack)
    raise ValueError(f"measurement {kind!r} is unknown; there are {', '.join(KINDS)}.")


def _smaller(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterable[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        for start in range(0, len(images), HESSIAN_BATCH):
            part = slice(start, start + HESSIAN_BATCH)
            yield images[part], labels[part]

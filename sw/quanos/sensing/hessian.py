"""Hessian trace of every layer's weights, and the loss that a width would cause by it.

After HAWQ-V2 (Dong et al., NeurIPS 2020, arXiv 1911.03852): by the second-order Taylor term, a
layer of n weights adds Omega_l(k) = trace(H_l) / n * ||Q_k(W_l) - W_l||^2 to the loss. The trace is
estimated as Hutchinson did: the mean of v^T H v over random v of -1 and +1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from quanos.allocation.budgets import MAX_BITS
from quanos.attacks import evaluating
from quanos.layers import QuantLayer, quantized_layers
from quanos.quantizer import Quantizer
from quanos.quantizers.switches import unquantized
from quanos.sensing.measurement import Measurement


def hessian_traces(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    draws: int = 4,
    seed: int = 0,
) -> Measurement:
    """Mean Hessian eigenvalue, trace / n, of every quantized layer, and Omega at 1..16 bits.

    `batches` yields images (B, C, H, W) in [0, 1] with labels (B,); `draws` random vectors are
    drawn from `seed` for each batch. The Hessian is that of the mean cross-entropy of the model
    without quantization, in evaluation mode. Where the estimate is below zero it counts as zero.
    The model stays as it is. Raises ValueError for no images.
    """
    layers = quantized_layers(model)
    generator = torch.Generator().manual_seed(seed)
    total, images_seen = torch.zeros(len(layers), dtype=torch.float64), 0
    with evaluating(model), unquantized(model):
        for images, labels in batches:
            for _ in range(draws):
                found = _products(model, list(layers.values()), images, labels, generator)
                total += found.double().cpu() * len(images) / draws
            images_seen += len(images)
    if not images_seen:
        raise ValueError("no loss was seen; give at least one image.")
    traces = dict(zip(layers, (total / images_seen).clamp_min(0).tolist(), strict=True))
    means = {name: trace / layers[name].weight.numel() for name, trace in traces.items()}
    losses = {
        name: tuple(means[name] * error for error in weight_errors(layer))
        for name, layer in layers.items()
    }
    return Measurement(kind="hessian", layers=means, losses=losses)


def _products(
    model: nn.Module,
    layers: list[QuantLayer],
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """v^T H_l v for a random v for each layer, (L,).

    One v for all layers at once would cost one product, but what couples layers, mean zero, can be
    many times larger than the trace: it would take thousands of draws to average out.
    """
    weights = [layer.weight for layer in layers]
    kept = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_()
    try:
        with torch.enable_grad():
            loss = functional.cross_entropy(model(images), labels)
            gradients: Any = torch.autograd.grad(loss, weights, create_graph=True)
            vectors = [_signs(weight, generator) for weight in weights]
            products = [
                torch.autograd.grad(gradient, weight, vector, retain_graph=True)[0]
                for gradient, weight, vector in zip(gradients, weights, vectors, strict=True)
            ]
    finally:
        for weight, before in zip(weights, kept, strict=True):
            weight.requires_grad_(before)
    return torch.stack([(v * h).sum() for v, h in zip(vectors, products, strict=True)])


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(2, like.shape, generator=generator)
    return (2 * drawn - 1).to(like)


@torch.no_grad()
def weight_errors(layer: QuantLayer) -> list[float]:
    """||Q_k(W) - W||^2 at k = 1..16 bits, by the layer's own quantizer."""
    quantizer: Quantizer = layer.w_quantizer
    before = quantizer.bits
    errors = []
    try:
        for bits in range(1, MAX_BITS + 1):
            quantizer.bits = bits
            error = (quantizer(layer.weight) - layer.weight).double().square().sum()
            errors.append(float(error))
    finally:
        quantizer.bits = before
    return errors

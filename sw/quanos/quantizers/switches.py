"""What is switched in all quantizers of a model for a while, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from quanos.quantizer import Quantizer


def quantizers(model: nn.Module) -> list[Quantizer]:
    """Every quantizer of the model."""
    return [module for module in model.modules() if isinstance(module, Quantizer)]


@contextmanager
def identity_gradients(model: nn.Module) -> Iterator[None]:
    """Inside, gradients pass every quantizer as if it did not clip (BPDA with identity)."""
    yield from _switched(model, "identity_ste", True)


@contextmanager
def unquantized(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes in floating point with the same parameters: its float twin."""
    yield from _switched(model, "enabled", False)


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Inside, weights are quantized once and ranges taken once, for passes that learn nothing.

    Parameters, bits and modes must stay as they are meanwhile; weights get no gradients.
    """
    try:
        yield from _switched(model, "resting", True)
    finally:
        for quantizer in quantizers(model):
            quantizer.held = None


def _switched(model: nn.Module, name: str, value: bool) -> Iterator[None]:
    before = [(q, getattr(q, name)) for q in quantizers(model)]
    try:
        for quantizer, _ in before:
            setattr(quantizer, name, value)
        yield
    finally:
        for quantizer, old in before:
            setattr(quantizer, name, old)

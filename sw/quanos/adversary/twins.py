"""Networks that adversarial images are made on, to be tried on another: twins of the one attacked.

What fools a twin with honest gradients and also the network, but is not found on the network
itself, is a sign of masked gradients (Athalye et al. 2018). A two-bit surrogate transfers best to
quantized networks (QAA, Yang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import nn

from quanos.layers import get_bits, set_bits
from quanos.quantizers.switches import quantizers, unquantized

TWINS = {
    "float": "the same weights without quantizers",
    "2": "the same weights at 2 bits",
    "16": "the 16-bit network trained beside it",
    "seed": "a network trained from another seed",
}
"""Name of a twin, and what it is."""


@contextmanager
def at_bits(model: nn.Module, bits: int) -> Iterator[None]:
    """Inside, every layer of the model computes at `bits`."""
    before = get_bits(model)
    set_bits(model, bits)
    try:
        yield
    finally:
        set_bits(model, before)


def absent(twin: str, model: nn.Module, others: Mapping[str, nn.Module]) -> str | None:
    """Why there is no such twin of `model`; None where there is one."""
    if twin in ("float", "2"):
        return None if quantizers(model) else "the network has no quantizers"
    if twin not in others:
        return f"{TWINS[twin]} was not given"
    return "it is the network itself" if others[twin] is model else None


def turned_into(twin: str, model: nn.Module) -> AbstractContextManager[None]:
    """Inside, `model` is its own twin; nothing happens for a twin that is another network."""
    if twin == "float":
        return unquantized(model)
    return at_bits(model, 2) if twin == "2" else nullcontext()

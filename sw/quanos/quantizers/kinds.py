"""The kinds of quantizers by name, for `quantize(..., quantizer=NAME)` and the configuration."""

from __future__ import annotations

from quanos.quantizer import ActivationQuantizer, WeightQuantizer
from quanos.quantizers.dorefa import DorefaActivationQuantizer, DorefaWeightQuantizer
from quanos.quantizers.lsq import LsqActivationQuantizer, LsqWeightQuantizer

QUANTIZERS: dict[str, tuple[type[WeightQuantizer], type[ActivationQuantizer]]] = {
    "uniform": (WeightQuantizer, ActivationQuantizer),
    "lsq": (LsqWeightQuantizer, LsqActivationQuantizer),
    "dorefa": (DorefaWeightQuantizer, DorefaActivationQuantizer),
}
"""Name: quantizer of weights, quantizer of activations."""


def quantizer_pair(
    name: str, bits: int, signed: bool | None = None
) -> tuple[WeightQuantizer, ActivationQuantizer]:
    """Both quantizers of a layer. Raises ValueError for an unknown name."""
    if name not in QUANTIZERS:
        raise ValueError(f"quantizer {name!r} is unknown; there are {', '.join(QUANTIZERS)}.")
    weight, activation = QUANTIZERS[name]
    return weight(bits), activation(bits, signed=signed)

"""Operands of VGG-19's size: layers of the paper's network, random codes at its Table II's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hw.rtl.layers import Layer, exact_product
from hw.writing import writing

VGG19 = "vgg19"
CHANNELS = (*(64,) * 2, *(128,) * 2, *(256,) * 4, *(512,) * 8)
BITS = (9, 4, 5, 3, 3, 3, 4, 2, 4, 6, 9, 8, 9, 7, 3, 2)  # Table II less its 17th
PIXELS = 64  # of a layer's output: those of a tile; what follows them is the same again


def vgg19_shapes() -> list[Layer]:
    """Layers of VGG-19's shapes that hold nothing but ones, in no memory: what a plan needs."""
    inputs = (3, *CHANNELS[:-1])
    return [
        Layer(
            name=f"conv{number}", bits=bits, a_signed=False, images=1,
            a=_ones(PIXELS, 9 * own), w=_ones(9 * own, outputs), sums=_ones(PIXELS, outputs),
        )
        for number, (own, outputs, bits) in enumerate(zip(inputs, CHANNELS, BITS, strict=True))
    ]  # fmt: skip


def _ones(rows: int, columns: int) -> np.ndarray:
    return np.broadcast_to(np.int64(1), (1, rows, columns))


def vgg19_layers(build: Path, seed: int) -> Path:
    """Write random operands of those shapes, as `quanos export` would; returns their folder."""
    rng, folder = np.random.default_rng(seed), build / VGG19
    for number, layer in enumerate(vgg19_shapes()):
        most = (1 << layer.bits - 1) - 1
        w = rng.integers(-most, most, layer.w.shape, endpoint=True)
        a = rng.integers(0, 1 << layer.bits, layer.a.shape)
        with writing(folder / f"{number:02}-{layer.name}.npz") as beside, beside.open("wb") as file:
            sums = exact_product(a, w)
            np.savez(file, a=a, w=w, sums=sums, bits=layer.bits, a_signed=0, images=1)
    return folder

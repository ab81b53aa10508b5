"""Operands of VGG-19's size: layers of the paper's network, random codes at its Table II's bits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

VGG19 = "vgg19"
CHANNELS = (*(64,) * 2, *(128,) * 2, *(256,) * 4, *(512,) * 8)
BITS = (9, 4, 5, 3, 3, 3, 4, 2, 4, 6, 9, 8, 9, 7, 3, 2)  # Table II less its 17th
PIXELS = 64  # of a layer's output: those of a tile; what follows them is the same again


def vgg19_layers(build: Path, seed: int) -> Path:
    """Write random operands of VGG-19's shapes, of as many pixels as an array keeps; the folder."""
    rng, folder = np.random.default_rng(seed), build / VGG19
    folder.mkdir(parents=True, exist_ok=True)
    inputs = 3
    for number, (outputs, bits) in enumerate(zip(CHANNELS, BITS, strict=True)):
        most = (1 << bits - 1) - 1
        w = rng.integers(-most, most, (1, 9 * inputs, outputs), endpoint=True)
        a = rng.integers(0, 1 << bits, (1, PIXELS, 9 * inputs))
        path = folder / f"{number:02}-conv{number}.npz"
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with beside.open("wb") as file:
            np.savez(file, a=a, w=w, sums=a @ w, bits=bits, a_signed=0, images=1)
        beside.replace(path)
        inputs = outputs
    return folder

"""What follows a network's last layer on the array: from its sums to classes, in floating point.

`head.npz`, which `quanos export --operands` writes beside the layers' operands, holds what the
trainer leaves in floating point, batch norm folded: `scale` and `offset` (N,) of the sums, `weight`
(classes, N) and `bias` (classes,) of the classifier behind ReLU and the mean over pixels, and the
`logits` (images, classes) that the trainer itself computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.layers import HEAD, Layer
from hw.rtl.npz import read_npz

NAMES = ("scale", "offset", "weight", "bias", "logits")
# Of the largest logit. The trainer computes in float32, so that a code next to a border may be
# another one; in 1,000 digits that moves logits of 10 by up to 0.1.
TOLERANCE = 0.05

Real = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last steps of a network; shapes as in the module's text."""

    scale: Real
    offset: Real
    weight: Real
    bias: Real
    logits: Real

    @property
    def classes(self) -> list[int]:
        """The trainer's class of each image."""
        return self.logits.argmax(1).tolist()

    def compute(self, sums: NDArray[np.int64]) -> Real:
        """Logits (images, classes) of the last layer's sums (images * pixels, N)."""
        values = np.maximum(sums * self.scale + self.offset, 0)
        pixels = values.reshape(len(self.logits), -1, values.shape[-1])
        return pixels.mean(1) @ self.weight.T + self.bias

    def error(self, logits: Real) -> float:
        """The largest difference from the trainer's logits."""
        return float(np.abs(logits - self.logits).max())


def read_head(folder: Path, last: Layer) -> Head | None:
    """The head of the layers in `folder`, of which `last` comes last; None where there is none.

    Raises ValueError where the file is damaged or incomplete, is of another network, or does not
    give the trainer's logits for the exported sums.
    """
    path = folder / HEAD
    if not path.exists():
        return None
    try:
        found = read_npz(path)
        data = {name: found[name].astype(np.float64) for name in NAMES}
    except (ValueError, KeyError):
        raise ValueError(f"{path} is no whole head; write it with quanos export.") from None
    _check_shapes(path, data, last)
    head = Head(**data)
    if not head.error(head.compute(last.sums[0])) <= TOLERANCE * np.abs(head.logits).max():
        raise ValueError(
            f"{path} has a scale or weights that do not give the trainer's logits for the sums of "
            f"{last.name}; export it anew."
        )
    return head


def _check_shapes(path: Path, data: dict[str, NDArray[Any]], last: Layer) -> None:
    outputs, classes = last.shape[2], data["bias"].size
    shapes = ((outputs,), (outputs,), (classes, outputs), (classes,), (last.images, classes))
    for (name, values), shape in zip(data.items(), shapes, strict=True):
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(
                f"{path} must hold finite numbers {name} of shape {shape} for layer {last.name}; "
                f"those in it have {values.shape}."
            )
    if last.shape[0] % last.images:
        raise ValueError(
            f"{path} is of {last.images} images, which {last.shape[0]} rows of {last.name} do not "
            "share; export it anew."
        )

"""Operands of a network's layers, as the trainer's export writes them: integer matrix products.

A layer's file is a `.npz` with `a` (groups, M, K), `w` (groups, K, N), their exact products `sums`
(groups, M, N), and the whole numbers `bits` (of both operands), `a_signed` (0, 1) and `images` (how
many images M stands for).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.npz import read_npz
from hw.rtl.spec import MacSpec, Mode

ARRAYS = ("a", "w", "sums")
NUMBERS = ("bits", "a_signed", "images")
HEAD = "head.npz"  # beside the layers: what follows the last one (hw.tb.head)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A layer's products; `a` (groups, M, K) times `w` (groups, K, N) gives `sums`."""

    name: str
    bits: int
    a_signed: bool
    images: int
    a: NDArray[np.int64]
    w: NDArray[np.int64]
    sums: NDArray[np.int64]

    @property
    def groups(self) -> int:
        """Products of the layer: one, or one a group of a grouped convolution."""
        return len(self.w)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(M, K, N) of one product."""
        return self.a.shape[1], self.w.shape[1], self.w.shape[2]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        m, k, n = self.shape
        return self.groups * m * k * n

    @property
    def widths(self) -> tuple[int, int]:
        """Bits of weights and of activations on the hardware.

        One-bit operands that hold a zero, which padding makes, run at two bits: +1 and -1 have no
        zero between them.
        """
        one = self.bits == 1
        w_bits = self.bits + bool(one and (self.w == 0).any())
        return w_bits, self.bits + bool(one and self.a_signed and (self.a == 0).any())

    def mode(self, mac: MacSpec) -> Mode:
        """The mode in which `mac` runs the layer; a conventional MAC runs at its own width."""
        widths = self.widths if mac.scalable else (mac.w_width, mac.a_width)
        return mac.mode(*widths, self.a_signed)


def read_layers(folder: Path | str) -> list[Layer]:
    """The layers of a folder in the order of their file names.

    Raises ValueError where there are none, or a file is damaged, incomplete or inconsistent.
    """
    files = sorted(path for path in Path(folder).glob("*.npz") if path.name != HEAD)
    if not files:
        raise ValueError(
            f"{folder} holds no layer operands (*.npz); write them with quanos export --operands."
        )
    return [read_layer(file) for file in files]


def read_layer(path: Path) -> Layer:
    """One layer's operands; its name is the file's without the number before the first dash.

    Raises ValueError where the file is damaged, incomplete or inconsistent.
    """
    try:
        data = read_npz(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is no whole .npz file ({error}); write it with quanos export."
        ) from None
    if missing := [name for name in (*ARRAYS, *NUMBERS) if name not in data]:
        raise ValueError(f"{path} lacks {', '.join(missing)}; write it with quanos export.")
    if any(data[name].dtype.kind not in "iu" for name in (*ARRAYS, *NUMBERS)):
        raise ValueError(f"{path} must hold integers only; write it with quanos export.")
    if any(data[name].size != 1 for name in NUMBERS):
        raise ValueError(f"{path} must hold single numbers {', '.join(NUMBERS)}.")
    numbers = {name: int(data[name].item()) for name in NUMBERS}
    if numbers["a_signed"] not in (0, 1):
        raise ValueError(f"{path} must have a_signed 0 or 1, not {numbers['a_signed']}.")
    layer = Layer(
        name=path.stem.partition("-")[2] or path.stem,
        bits=numbers["bits"],
        a_signed=bool(numbers["a_signed"]),
        images=numbers["images"],
        **{name: data[name].astype(np.int64) for name in ARRAYS},
    )
    _check(layer, path)
    return layer


def _check(layer: Layer, path: Path) -> None:
    a, w, sums = layer.a, layer.w, layer.sums
    shapes: tuple[Any, ...] = (a.shape, w.shape, sums.shape)
    fits = a.ndim == w.ndim == sums.ndim == 3 and a.shape[2] == w.shape[1] and a.size and w.size
    if not fits or sums.shape != (len(w), a.shape[1], w.shape[2]) or len(a) != len(w):
        raise ValueError(
            f"{path} must hold a (groups, M, K), w (groups, K, N) and sums (groups, M, N), not "
            f"{', '.join(map(str, shapes))}."
        )
    if not 1 <= layer.bits <= 16 or layer.images < 1:
        raise ValueError(f"{path} must have 1 to 16 bits and at least one image.")
    most = max((1 << layer.bits - 1) - 1, 1)
    low, high = (-most, most) if layer.a_signed else (0, (1 << layer.bits) - 1)
    for name, codes, bounds in (("w", w, (-most, most)), ("a", a, (low, high))):
        outside = codes[(codes < bounds[0]) | (codes > bounds[1])]
        if outside.size:
            raise ValueError(
                f"{path} has {name} code {outside[0]}; at {layer.bits} bits {bounds[0]} to "
                f"{bounds[1]} are allowed."
            )
    if not np.array_equal(sums, exact_product(a, w)):
        raise ValueError(f"{path} has sums that are not the products of a and w; export it anew.")


def exact_product(a: NDArray[np.int64], w: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums (groups, M, N) of codes (groups, M, K) and (groups, K, N) of up to 16 bits.

    In floating point, which NumPy multiplies many times as fast, where it is exact: products of
    such codes stay below 2**53 in sums of up to 2**21.
    """
    if a.shape[2] > 1 << 21:
        return np.asarray(a @ w)
    return np.asarray(a.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)

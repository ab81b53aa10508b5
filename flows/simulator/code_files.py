"""Integer codes from `.npz` files: the words of a netlist's ports, or the operands of a layer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flows.console import FlowError
from hw.rtl.npz import read_npz

Codes = NDArray[np.int64]
LARGEST = 2**63 - 1  # what an unsigned number beyond it would be read as is negative
_NUMBERS = ("w_bits", "a_bits", "a_signed")


def load(path: Path | str) -> dict[str, Codes]:
    """Arrays of a `.npz` file, flattened; FlowError unless all are integers of one length."""
    arrays = _arrays(path)
    if not arrays or len({array.size for array in arrays.values()}) != 1:
        raise FlowError(f"{path} must hold arrays of one length, such as w and a.")
    return arrays


def _arrays(path: Path | str) -> dict[str, Codes]:
    try:
        arrays = read_npz(Path(path))
    except ValueError as error:
        raise FlowError(
            f"{path} is no .npz file of arrays ({error}); write one with numpy.savez."
        ) from None
    for name, array in arrays.items():
        if array.dtype.kind not in "iu" or array.size == 0:
            raise FlowError(f"{path}: array {name} must hold integers, not {array.dtype}.")
        if int(array.max()) > LARGEST:
            raise FlowError(f"{path}: array {name} holds {array.max()}; {LARGEST} is the largest.")
    return {name: array.reshape(-1).astype(np.int64) for name, array in arrays.items()}


@dataclass(frozen=True, eq=False)
class OperandFile:
    """Codes of a layer's weights and activations, pair by pair in the order of their products.

    A `.npz` with integer arrays `w` and `a` of one size and, so that the file says all, single
    numbers `w_bits`, `a_bits` and `a_signed` (by default: whether any activation is negative).
    """

    codes: dict[str, Codes]
    bits: tuple[int, int] | None
    a_signed: bool
    sha256: str

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Raises FlowError for what is no such file."""
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        arrays = _arrays(path)
        codes = {name: arrays.pop(name) for name in list(arrays) if name in ("w", "a")}
        if len(codes) != 2 or codes["w"].size != codes["a"].size:
            raise FlowError(f"{path} must hold arrays w and a of one length.")
        given = {n: int(x[0]) for n, x in arrays.items() if n in _NUMBERS and x.size == 1}
        if len(given) != len(arrays) or ("w_bits" in given) != ("a_bits" in given):
            raise FlowError(
                f"{path} may hold, besides w and a, the single numbers w_bits and a_bits (both or "
                f"neither) and a_signed, not {', '.join(sorted(arrays))}."
            )
        bits = (given["w_bits"], given["a_bits"]) if "w_bits" in given else None
        signed = bool(given.get("a_signed", int(codes["a"].min() < 0)))
        return cls(codes, bits, signed, digest)


def check_codes(name: str, codes: Codes, low: int, high: int, where: str) -> None:
    """Refuse (FlowError) codes outside `low` .. `high`, naming the first."""
    outside = codes[(codes < low) | (codes > high)]
    if outside.size:
        raise FlowError(
            f"stimulus array {name} holds the code {outside[0]}; {where} takes {low} to {high}."
        )

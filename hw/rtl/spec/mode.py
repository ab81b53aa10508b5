"""The precision at which a MAC runs, and the codes that it takes then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Precision at which a MAC runs: bits of the operands, signedness of activations, lanes."""

    w_bits: int
    a_bits: int
    a_signed: bool = False
    lanes: int = 1

    def w_range(self) -> tuple[int, int]:
        """Smallest and largest weight code that the hardware takes (two's complement)."""
        return _signed_range(self.w_bits)

    def a_range(self) -> tuple[int, int]:
        """Smallest and largest activation code."""
        return _signed_range(self.a_bits) if self.a_signed else (0, 2**self.a_bits - 1)

    @property
    def binary(self) -> tuple[bool, bool]:
        """Whether the weights, and whether the activations, are +1 and -1 with no zero between."""
        return self.w_range() == BINARY, self.a_range() == BINARY


def _signed_range(bits: int) -> tuple[int, int]:
    return BINARY if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


BINARY = (-1, 1)
"""Range of one signed bit, of which zero is no code; no other number of bits has this range."""


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """ValueError where `value` is no whole number from `low` to `high`; a bool is none."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")

"""TOML that others may have written: `tomllib` within bounds.

A dotted key of n parts costs `tomllib` memory by the square of n, so that a line of 100 kB could
take more than a gigabyte. Standard library alone, so that every room may use it.
"""

from __future__ import annotations

import tomllib
from typing import Any

LARGEST = 1 << 16  # characters; the longest preset has a few thousand
DOTS = 128  # in a line, which a dotted key cannot leave


def loads(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises ValueError for what is no TOML, or longer or deeper than these bounds, and RecursionError
    for brackets nested too deep for `tomllib`.

    >>> loads("epochs = 3")
    {'epochs': 3}
    >>> loads(".".join("a" * 200) + " = 1")
    Traceback (most recent call last):
    ValueError: line 1 has more than 128 dots
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} characters are more than the {LARGEST} that are read")
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > DOTS:
            raise ValueError(f"line {number} has more than {DOTS} dots")
    return tomllib.loads(text)

"""What can be x or z in a design's source, before synthesis settles it as it likes.

Cells have two values: synthesis takes an x of the source for whichever is cheaper, and the netlist
then says nothing of what the source would have done. Such a source is refused instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from flows.console import FlowError

_UNKNOWN = re.compile(r"(?:^|[ {])\d+'[01m-]*([xz])")
_ASSIGNED = re.compile(r"\$\d+\\(\S+?)(?:\[[\d:]+\])?$")
_NOTHING = "assign { } { }"
_IDLE = (
    "\\CLK",
    "\\EN",
    "\\ARST",
    "\\SRST",
)  # of a memory's port without a clock: x in Yosys' text


def check_unknowns(rtlil: str, top: str) -> None:
    """Refuse (FlowError) a constant x or z that anything can take, by its net or place.

    `rtlil` is Yosys' text of the design as it was read: what Yosys adds when it turns processes
    into multiplexers is not the source's.
    """
    if not _UNKNOWN.search(rtlil):
        return
    for where, value in _unknowns(rtlil.splitlines()):
        raise FlowError(
            f"{top} cannot be synthesised: {where} can be {value}; give it 0 or 1 in every case."
        )


def _unknowns(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Where one is, and which."""
    place, cell, added = "", "", False
    for before, line in pairwise(lines):
        words = line.split()
        kind = words[0] if words else ""
        if words[:2] == ["attribute", "\\src"]:
            place = words[2].strip('"')
        if kind in ("cell", "end"):
            cell = words[1] if kind == "cell" else ""
        if before.strip() == "case":  # a full case's default is Yosys' own, but for a mark
            added = line.strip() != _NOTHING
        elif kind in ("case", "end", "switch"):
            added = False
        if (found := _UNKNOWN.search(line)) is None:
            continue
        if kind == "assign" and not added and "$memwr$" not in words[1]:
            yield _net(words[1]), found[1]
        elif kind == "connect" and not (cell.startswith("$mem") and words[1] in _IDLE):
            yield f"the expression at {place}" if cell else _net(words[1]), found[1]


def _net(word: str) -> str:
    name = _ASSIGNED.match(word)
    return f"net {name[1] if name else word.removeprefix(chr(92))}"

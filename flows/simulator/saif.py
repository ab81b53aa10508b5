"""Switching activity of a netlist's nets, and the SAIF files that carry it between tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flows.console import FlowError, write_text
from flows.netlist import CONSTANTS, Netlist

Floats = NDArray[np.float64]
LARGEST = 1e30
HEAD = """(SAIFILE
  (SAIFVERSION "2.0")
  (DIRECTION "backward")
  (DESIGN "{design}")
  (DIVIDER / )
  (TIMESCALE 1 ps)
  (DURATION {duration})
  (INSTANCE {instance}
    (NET"""


@dataclass(frozen=True, eq=False)
class Activity:
    """What the nets do, one entry a net in the netlist's order.

    `duty` is the share of time at 1, `density` the mean number of transitions (rising and falling,
    glitches included) per clock cycle. A free-running clock has duty 0.5 and density 2.
    """

    duty: Floats
    density: Floats

    @classmethod
    def of(cls, netlist: Netlist, duty: ArrayLike, density: ArrayLike) -> Self:
        """Check shape and range; the constant nets are set to what they are."""
        arrays = np.array(duty, float), np.array(density, float)
        for array, name in zip(arrays, ("duty", "density"), strict=True):
            if array.shape != (len(netlist.nets),):
                raise FlowError(
                    f"{name} has shape {array.shape}; {netlist.top} has {len(netlist.nets)} nets."
                )
            array[: len(CONSTANTS)] = (0.0, 1.0) if name == "duty" else 0.0
            if not np.all(np.isfinite(array)) or np.any(array < 0):
                raise FlowError(f"{name} must be finite and not negative.")
        return cls(*arrays)


@dataclass(frozen=True, eq=False)
class Saif:
    """Contents of a SAIF file, one entry a net: ps at 0 and 1, and transition counts."""

    duration_ps: float
    t0: Floats
    t1: Floats
    tc: Floats

    def activity(self, netlist: Netlist, clock_ps: float) -> Activity:
        """Transitions per cycle of a clock with period `clock_ps`."""
        cycles = self.duration_ps / clock_ps
        known = np.maximum(self.t0 + self.t1, 1e-30)
        return Activity.of(netlist, self.t1 / known, self.tc / cycles)


def write_saif(
    path: Path | str,
    netlist: Netlist,
    duration: float,
    t0: ArrayLike,
    t1: ArrayLike,
    tc: ArrayLike,
    ig: ArrayLike | None = None,
) -> None:
    """Write SAIF 2.0, backward; arrays have one entry a net, times are in ps (rounded to 1).

    `ig` counts the transitions that are glitches, where they are known.
    """
    shape = (len(netlist.nets),)
    columns = [np.asarray(x if x is not None else np.zeros(shape)) for x in (t0, t1, tc, ig)]
    if any(column.shape != shape for column in columns):
        raise FlowError(f"SAIF of {netlist.top} needs one entry for each of {shape[0]} nets.")
    rows = np.rint(np.stack(columns, 1)).astype(np.int64).tolist()
    lines = [
        f"      ({_escape(name)} (T0 {a}) (T1 {b}) (TX 0) (TC {c}) (IG {d}))"
        for name, (a, b, c, d) in zip(netlist.nets, rows, strict=True)
        if name not in CONSTANTS
    ]
    top = _escape(netlist.top)
    head = HEAD.format(design=netlist.top, duration=round(duration), instance=top)
    write_text(path, "\n".join([head, *lines, "    )", "  )", ")", ""]))


def read_saif(path: Path | str, netlist: Netlist) -> Saif:
    """Read the activity of every net of the netlist, wherever in the file's instances it stands.

    Raises FlowError for a file that is no SAIF, lacks a net (its name is told) or has none counted.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    tree = _parse(text, str(path))
    if not tree or tree[0] != "SAIFILE":
        raise FlowError(f"{path} is no SAIF file.")
    try:
        return _saif(tree, path, netlist)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise FlowError(f"{path} is no SAIF file ({type(error).__name__}: {error}).") from None


def _saif(tree: list[Any], path: Path | str, netlist: Netlist) -> Saif:
    found = dict(_nets(tree))
    top = {name: counts for (where, name), counts in found.items() if where == netlist.top}
    names = top or {name: counts for (_, name), counts in found.items()}
    missing = [n for n in netlist.nets if n not in names and n not in CONSTANTS]
    if missing:
        raise FlowError(
            f"{path} lacks {len(missing)} of {len(netlist.nets)} nets of {netlist.top}, the first "
            f"is {missing[0]}; write it from a simulation of this netlist."
        )
    ps = _timescale_ps(tree)
    counts = [names.get(n, {}) for n in netlist.nets]
    t0, t1, tc = (np.array([c.get(key, 0.0) for c in counts]) for key in ("T0", "T1", "TC"))
    duration = next((_number(x[1]) for x in tree if x[0] == "DURATION"), 0.0) * ps
    if duration < 1 / LARGEST:
        raise FlowError(f"{path} has no DURATION; activity per cycle cannot be told.")
    return Saif(duration, t0 * ps, t1 * ps, tc)


def _timescale_ps(tree: list[Any]) -> float:
    units = {"s": 1e12, "ms": 1e9, "us": 1e6, "ns": 1e3, "ps": 1.0, "fs": 1e-3}
    for item in tree:
        if item[0] == "TIMESCALE":
            number, unit = re.fullmatch(r"([\d.]*)(\w+)", "".join(item[1:])).groups()  # type: ignore[union-attr]
            return _number(number or "1") * units[unit]
    return 1e3  # the standard's default is 1 ns


def _nets(tree: list[Any], where: str = "") -> Iterator[tuple[tuple[str, str], dict[str, float]]]:
    for item in tree:
        if not isinstance(item, list) or not item:
            continue
        if item[0] == "INSTANCE":
            names = [x for x in item[1:] if isinstance(x, str)]
            yield from _nets(item, _unescape(names[-1]) if names else where)
        elif item[0] in ("NET", "PORT"):
            for net in item[1:]:
                yield (where, _unescape(net[0])), {x[0]: _number(x[1]) for x in net[1:]}


def _number(text: str) -> float:
    """A count or a time. Raises TypeError for what is none."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= LARGEST:
        raise TypeError(f"{text[:40]!r} is no count and no time")
    return number


def _escape(name: str) -> str:
    return re.sub(r"(\W)", r"\\\1", name)


def _unescape(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


_SAIF_TOKEN = re.compile(r'\(|\)|"[^"]*"|(?:\\.|[^\s()"])+')


def _parse(text: str, path: str) -> list[Any]:
    """The file as nested lists of words."""
    stack: list[list[Any]] = [[]]
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    for token in _SAIF_TOKEN.findall(text):
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1:
                raise FlowError(f"{path} is no SAIF file: a parenthesis closes nothing.")
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token.strip('"') if token[0] == '"' else token)
    if len(stack) != 1:
        raise FlowError(f"{path} is no SAIF file: it ends inside a parenthesis.")
    return stack[0][0] if stack[0] else []

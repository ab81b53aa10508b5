"""Published MAC energies beside a table's: agreeing, or with the reason why not.

Sources: the paper's Fig. 1(d), solved back from its Table III; results/systolic_array_synth.csv of
hsharma35/bitfusion (arrays of 1 x 1, 500 MHz); the CSV files of kenn1028/mac-accelerators and of
the PSMA benchmark (arXiv 2108.04773; their unit is inferred); Horowitz, ISSCC 2014 (multiplier and
adder, no register); DVAFS, DATE 2017, as others quote it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flows.table import EnergyRow

Mac = tuple[str, int]  # scheme and bits
Rows = Mapping[tuple[str, int, str], EnergyRow]  # by scheme, bits and supply
CLOSE = 0.1  # relative difference up to which two figures agree

REGISTERS = (
    "the paper's values leave nothing for registers: here their clock pins alone take about that "
    "much, and the sum keeps its width at every precision"
)
ADDERS = (
    "full-adder cells save most at 16 bits, where the multiplier is most of a MAC; with gates in "
    "their place these ratios agree (docs/energy.md)"
)
CARRIES = "carries need no gates between lanes here (docs/hardware.md)"
LANES = "their hardware is 8 bits wide with 2-bit lanes, ours 16 bits with lanes of 4"
VECTORLESS = (
    "a synthesis report without vectors against random operands with glitches, another supply, "
    "area and library (docs/energy.md takes the factor apart)"
)
BARE = "multiplier and adder alone at 0.9 V, no register, no clock (docs/energy.md)"
MULTIPLIER = (
    "the multiplier alone, at 1.1 V; there ours alone takes 1.2 times theirs (docs/energy.md)"
)
SHRUNK = "a smaller node; an array shares its registers"


@dataclass(frozen=True)
class Ratio:
    """Energy of `of` relative to `to`; `scaled` where the source lets the supply fall."""

    source: str
    of: Mac
    to: Mac
    value: float
    note: str = ""
    scaled: bool = False


@dataclass(frozen=True)
class Absolute:
    """Energy in fJ of an operation that comes closest to one of `of`."""

    source: str
    of: Mac
    value: float
    note: str


_PAPER, _BITFUSION = "paper, Fig. 1(d)", "BitFusion 45 nm"
_GF22, _PSMA, _DVAFS = "mac-accelerators 22 nm", "PSMA arrays 28 nm", "DVAFS (cited) 40 nm"
_FULL = ("fixed", 16)
PAPER = (
    Ratio(_PAPER, ("dg", 8), _FULL, 0.33, REGISTERS, scaled=True),
    Ratio(_PAPER, ("dg", 5), _FULL, 0.16, REGISTERS, scaled=True),
    Ratio(_PAPER, ("dvafs", 8), _FULL, 0.10, REGISTERS, scaled=True),
    Ratio(_PAPER, ("dvafs", 5), _FULL, 0.056, REGISTERS, scaled=True),
)
RATIOS = (
    *PAPER,
    Ratio(_BITFUSION, ("fixed", 8), _FULL, 0.317, ADDERS),
    Ratio(_BITFUSION, ("fixed", 4), _FULL, 0.125, ADDERS),
    Ratio(_BITFUSION, ("fixed", 2), _FULL, 0.058, ADDERS),
    Ratio(_DVAFS, ("dvafs", 16), _FULL, 1.21, CARRIES),
    Ratio(_GF22, ("dg", 4), ("dg", 8), 0.625, LANES),
    Ratio(_GF22, ("dg", 2), ("dg", 8), 0.493, LANES),
    Ratio(_GF22, ("dvafs", 4), ("dvafs", 8), 0.323, LANES),
    Ratio(_PSMA, ("dvafs", 4), ("dvafs", 8), 0.350, LANES),
    Ratio(_PSMA, ("dvafs_st", 4), ("dvafs_st", 8), 0.266, LANES),
)
ABSOLUTES = (
    Absolute(_BITFUSION, ("fixed", 16), 1085, VECTORLESS),
    Absolute(_BITFUSION, ("fixed", 8), 344, VECTORLESS),
    Absolute(_BITFUSION, ("fixed", 4), 136, VECTORLESS),
    Absolute(_BITFUSION, ("fixed", 2), 63, VECTORLESS),
    Absolute("Horowitz 45 nm", ("fixed", 8), 230, BARE),
    Absolute(_DVAFS, ("fixed", 16), 2160, MULTIPLIER),
    Absolute(_PSMA, ("dvafs_st", 8), 642, SHRUNK),
)


class Notes:
    """Reasons by number, each given once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def verdict(self, close: Sequence[bool], text: str) -> str:
        """What a row says: that it agrees, at one of the supplies, or the number of its reason."""
        if any(close):
            return "agrees"
        if text not in self.texts:
            self.texts.append(text)
        return f"({self.texts.index(text) + 1})"


def show(console: Console, rows: Sequence[EnergyRow]) -> None:
    """Print what is published beside the rows of one stimulus, and the reasons beneath."""
    found = {(r.scheme, r.w_bits, r.supply): r for r in rows if r.w_bits == r.a_bits}
    notes = Notes()
    for title, columns, lines in (
        ("Published ratios, and these", ("theirs", "here", "scaled"), _ratios(found, notes)),
        ("Published fJ, and these", ("theirs", "here", "times"), _absolutes(found, notes)),
    ):
        view = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("source", "MAC", *columns, "glitches", "why"):
            side: Literal["left", "right"] = "right" if name in (*columns, "glitches") else "left"
            view.add_column(name, justify=side, no_wrap=True)
        for line in lines:
            view.add_row(*line)
        console.print(view)
    for number, text in enumerate(notes.texts, 1):
        console.print(f"({number}) {text}.", highlight=False)
    console.print("Fig. 1(d) is solved back from the paper's Table III.\n", highlight=False)


def _ratios(rows: Rows, notes: Notes) -> Iterator[tuple[str, ...]]:
    for ratio in RATIOS:
        of, to = (rows.get((*mac, "nominal")) for mac in (ratio.of, ratio.to))
        if of is None or to is None:
            continue
        lower = rows.get((*ratio.of, "scaled")) if ratio.scaled else None
        here = [divided(x, to) for x in (of, lower) if x is not None]
        close = [abs(value / ratio.value - 1) <= CLOSE for value, _ in here]
        cells = [f"{value:.3f} ±{half:.3f}" for value, half in here]
        yield (
            ratio.source, _name(ratio.of, ratio.to), f"{ratio.value:g}",
            *cells, *[""] * (2 - len(cells)), _glitches(of), notes.verdict(close, ratio.note),
        )  # fmt: skip


def _absolutes(rows: Rows, notes: Notes) -> Iterator[tuple[str, ...]]:
    for published in ABSOLUTES:
        row = rows.get((*published.of, "nominal"))
        if row is None:
            continue
        times = row.energy_fj / published.value
        yield (
            published.source, _name(published.of), f"{published.value:g}",
            f"{row.energy_fj:.0f} ±{row.ci95_fj:.0f}", f"{times:.2f}", _glitches(row),
            notes.verdict([abs(times - 1) <= CLOSE], published.note),
        )  # fmt: skip


def divided(of: EnergyRow, to: EnergyRow) -> tuple[float, float]:
    """The ratio of two rows' energies and half of its 95 % interval, the rows independent."""
    value = of.energy_fj / to.energy_fj
    return value, value * math.hypot(of.ci95_fj / of.energy_fj, to.ci95_fj / to.energy_fj)


def _name(of: Mac, to: Mac | None = None) -> str:
    text = f"{of[0]} {of[1]}"
    if to is None:
        return text
    return f"{text} / {to[1]}" if of[0] == to[0] else f"{text} / {to[0]} {to[1]}"


def _glitches(row: EnergyRow) -> str:
    return f"{row.glitch_fj / row.energy_fj:.0%}"

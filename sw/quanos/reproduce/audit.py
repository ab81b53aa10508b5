"""The paper's energy and memory columns, replayed from shapes, bits and the linear law of Table I.

No training here: what Tables II, III, V and VI print beside what follows from their own equations.
What does not follow from them stands in `quanos.reproduce.findings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from quanos.energy import Bits, LayerShape, ModelEnergy, layer_shapes, linear_law, resolve_bits
from quanos.energy import price as price_layers
from quanos.models import build_model
from quanos.paper import Column, PaperTable

INPUT_SHAPE = (3, 32, 32)
HEADER = (
    "| column | bits | Gbit printed | Gbit ours | standard mJ printed | standard mJ ours |\n"
    "|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Shapes:
    """A network of the paper: its layers, and which one lends each shortcut its bits."""

    layers: tuple[LayerShape, ...]
    feeds: Mapping[str, str]

    @property
    def own(self) -> tuple[LayerShape, ...]:
        """The layers that are no shortcuts."""
        return tuple(layer for layer in self.layers if layer.name not in self.feeds)

    def price(self, bits: Bits, *, shortcuts: bool = True) -> ModelEnergy:
        """By Table I and Eq. 4. Raises ValueError where the bits do not fit the network."""
        layers = self.layers if shortcuts else self.own
        feeds = self.feeds if shortcuts else {}
        widths = resolve_bits([layer.name for layer in layers], bits, feeds)
        return price_layers(layers, widths, linear_law, feeds=feeds)


@cache
def shapes(table: PaperTable) -> Shapes:
    """The layers of a table's network."""
    model = build_model(table.model, input_shape=INPUT_SHAPE, classes=table.classes)
    return Shapes(layer_shapes(model, INPUT_SHAPE), dict(model.feeds))


def replay(table: PaperTable) -> str:
    """One of the paper's tables as Markdown: printed and recomputed, column by column."""
    rows = [_row(table, column) for column in table.columns]
    title = f"### {table.title}: {table.model} on {table.dataset}"
    return "\n".join([title, "", HEADER, *rows, ""])


def _row(table: PaperTable, column: Column) -> str:
    printed = f"{column.memory_gbit:g}", f"{column.standard_mj:g}"
    bits = column.bits if isinstance(column.bits, int) else " ".join(map(str, column.bits))
    try:
        ours = price(table, column)
    except ValueError as error:
        ours = "-", f"not replayable: {error}"
    return f"| {column.name} | {bits} | {printed[0]} | {ours[0]} | {printed[1]} | {ours[1]} |"


def price(table: PaperTable, column: Column) -> tuple[str, str]:
    """(Gbit, mJ) by Table I and Eq. 4, every convolution that runs counted.

    Raises ValueError where the printed bits do not fit the network.
    """
    cost = shapes(table).price(column.bits)
    return f"{cost.memory_gbit:.4f}", f"{cost.energy_mj:.4f}"

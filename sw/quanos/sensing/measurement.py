"""What was measured of every layer: one number, and for some kinds the loss at every width.

A measurement is a JSON file of its own (`quanos sense --out`), of schema "quanos.measurement/1":

    kind      ans, activation-density, hessian or lipschitz
    layers    {layer: number}, in forward order
    losses    {layer: [16 numbers]}, the loss that 1..16 bits would cause; hessian and lipschitz
    model, input_shape, classes, bits, epoch, images, and the options of the kind
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quanos.allocation.budgets import MAX_BITS
from quanos.storage.jsonfile import FileContentError, Node, read_json

SCHEMA = "quanos.measurement/1"
WITH_LOSSES = ("hessian", "lipschitz")
KINDS = ("ans", "activation-density", *WITH_LOSSES)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number per layer in forward order, and the loss at 1..16 bits where the kind has it.

    Raises ValueError for no layers, an unknown kind, or a number that is negative or not finite.
    """

    kind: str
    layers: Mapping[str, float]
    losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"measurement {self.kind!r} is unknown; there are {', '.join(KINDS)}.")
        if not self.layers:
            raise ValueError("the measurement holds no layer; there is nothing to assign.")
        for name, value in self.layers.items():
            for number in (value, *self.losses.get(name, ())):
                if not 0 <= number < float("inf"):
                    raise ValueError(
                        f"the measurement of {name} must be finite and not negative: {number}."
                    )
        if self.kind in WITH_LOSSES:
            for name in self.layers:
                if len(self.losses.get(name, ())) != MAX_BITS:
                    raise ValueError(
                        f"a measurement of {self.kind} needs the losses of {name} at 1 to "
                        f"{MAX_BITS} bits."
                    )

    def without(self, names: Mapping[str, str]) -> Measurement:
        """The measurement without these layers: shortcuts, say, which take another layer's bits."""
        return Measurement(
            kind=self.kind,
            layers={name: value for name, value in self.layers.items() if name not in names},
            losses={name: row for name, row in self.losses.items() if name not in names},
        )

    def to_json(self) -> dict[str, Any]:
        """What a file holds of it."""
        losses = {name: list(row) for name, row in self.losses.items()}
        content = {"schema": SCHEMA, "kind": self.kind, "layers": dict(self.layers)}
        return content | ({"losses": losses} if losses else {})


def load(path: Path) -> tuple[Measurement, Node]:
    """A measurement from its file, and the file. Raises FileContentError for what it is not."""
    file = read_json(path)
    schema = file["schema"].value if "schema" in _keys(file) else None
    if schema != SCHEMA:
        raise FileContentError(
            f"{path} is no measurement of this version ({SCHEMA}); make one with quanos sense."
        )
    try:
        return parse(file), file
    except FileContentError:
        raise
    except ValueError as error:
        raise FileContentError(f"{path}: {error}") from None


def parse(node: Node) -> Measurement:
    """A measurement from the JSON object that holds it."""
    layers = {name: value.number() for name, value in node["layers"].items()}
    losses = node["losses"].items() if "losses" in _keys(node) else ()
    rows = {name: tuple(value.number() for value in row) for name, row in losses}
    return Measurement(kind=node["kind"].text(), layers=layers, losses=rows)


def _keys(node: Node) -> list[str]:
    return [name for name, _ in node.items()]

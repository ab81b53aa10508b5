"""The loop closed on one page: `python -m quanos.codesign --out docs/codesign.md`.

What `quanos export`, `flows.tiling`, `flows.network` and `hw.tb.network` found about one network
comes together, layer by layer. Nothing is run here; a file that is missing or of another network is
refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from flows.table import SCHEMES, EnergyTable
from quanos.cli import print_json
from quanos.energy import LayerShape, layer_shapes
from quanos.models import skeleton
from quanos.reporting.codesign_page import Layer, Sources, draw, page
from quanos.run import write_text
from quanos.storage.jsonfile import Node, read_json


@dataclass(frozen=True, kw_only=True)
class Codesign:
    """Write the page of one network that was exported, placed, simulated and measured."""

    export: Path = Path("build/export/export.json")
    """Written by quanos export."""
    tiling: Path = Path("build/tiling.json")
    """Written by python -m flows.tiling --out."""
    table: Path = Path("runs/digits/network_table.json")
    """Written by python -m flows.network."""
    array: Path = Path("build/array.json")
    """Written by python -m hw.tb.network --out."""
    arrays: Path = Path("build/network_arrays.json")
    """Written by python -m flows.array_layers."""
    scheme: Annotated[str, tyro.conf.arg(metavar="|".join(SCHEMES))] = "dvafs"
    """MAC whose figures come first."""
    out: Path = Path("build/codesign.md")
    """The page; its figure goes beside it."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Read, check, write. Raises ValueError for an unknown scheme or files that do not fit."""
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme {self.scheme!r} is unknown; there are {', '.join(SCHEMES)}.")
        sources = self.sources()
        layers = collect(sources, EnergyTable.load(self.table))
        self.out.parent.mkdir(parents=True, exist_ok=True)
        figure = self.out.with_suffix(".svg")
        write_text(figure, draw(layers, self.scheme) + "\n")
        text = "\n\n".join(page(sources, layers, self.scheme, figure.name))
        write_text(self.out, text + "\n")
        if self.json:
            print_json({"page": os.fspath(self.out), "figure": os.fspath(figure)})
        else:
            print(f"wrote {os.fspath(self.out)}")

    def sources(self) -> Sources:
        """What the files hold. Raises FileContentError for one that is missing or no JSON."""
        return Sources(
            export=read_json(self.export),
            tiling=read_json(self.tiling),
            array=read_json(self.array),
            arrays=read_json(self.arrays),
        )


def collect(sources: Sources, table: EnergyTable) -> list[Layer]:
    """The layers in forward order; ValueError where the files are not of one network."""
    export = sources.export
    shape = [size.whole() for size in export["input_shape"]]
    model = skeleton(export["model"].text(), shape, export["classes"].whole())
    shapes = {one.name: one for one in layer_shapes(model, shape)}
    exported = {row["name"].text(): row for row in export["layers"]}
    if list(exported) != list(shapes):
        raise ValueError(f"{export.where} is not of the network {export['model'].text()}.")
    placed = _by_layer(sources.tiling["layers"], "name")
    on_arrays = _by_layer(sources.arrays["rows"], "layer")
    return [_layer(shapes[name], exported[name], placed, table, on_arrays) for name in exported]


def _by_layer(rows: Node, key: str) -> dict[str, dict[str, Node]]:
    """Rows by layer, which `key` names, and scheme."""
    found: dict[str, dict[str, Node]] = {}
    for row in rows:
        found.setdefault(row[key].text(), {})[row["scheme"].text()] = row
    return found


def _layer(
    shape: LayerShape,
    exported: Node,
    placed: dict[str, dict[str, Node]],
    table: EnergyTable,
    on_arrays: dict[str, dict[str, Node]],
) -> Layer:
    name, bits = shape.name, exported["bits"].whole()
    rows = placed.get(name, {})
    if set(rows) != set(SCHEMES):
        raise ValueError(f"the tiling lacks layer {name} in some scheme; make it anew.")
    if any(row["macs"].whole() != shape.macs for row in rows.values()):
        raise ValueError(f"the tiling of {name} is of another network; make it anew.")
    signed = "_signed" if exported["a_signed"].value is True else ""
    energies = [
        {s: table.row(s, bits, bits, stimulus=stimulus).energy_fj for s in SCHEMES}
        for stimulus in (name, f"uniform{signed}")
    ]
    measured = on_arrays.get(name, {})
    if set(measured) != set(SCHEMES) or any(r["bits"].whole() != bits for r in measured.values()):
        raise ValueError(
            f"the arrays' energies lack layer {name} at {bits} bits in some scheme; make them anew "
            "with python -m flows.array_layers."
        )
    return Layer(
        shape=shape, bits=bits, exported=exported, placed=rows,
        own_fj=energies[0], uniform_fj=energies[1], on_arrays=measured,
    )  # fmt: skip


def main() -> None:
    """The command."""
    import sys

    from quanos.cli import guarded, parse

    sys.exit(guarded(lambda: parse(Codesign, "python -m quanos.codesign", sys.argv[1:]).run()))


if __name__ == "__main__":
    main()

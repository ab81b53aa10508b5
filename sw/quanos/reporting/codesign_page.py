"""The page of `quanos.codesign`: one network as the trainer, the array and its energies saw it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows.table import SCHEMES
from quanos.energy import LayerShape, linear_law
from quanos.reporting.svg import Axis, Series, document
from quanos.sensing.figures import STYLE
from quanos.storage.jsonfile import Node

ACCESS_PJ_PER_BIT = 2.5  # E_A of Table I


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as all tools saw it; energies in uJ of one image."""

    shape: LayerShape
    bits: int
    exported: Node
    placed: dict[str, Node]
    own_fj: dict[str, float]
    uniform_fj: dict[str, float]
    on_arrays: dict[str, Node]

    @property
    def name(self) -> str:
        """The layer's name in the network."""
        return self.shape.name

    def compute_uj(self, scheme: str) -> tuple[float, float, float]:
        """By the paper's linear law, by the table's uniform codes, by the layer's own."""
        picojoules = linear_law(self.bits), self.uniform_fj[scheme] / 1e3, self.own_fj[scheme] / 1e3
        first, second, third = (self.shape.macs * pj / 1e6 for pj in picojoules)
        return first, second, third

    def access_uj(self, scheme: str) -> tuple[float, float]:
        """By the paper's N_A, and by what crosses the array's ports in its tiling."""
        unit = ACCESS_PJ_PER_BIT * self.bits / 1e6
        return self.shape.accesses * unit, self.placed[scheme]["accesses"].whole() * unit


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What `quanos export`, `flows.tiling`, `hw.tb.network` and `flows.array_layers` wrote."""

    export: Node
    tiling: Node
    array: Node
    arrays: Node


def draw(layers: Sequence[Layer], scheme: str) -> str:
    """Energy of the MACs, layer by layer, by the three models."""
    names = ("Eq. 4's linear law", f"{scheme}, uniform codes", f"{scheme}, the layer's own codes")
    energies = [layer.compute_uj(scheme) for layer in layers]
    series = [
        Series(
            name=name,
            style=style,
            points=[
                (place, row[style], f"{layer.name}: {row[style]:.4g} uJ")
                for place, (layer, row) in enumerate(zip(layers, energies, strict=True), 1)
            ],
        )
        for style, name in enumerate(names)
    ]
    high = max(max(row) for row in energies)
    return str(
        document(
            "Energy of a layer's MACs, one image",
            Axis(label="layer", low=1, high=len(layers), step=1),
            Axis(label="uJ", low=0, high=high),
            series,
            STYLE,
        )
    )


def page(sources: Sources, layers: Sequence[Layer], scheme: str, figure: str) -> Iterator[str]:
    """The parts of the page; `figure` is the name of the drawing beside it."""
    yield INTRODUCTION
    yield from _integers(sources.export, layers)
    yield from _computed(sources, layers, scheme)
    yield from _own_operands(layers)
    yield from _whole_arrays(sources.arrays, layers, scheme)
    yield "## One image, three models\n\n" + f"![Energy of the MACs by layer]({figure})"
    yield f"uJ of one image; the MACs are {scheme}'s, accesses cost {ACCESS_PJ_PER_BIT} pJ a bit."
    yield _table(THREE, [*(_three(layer, scheme) for layer in layers), _total(layers, scheme)])


def _integers(export: Node, layers: Sequence[Layer]) -> Iterator[str]:
    yield "## The integers are the trainer's\n\n" + COMMANDS["export"]
    yield _table(
        ("layer", "bits", "weights", "bits of a sum", "activation codes that differ"),
        [_exported(layer, export) for layer in layers],
    )
    found = export["agreement"]
    yield (
        f"{found['images'].whole()} images, same class for {found['same_class'].whole()}, logits "
        f"within {found['largest_logit_error'].number():.1e}. Codes differ where a value lies "
        "next to a border between two codes and the trainer's float32 rounds the other way, and "
        "behind such a code in later layers."
    )


def _computed(sources: Sources, layers: Sequence[Layer], scheme: str) -> Iterator[str]:
    tiling, array = sources.tiling, sources.array
    yield "## The array computes them\n\n" + COMMANDS["array"]
    rows, columns = tiling["rows"].whole(), tiling["columns"].whole()
    yield (
        f"`{array['array'].text()}` in Verilator: {array['macs'].whole():,} MACs in "
        f"{array['tiles'].whole():,} tiles and {array['modes'].whole()} modes, switched without "
        f"draining, {array['cycles'].whole():,} cycles; every sum equals the interpreter's"
        f"{_classes(array)}. One image on {rows} x {columns} elements of {scheme}:"
    )
    yield _table(
        ("layer", "bits", "lanes", "M x K x N", "tiles", "cycles", "lanes in use"),
        [_placed(layer.placed[scheme]) for layer in layers],
    )


def _own_operands(layers: Sequence[Layer]) -> Iterator[str]:
    yield "## What their own operands cost\n\n" + COMMANDS["energy"]
    yield "fJ per MAC at the nominal supply; in brackets, times that of uniform random codes."
    yield _table(
        ("layer", "bits", *SCHEMES),
        [(layer.name, f"{layer.bits}", *(_own(layer, one) for one in SCHEMES)) for layer in layers],
    )


def _whole_arrays(arrays: Node, layers: Sequence[Layer], scheme: str) -> Iterator[str]:
    side, streams = arrays["side"].whole(), arrays["streams"].whole()
    yield (
        f"The same on whole arrays of {side} x {side} elements, fJ per useful MAC, everything in "
        f"the array counted; codes in the order of the tiling, {streams} streams of blocks drawn "
        f"at random (seed {arrays['seed'].whole()}); in brackets, times that of uniform codes in "
        "the same tiles."
    )
    yield _table(
        ("layer", "bits", *SCHEMES, f"95 %, {scheme}"),
        [
            (
                *(layer.name, f"{layer.bits}", *(_on_array(layer, one) for one in SCHEMES)),
                f"{layer.on_arrays[scheme]['ci95_fj'].number():.0f}",
            )
            for layer in layers
        ],
    )


INTRODUCTION = """\
# From the trained network to the array and back

Generated by `python -m quanos.codesign` from what the commands below wrote for the digits network
of the main job. The network's own integers run on the simulated array, and their own switching sets
the energy of each layer."""

COMMANDS = {
    "export": "    quanos export runs/digits --out build/export --operands 10",
    "array": "    python -m flows.tiling build/export/layers --out build/tiling.json\n"
    "    python -m hw.tb.network build/export/layers --out build/array.json",
    "energy": "    python -m flows.network build/export/layers "
    "--out runs/digits/network_table.json\n"
    "    python -m flows.array_layers build/export/layers --out build/network_arrays.json",
}
THREE = (
    *("layer", "bits", "MACs: linear law", "uniform codes", "own codes"),
    *("accesses: N_A", "by the tiling"),
)


def _exported(layer: Layer, export: Node) -> tuple[str, ...]:
    rows = {row["name"].text(): row for row in export["agreement"]["layers"]}
    row, own = rows[layer.name], layer.exported
    differ = f"{row['different'].whole()} of {row['codes'].whole():,}"
    return (
        *(layer.name, f"{layer.bits}", f"{own['weights'].whole():,}"),
        *(f"{own['sum_bits'].whole()}", differ),
    )


def _placed(row: Node) -> tuple[str, ...]:
    m, k, n, groups = (row[key].whole() for key in ("m", "k", "n", "groups"))
    shape = f"{groups} x " * (groups > 1) + f"{m} x {k} x {n}"
    counts = (f"{row[key].whole():,}" for key in ("tiles", "cycles"))
    bits, lanes = (f"{row[key].whole()}" for key in ("bits", "lanes"))
    return row["name"].text(), bits, lanes, shape, *counts, f"{row['utilisation'].share():.0%}"


def _own(layer: Layer, scheme: str) -> str:
    own, uniform = layer.own_fj[scheme], layer.uniform_fj[scheme]
    return f"{own:,.0f} ({own / uniform:.2f})"


def _on_array(layer: Layer, scheme: str) -> str:
    own, uniform = (layer.on_arrays[scheme][f"{x}_fj"].number() for x in ("array", "uniform"))
    return f"{own:,.0f} ({own / uniform:.2f})"


def _classes(array: Node) -> str:
    """What the array's sums say about the images, where the network has a head."""
    images = sum(1 for _ in array["classes"])
    same = array["same_class"].whole()
    return f", and their classes are the trainer's for {same} of {images} images" if images else ""


def _three(layer: Layer, scheme: str) -> tuple[str, ...]:
    values = (*layer.compute_uj(scheme), *layer.access_uj(scheme))
    return layer.name, f"{layer.bits}", *(f"{value:.3f}" for value in values)


def _total(layers: Sequence[Layer], scheme: str) -> tuple[str, ...]:
    rows = [(*layer.compute_uj(scheme), *layer.access_uj(scheme)) for layer in layers]
    return "all", "", *(f"{sum(column):.3f}" for column in zip(*rows, strict=True))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))

"""MAC energy of a network's layers on their own operands: `python -m flows.network LAYERS`.

LAYERS is a folder of layer operands (`quanos export --operands`). Every layer is measured at its
bits in every scheme, with its own codes and with uniform ones of the same precision, in one run.
The result is an energy table whose rows carry the layers' names as their stimulus.

Codes come in the order of a weight-stationary array (`stationary`): an element keeps its weight
while the activations of its input pass, output pixel by output pixel. `dot` is the order of a sum:
the products of one output after the other, both operands new in every cycle.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows import console
from flows.arrays.layer_text import layer_text
from flows.console import FlowError
from flows.energy.measure_point import Settings
from flows.energy.measure_table import make_table
from flows.energy.points import SIGNED, UNEQUAL_STIMULUS, Point
from flows.planning import points_plan
from flows.table import SCHEMES, EnergyTable
from hw.command import Parser
from hw.rtl.layers import Layer, read_layers

ORDERS = ("stationary", "dot")
PAIRS = 1 << 16  # of a layer that are measured, drawn at random
Codes = NDArray[np.int64]


def stream(layer: Layer, order: str, seed: int, pairs: int = PAIRS) -> tuple[Codes, Codes]:
    """About `pairs` weights and activations of a layer, pair by pair in the given order."""
    rng = np.random.default_rng(seed)
    w, a = zip(*_runs(layer, order, rng, pairs), strict=True)
    return np.concatenate(w), np.concatenate(a)


def _runs(
    layer: Layer, order: str, rng: np.random.Generator, pairs: int
) -> Iterator[tuple[Codes, Codes]]:
    """Whole runs: an element's beats, or an output's products."""
    m, k, n = layer.shape
    length = m if order == "stationary" else k
    for _ in range(-(-pairs // length)):
        group, column = rng.integers(layer.groups), rng.integers(n)
        if order == "stationary":
            row = rng.integers(k)
            yield np.full(m, layer.w[group, row, column]), layer.a[group, :, row]
        else:
            yield layer.w[group, :, column], layer.a[group, rng.integers(m)]


def write_streams(layers: Sequence[Layer], order: str, seed: int, folder: Path) -> dict[str, Path]:
    """A stimulus file for every layer, by the layer's name."""
    files: dict[str, Path] = {}
    for number, layer in enumerate(layers):
        if layer.name in files:
            raise FlowError(f"two layers are called {layer.name}; rename a file.")
        w, a = stream(layer, order, seed + number)
        w_bits, a_bits = layer.widths
        path = folder / f"{layer.name}.npz"
        with console.writing(path) as beside, beside.open("wb") as file:
            np.savez(file, w=w, a=a, w_bits=w_bits, a_bits=a_bits, a_signed=int(layer.a_signed))
        files[layer.name] = path.resolve()
    return files


def layer_points(layers: Sequence[Layer], schemes: Sequence[str]) -> list[Point]:
    """Every layer's own codes and uniform ones at its bits, in every scheme, each once."""
    found = [
        Point(scheme=s, w_bits=w, a_bits=a, stimulus=stimulus, a_signed=layer.a_signed)
        for s in schemes
        for layer in layers
        for w, a in [layer.widths]
        for stimulus in (layer.name, uniform(layer))
    ]
    return list(dict.fromkeys(found))


def uniform(layer: Layer) -> str:
    """The table's stimulus that a layer is compared with."""
    return f"{UNEQUAL_STIMULUS}{SIGNED if layer.a_signed else ''}"


NOTE = "fJ per MAC at the nominal supply; in brackets, times that of uniform codes"


def text(layers: Sequence[Layer], table: EnergyTable, schemes: Sequence[str]) -> str:
    """fJ per MAC on a layer's own codes, and how many times the uniform codes' that is."""

    def fj(layer: Layer, scheme: str, stimulus: str) -> float:
        return table.row(scheme, *layer.widths, stimulus=stimulus).energy_fj

    rows = (
        (x.name, x.bits, scheme, fj(x, scheme, x.name), fj(x, scheme, uniform(x)))
        for x in layers
        for scheme in schemes
    )
    return layer_text(rows, NOTE)


def _arguments() -> argparse.Namespace:
    parser = Parser(
        "python -m flows.network",
        __doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("layers", type=Path, help="folder of layer operands (quanos export)")
    add("--schemes", nargs="+", default=list(SCHEMES), choices=SCHEMES)
    add("--order", choices=ORDERS, default=ORDERS[0], help="of the operands (stationary)")
    add("--vectors", type=int, default=10_240, metavar="N", help="operand words per point")
    add("--seed", type=int, default=0, metavar="S")
    add("--rtl", type=Path, default=Path("build/rtl"), metavar="DIR", help="Verilog of the MACs")
    add("--synth", type=Path, default=Path("build/synth"), metavar="DIR", help="their netlists")
    add("--liberty", type=Path, help="library (default: the shipped one)")
    add("--workers", type=int, default=2, metavar="N")
    add("--scheduler", metavar="ADDRESS", help="a Dask cluster's, instead of a local one")
    add("--out", type=Path, default=Path("build/network_table.json"), metavar="FILE")
    parser.add_json()
    parser.add_plan()
    return parser.parse_args()


def main() -> int | None:
    """The command."""
    args = _arguments()
    if min(args.vectors, args.workers) < 1:
        raise FlowError("--vectors and --workers must be 1 or more.")
    layers = read_layers(args.layers)
    chosen = layer_points(layers, args.schemes)
    kept = args.out.with_name(f"{args.out.name}.points")
    if args.plan:
        points_plan(chosen, args.vectors, [kept, args.out], args.workers).give(as_json=args.json)
        return None
    folder = args.out.with_name(f"{args.out.name}.stimuli")
    settings = Settings(
        synth=args.synth.resolve(),
        liberty=args.liberty.resolve() if args.liberty else None,
        vectors=args.vectors,
        seed=args.seed,
        files=write_streams(layers, args.order, args.seed, folder),
    )
    table = make_table(chosen, settings, args.rtl, kept, args.workers, args.scheduler)
    table.save(args.out)
    if args.json:
        console.print_json({"out": str(args.out), "rows": len(table.rows), "sha256": table.sha256})
    else:
        print(text(layers, table, args.schemes))
        print(f"wrote {args.out}: {len(table.rows)} rows")
    return None


if __name__ == "__main__":
    console.run(main)

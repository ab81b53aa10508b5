"""Energy of a network's layers on whole arrays: `python -m flows.array_layers LAYERS --out FILE`.

LAYERS is a folder of layer operands (`quanos export --operands`). Every layer's own codes go
through an array of each scheme in the order of its tiling (weight-stationary, hw.rtl.spec), from
blocks of sums drawn at random; uniform codes of the same precision follow in the same tiles. The
arrays are synthesised where they are missing: small ones (4 x 4 elements), of 16 bits and, for
`fixed`, of exactly the layer's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from flows import console
from flows.array_energy import CYCLES, WARMUP, Bench
from flows.arrays.array_schedule import Cycle, schedule
from flows.arrays.layer_text import layer_text
from flows.console import FlowError
from flows.library import Library
from flows.planning import layers_plan
from flows.simulator.code_files import Codes
from flows.stimulus import activations, weights
from flows.synth import synthesize_all
from flows.synthesis.synth_jobs import Job
from flows.synthesis.synth_script import Options
from flows.table import SCHEMES, EnergyTable
from hw.command import Parser
from hw.rtl.layers import Layer, read_layers
from hw.rtl.spec import ArraySpec, Mode, Tile
from hw.rtl.verilog import write

STREAMS = 8


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer on an array, fJ per useful multiply-accumulate at the nominal supply.

    `uniform_fj` is that of uniform codes in the same tiles; `ci95_fj` half of the 95 % interval of
    `array_fj`, by the streams.
    """

    layer: str
    scheme: str
    bits: int
    array: str
    array_fj: float
    ci95_fj: float
    uniform_fj: float


def array_of(scheme: str, layer: Layer, side: int, k_max: int) -> ArraySpec:
    """The array that runs a layer: of the layer's widths where it cannot choose them at run time.

    It keeps sums of 8 rows, as the arrays of the area table do.
    """
    w, a = layer.widths if scheme == "fixed" else (16, 16)
    return ArraySpec(
        scheme=scheme, w_width=w, a_width=a, rows=side, columns=side, k_max=k_max, depth=8
    )


def streams(
    layer: Layer, own: bool, spec: ArraySpec, mode: Mode, seed: int, cycles: int
) -> list[list[Cycle]]:
    """STREAMS streams of the layer's tiles with its own codes, or with uniform ones."""
    tiles = list(spec.tiles(*layer.shape, mode))
    starts = [number for number, tile in enumerate(tiles) if tile.clear]
    found = []
    for rng in np.random.default_rng(seed).spawn(STREAMS):
        start = starts[rng.integers(len(starts))]
        w, a = _codes(layer, int(rng.integers(layer.groups)), own, mode, rng)
        after = _lasting([*tiles[start:], *tiles[:start]], cycles)
        found.append(schedule(spec, mode, w, a, after, cycles))
    return found


def _lasting(tiles: Sequence[Tile], cycles: int) -> list[Tile]:
    """As many of the tiles, again and again, as have a beat of activations in every cycle."""
    fewest = min(tile.beats for tile in tiles)
    return list(islice(chain.from_iterable(iter(lambda: tiles, None)), -(-cycles // fewest)))


def _codes(
    layer: Layer, group: int, own: bool, mode: Mode, rng: np.random.Generator
) -> tuple[Codes, Codes]:
    w, a = layer.w[group], layer.a[group]
    if own:
        return w, a
    return (
        weights(rng, "uniform", mode.w_bits, w.shape),
        activations(rng, "uniform", mode.a_bits, a.shape, signed=mode.a_signed),
    )


def measure(
    layers: Sequence[Layer], bench: Bench, clock_ps: float, seed: int
) -> Iterator[LayerRow]:
    """A row for each of the layers that the bench's array runs."""
    spec = bench.spec
    for layer in layers:
        mode = layer.mode(spec.mac)
        own, uniform = (
            bench.measure(streams(layer, which, spec, mode, seed, WARMUP + CYCLES), clock_ps)
            for which in (True, False)
        )
        yield LayerRow(
            layer=layer.name, scheme=spec.scheme, bits=layer.bits, array=spec.name,
            array_fj=own.array_fj, ci95_fj=own.ci95_fj, uniform_fj=uniform.array_fj,
        )  # fmt: skip


def arrays(
    layers: Sequence[Layer], schemes: Sequence[str], side: int
) -> dict[ArraySpec, list[Layer]]:
    """The arrays that are needed, with the layers that each runs."""
    k_max = max(layer.shape[1] for layer in layers)
    found: dict[ArraySpec, list[Layer]] = {}
    for scheme in schemes:
        for layer in layers:
            found.setdefault(array_of(scheme, layer, side, k_max), []).append(layer)
    return found


def synthesised(specs: Sequence[ArraySpec], rtl: Path, out: Path, workers: int) -> None:
    """Write and synthesise the arrays; what is there from the same inputs is kept."""
    library = Library.load()
    jobs = [Job(spec.name, (write(spec, rtl),), asdict(spec)) for spec in specs]
    done = synthesize_all(jobs, out, library, Options(), workers)
    for _ in console.track(done, "synthesise", len(jobs), label=lambda s: s.top):
        pass


NOTE = """fJ per useful MAC of the array at the nominal supply; in brackets, times that of
uniform codes in the same tiles"""


def text(rows: Sequence[LayerRow]) -> str:
    """fJ per MAC on a layer's own codes, and how many times the uniform codes' that is."""
    return layer_text(((r.layer, r.bits, r.scheme, r.array_fj, r.uniform_fj) for r in rows), NOTE)


def _arguments() -> argparse.Namespace:
    parser = Parser(
        "python -m flows.array_layers",
        __doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("layers", type=Path, help="folder of layer operands (quanos export)")
    add("--schemes", nargs="+", default=list(SCHEMES), choices=SCHEMES)
    add("--side", type=int, default=4, metavar="N", help="rows and columns of the arrays (4)")
    add("--seed", type=int, default=0, metavar="S")
    add("--build", type=Path, default=Path("build/arrays"), help="their Verilog and netlists")
    add("--table", type=Path, help="energy table whose clock is taken (default: the shipped one)")
    add("--workers", type=int, default=2, metavar="N")
    add("--out", type=Path, default=Path("build/network_arrays.json"), metavar="FILE")
    parser.add_json()
    parser.add_plan()
    return parser.parse_args()


def main() -> int | None:
    """The command."""
    args = _arguments()
    if args.workers < 1 or args.seed < 0:
        raise FlowError("--workers must be 1 or more and --seed 0 or more.")
    layers, table = read_layers(args.layers), EnergyTable.load(args.table)
    needed = arrays(layers, args.schemes, args.side)
    if args.plan:
        layers_plan(needed, STREAMS * (WARMUP + CYCLES), args.out, args.build).give(
            as_json=args.json
        )
        return None
    netlists = args.build / "synth"
    synthesised(list(needed), args.build / "rtl", netlists, args.workers)
    rows: list[LayerRow] = []
    clock_ps = table.row("fixed", 16, 16).clock_ps  # every row's
    for spec in console.track(list(needed), "arrays", label=lambda s: s.name):
        rows += measure(needed[spec], Bench.load(spec, netlists), clock_ps, args.seed)
    result = {
        "side": args.side,
        "seed": args.seed,
        "streams": STREAMS,
        "rows": [asdict(row) for row in rows],
    }
    console.write_text(args.out, json.dumps(result, indent=1) + "\n")
    if args.json:
        console.print_json(result)
    else:
        print(text(rows))
        print(f"wrote {args.out}")
    return None


if __name__ == "__main__":
    console.run(main)

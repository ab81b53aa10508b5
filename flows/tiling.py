"""A network's layers on the systolic array: `python -m flows.tiling LAYERS --rows 8 --columns 8`.

Convolutions are matrix products (im2col): M output pixels, K inputs of a window, N output channels.
The array (hw.rtl.spec.ArraySpec) cuts a product into tiles with stationary weights; cycles are its
own count, which the benches hold against the RTL. Every product starts on an empty array; a grouped
convolution is a product a group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from flows import console
from flows.console import FlowError
from hw.command import Parser
from hw.rtl.layers import Layer, read_layers
from hw.rtl.spec import SCHEMES, ArraySpec


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A layer on an array, for one image.

    `utilisation` is the share of the elements' lanes that do useful MACs, over all cycles. The
    codes that cross the array's ports are `weights_in`, `activations_in` and `sums_out`; their sum
    is `accesses`, the tiling's own count in place of the paper's N_A.
    """

    name: str
    scheme: str
    bits: int
    lanes: int
    groups: int
    m: int
    k: int
    n: int
    macs: int
    tiles: int
    cycles: int
    utilisation: float
    weights_in: int
    activations_in: int
    sums_out: int

    @property
    def accesses(self) -> int:
        """Codes in and out."""
        return self.weights_in + self.activations_in + self.sums_out


def place(layer: Layer, spec: ArraySpec) -> Placement:
    """Tiles, cycles and accesses of a layer for one image.

    Raises FlowError where the array cannot take the layer.
    """
    mode = layer.mode(spec.mac)
    m, k, n = layer.shape
    if m % layer.images:
        raise FlowError(f"{layer.name} has {m} rows, which {layer.images} images do not share.")
    m //= layer.images
    per_row, per_column = spec.lanes_along(mode)
    try:
        cycles = layer.groups * spec.cycles(m, k, n, mode)
    except ValueError as error:
        raise FlowError(
            f"{layer.name} does not fit the array {spec.name}: {str(error).rstrip('.')}; "
            "raise --k-max."
        ) from None
    along_m = -(-m // spec.depth)
    along_n = -(-n // (spec.columns * per_column))
    along_k = -(-k // (spec.rows * per_row))
    macs = layer.groups * m * k * n
    return Placement(
        name=layer.name, scheme=spec.scheme, bits=layer.bits, lanes=mode.lanes,
        groups=layer.groups, m=m, k=k, n=n, macs=macs,
        tiles=layer.groups * along_m * along_n * along_k, cycles=cycles,
        utilisation=macs / (cycles * spec.rows * spec.columns * mode.lanes),
        weights_in=layer.groups * k * n * along_m,
        activations_in=layer.groups * m * k * along_n,
        sums_out=layer.groups * m * n,
    )  # fmt: skip


def text(placements: Sequence[Placement]) -> str:
    """The placements as an aligned table, one array after the other, with its total."""
    head = (
        f"{'layer':22}{'scheme':>9}{'bits':>5}{'lanes':>6}{'M x K x N':>18}{'tiles':>8}"
        f"{'cycles':>10}{'used':>7}{'accesses':>10}{'MACs':>12}"
    )
    lines = [head]
    for scheme in dict.fromkeys(p.scheme for p in placements):
        own = [p for p in placements if p.scheme == scheme]
        lines += [_line(p) for p in own]
        cycles, macs = sum(p.cycles for p in own), sum(p.macs for p in own)
        accesses = sum(p.accesses for p in own)
        tiles = sum(p.tiles for p in own)
        lines.append(
            f"{'all':22}{scheme:>9}{'':>29}{tiles:>8}{cycles:>10}{'':>7}{accesses:>10}{macs:>12}"
        )
    return "\n".join(lines)


def _line(p: Placement) -> str:
    groups = f"{p.groups} x " if p.groups > 1 else ""
    shape = f"{groups}{p.m} x {p.k} x {p.n}"
    return (
        f"{p.name:22}{p.scheme:>9}{p.bits:>5}{p.lanes:>6}{shape:>18}{p.tiles:>8}{p.cycles:>10}"
        f"{p.utilisation:>7.1%}{p.accesses:>10}{p.macs:>12}"
    )


def main() -> int | None:
    """The command."""
    parser = Parser("python -m flows.tiling", __doc__)
    parser.add_argument("layers", type=Path, help="folder of layer operands (quanos export)")
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), choices=SCHEMES)
    parser.add_argument("--rows", type=int, default=8, help="rows of the array (8)")
    parser.add_argument("--columns", type=int, default=8, help="columns of the array (8)")
    parser.add_argument("--k-max", type=int, default=4608, help="longest sum (4608)")
    parser.add_argument("--depth", type=int, default=64, help="rows of sums it keeps (64)")
    parser.add_argument("--out", type=Path, help="file to write the placements to, as JSON")
    parser.add_json()
    args = parser.parse_args()
    layers = read_layers(args.layers)
    placements = [
        place(layer, ArraySpec(scheme=scheme, rows=args.rows, columns=args.columns,
                               k_max=args.k_max, depth=args.depth))
        for scheme in args.schemes
        for layer in layers
    ]  # fmt: skip
    side = {"rows": args.rows, "columns": args.columns, "depth": args.depth}
    result = side | {"layers": [asdict(p) | {"accesses": p.accesses} for p in placements]}
    if args.out:
        console.write_text(args.out, json.dumps(result, indent=1) + "\n")
    if args.json:
        console.print_json(result)
    else:
        print(text(placements))
    return None


if __name__ == "__main__":
    console.run(main)

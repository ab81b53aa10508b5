"""A network's layers on the simulated array: `python -m hw.tb.network LAYERS --scheme dvafs`.

LAYERS is a folder of layer operands as `quanos export --operands` writes them, or `vgg19`: layers
of the VGG-19 of the paper, random codes at the bits of its Table II. The array computes products of
all layers in one run, each layer in its own precision mode, switched between tiles without
draining; every sum must equal the exported one. Exit status: 0 all equal, 1 a sum is wrong,
2 bad input or a missing tool.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hw.command import Parser, aside, os_sentence, print_json
from hw.rtl.layers import Layer, read_layers
from hw.rtl.spec import SCHEMES, ArraySpec
from hw.rtl.verilog import write
from hw.tb import simulator
from hw.tb.array_wrapper import array_bench
from hw.tb.harness import waiting
from hw.tb.streams import Files

MODULE = "hw.tb.network_tb"
VGG19 = "vgg19"
VGG19_CHANNELS = (*(64,) * 2, *(128,) * 2, *(256,) * 4, *(512,) * 8)
VGG19_BITS = (9, 4, 5, 3, 3, 3, 4, 2, 4, 6, 9, 8, 9, 7, 3, 2)  # Table II less its 17th
VGG19_PIXELS = 64  # of a layer's output: those of a tile; what follows them is the same again


@dataclass(frozen=True, kw_only=True)
class NetworkOutcome:
    """What the array did; `simulation_s` is the simulator's time alone."""

    macs: int = 0
    tiles: int = 0
    modes: int = 0
    cycles: int = 0
    simulation_s: float = 0.0
    error: str = ""


def run(
    layers: Path, spec: ArraySpec, build: Path, *, sample: int, seed: int, waves: bool = False
) -> NetworkOutcome:
    """Build the array's simulator under `build` and send it the layers of the folder."""
    sources = build / "arrays"
    write(spec, sources)
    with waiting(f"building a simulator of {spec.name}"):
        verilog = sources / f"{spec.name}.v"
        place = simulator.build(array_bench([spec]), [verilog], build, waves)
    folder = place / "network"
    folder.mkdir(exist_ok=True)
    told, files = folder / "outcome.json", Files(folder)
    told.unlink(missing_ok=True)
    task = {
        "spec": asdict(spec), "folder": str(folder), "layers": str(layers.resolve()),
        "sample": sample, "seed": seed,
    }  # fmt: skip
    env = {"BENCH": json.dumps(task)}
    with waiting("simulating the layers"):
        simulator.simulate(place, folder, files.plusargs(), env, waves, module=MODULE)
    try:
        outcome = NetworkOutcome(**json.loads(told.read_text("utf-8")))
    except OSError:
        return NetworkOutcome(error=f"the simulation ended early; see {folder / 'sim.log'}.")
    if not outcome.error:
        files.remove()
    return outcome


def vgg19_layers(build: Path, seed: int) -> Path:
    """Write random operands of VGG-19's shapes, of as many pixels as an array keeps; the folder."""
    rng, folder = np.random.default_rng(seed), build / VGG19
    folder.mkdir(parents=True, exist_ok=True)
    inputs = 3
    for number, (outputs, bits) in enumerate(zip(VGG19_CHANNELS, VGG19_BITS, strict=True)):
        most = (1 << bits - 1) - 1
        w = rng.integers(-most, most, (1, 9 * inputs, outputs), endpoint=True)
        a = rng.integers(0, 1 << bits, (1, VGG19_PIXELS, 9 * inputs))
        path = folder / f"{number:02}-conv{number}.npz"
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with beside.open("wb") as file:
            np.savez(file, a=a, w=w, sums=a @ w, bits=bits, a_signed=0, images=1)
        beside.replace(path)
        inputs = outputs
    return folder


def text(layers: list[Layer], spec: ArraySpec, outcome: NetworkOutcome) -> str:
    """The layers with their modes, and what the array did."""
    lines = [f"{'layer':24}{'bits':>5}{'lanes':>6}{'activations':>12}{'M x K x N':>18}{'MACs':>12}"]
    for layer in layers:
        mode, (m, k, n) = layer.mode(spec.mac), layer.shape
        shape = (f"{layer.groups} x " if layer.groups > 1 else "") + f"{m} x {k} x {n}"
        sign = "signed" if layer.a_signed else "unsigned"
        lines.append(
            f"{layer.name:24}{layer.bits:>5}{mode.lanes:>6}{sign:>12}{shape:>18}{layer.macs:>12}"
        )
    rate = outcome.macs / outcome.simulation_s if outcome.simulation_s else 0.0
    images = layers[0].images
    lines.append(
        f"{spec.name}: {outcome.macs} MACs of {images} image(s) in {outcome.tiles} tiles and "
        f"{outcome.modes} modes, {outcome.cycles} cycles, {rate:.3g} MACs/s"
    )
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = Parser("python -m hw.tb.network", __doc__)
    parser.add_argument("layers", help=f"folder of layer operands (quanos export), or {VGG19}")
    parser.add_argument("--scheme", choices=SCHEMES, default="dvafs", help="of the MACs (dvafs)")
    parser.add_argument("--rows", type=int, default=8, help="rows of the array (8)")
    parser.add_argument("--columns", type=int, default=8, help="columns of the array (8)")
    parser.add_argument("--k-max", type=int, default=4608, help="longest sum (4608)")
    parser.add_argument("--depth", type=int, default=64, help="rows of sums it keeps (64)")
    parser.add_argument(
        "--sample", type=int, default=0, help="blocks of sums a layer, at random; 0: all (0)"
    )
    parser.add_argument("--out", type=Path, help="file to write the outcome to, as JSON")
    parser.add_argument("--build", type=Path, default=Path("build/sim"), help="builds (build/sim)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample and idle bits (1)")
    parser.add_argument("--waves", action="store_true", help="keep a dump of the run")
    parser.add_json()
    args = parser.parse_args(arguments)
    if args.seed < 0 or args.sample < 0:
        raise ValueError("--seed and --sample must be at least 0.")
    return args


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    try:
        args = parse(arguments)
        folder = vgg19_layers(args.build, args.seed) if args.layers == VGG19 else Path(args.layers)
        layers = read_layers(folder)
        spec = ArraySpec(
            scheme=args.scheme, rows=args.rows, columns=args.columns, k_max=args.k_max,
            depth=args.depth,
        )  # fmt: skip
        check(layers, spec)
        simulator.prepare()
        with simulator.locked(args.build), aside(as_json=args.json):
            outcome = run(
                folder, spec, args.build, sample=args.sample, seed=args.seed, waves=args.waves
            )
    except OSError as error:
        print(f"error: {os_sentence(error)}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        os._exit(130)  # without waiting for the simulator, which the same key has ended
    with aside(as_json=args.json):
        print(text(layers, spec, outcome))
        if not outcome.error:
            print(f"every sum equals the network's; seed {args.seed}")
    if args.json:
        print_json({"array": spec.name, "seed": args.seed, **asdict(outcome)})
    if outcome.error:
        print(f"error: {outcome.error}", file=sys.stderr)
        return 1
    if args.out:
        keep(args.out, spec, outcome)
    return 0


def keep(path: Path, spec: ArraySpec, outcome: NetworkOutcome) -> None:
    """Write the outcome beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps({"array": spec.name, **asdict(outcome)}) + "\n", "utf-8")
    beside.replace(path)


def check(layers: list[Layer], spec: ArraySpec) -> None:
    """ValueError for layers that the array cannot take."""
    for layer in layers:
        if layer.shape[1] > spec.k_max:
            raise ValueError(
                f"{layer.name} sums {layer.shape[1]} products, the array at most {spec.k_max}; "
                "raise --k-max."
            )
        layer.mode(spec.mac)


if __name__ == "__main__":
    sys.exit(main())

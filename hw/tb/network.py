"""A network's layers on the simulated array: `python -m hw.tb.network LAYERS --scheme dvafs`.

LAYERS is a folder of layer operands as `quanos export --operands` writes them; `digits`, those of a
small trained network and ten images, which come with the project; or `vgg19`, layers of the VGG-19
of the paper, random codes at the bits of its Table II. The array computes the products of all
layers in one run, each layer in its own precision mode, switched between tiles without draining;
every sum must equal the exported one, and the classes that follow from the array's last sums must
be the trainer's. `--jobs` simulators share the work. Exit status: 0 all equal, 1 a sum or a class
is wrong, 2 bad input or a missing tool.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from hw.command import aside, print_json, whole
from hw.rtl.layers import Layer, read_layers
from hw.rtl.npz import read_npz
from hw.rtl.spec import SCHEMES, ArraySpec
from hw.rtl.verilog import write
from hw.tb import forecast, simulator
from hw.tb.array_wrapper import array_bench
from hw.tb.blocks import LAST, blocks
from hw.tb.designs import bench_command, bench_parser, build, counted, waiting, with_sources
from hw.tb.head import Head, read_head
from hw.tb.network_outcome import NetworkOutcome, classified, merged, text
from hw.tb.streams import Files
from hw.tb.vgg19 import VGG19, vgg19_layers, vgg19_shapes
from hw.writing import check_writable, write_text

MODULE = "hw.tb.network_tb"
DIGITS = "digits"
MOST_BLOCKS = 10_000  # sampled of a layer
MOST_JOBS = 256
SIZES = {
    "width": (16, "bits of the MACs' operands"),
    "rows": (8, "rows of the array"),
    "columns": (8, "columns of the array"),
    "k_max": (4608, "longest sum"),
    "depth": (64, "rows of sums it keeps"),
}


def run(
    folder: Path,
    head: Head | None,
    spec: ArraySpec,
    place: Path,
    *,
    sample: int = 0,
    seed: int = 1,
    jobs: int = 1,
    waves: bool = False,
) -> NetworkOutcome:
    """Build the array's simulator under `place` and send it the layers of the folder."""
    write(spec, place / "arrays")
    designs = with_sources([spec], place / "arrays")
    built = build(array_bench([spec]), designs, place, "array", waves)
    task = {
        "spec": asdict(spec), "layers": str(folder.resolve()), "sample": sample, "seed": seed,
        "jobs": jobs,
    }  # fmt: skip
    files = [Files(built / f"network-{job}") for job in range(jobs)]
    title = f"sending the layers through {counted(jobs, 'simulator')} of {spec.name}"
    with waiting(title), ThreadPoolExecutor(jobs) as pool:
        tasks = [
            pool.submit(simulator.simulate, built, own, task | {"job": job}, MODULE, waves)
            for job, own in enumerate(files)
        ]
    told = [task.result() for task in tasks]
    if errors := [one["error"] for one in told if one.get("error")]:
        return NetworkOutcome(error=errors[0])
    outcome = merged(told)
    if head and not sample:
        last = sum(read_npz(own.folder / LAST)["sums"] for own in files)
        outcome |= classified(head, last[0])
    return NetworkOutcome(**outcome)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = bench_parser("python -m hw.tb.network", __doc__, "the sample and idle bits")
    parser.add_argument(
        "layers", help=f"folder of layer operands (quanos export), {DIGITS} or {VGG19}"
    )
    parser.add_argument("--scheme", choices=SCHEMES, default="dvafs", help="of the MACs (dvafs)")
    for name, (default, what) in SIZES.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=default, metavar="N",
            help=f"{what} ({default})",
        )  # fmt: skip
    parser.add_argument(
        "--sample", type=whole(0, MOST_BLOCKS), default=0, metavar="N",
        help="blocks of sums a layer, at random; 0: all (0)",
    )  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--jobs",
        type=whole(1, MOST_JOBS),
        default=cores,
        metavar="N",
        help=f"simulators (cores: {cores})",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write the outcome to, as JSON"
    )
    parser.add_plan()
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    return bench_command(lambda: _main(parse(arguments)))


def _main(args: argparse.Namespace) -> int:
    spec = ArraySpec(
        scheme=args.scheme, w_width=args.width, a_width=args.width, rows=args.rows,
        columns=args.columns, k_max=args.k_max, depth=args.depth,
    )  # fmt: skip
    folder, layers = operands(args)
    check(layers, spec)
    head = read_head(folder, layers[-1]) if folder else None
    work = blocks(layers, spec, args.sample, np.random.default_rng(args.seed))
    jobs = min(args.jobs, len(work))
    if args.plan:
        macs = sum(block.macs(layers) for block in work)
        forecast.network_plan(spec, macs, args.build, args.out, jobs).give(as_json=args.json)
        return 0
    if args.out:
        check_writable(args.out)
    simulator.prepare()
    with aside(as_json=args.json):
        outcome = simulated(args, spec, folder, head, jobs)
        print(text(layers, spec, outcome))
        if not outcome.error:
            print(f"every sum equals the network's; seed {args.seed}")
    if args.json:
        print_json({"array": spec.name, "seed": args.seed, **asdict(outcome)})
    if outcome.error:
        print(f"error: {outcome.error}", file=sys.stderr)
        return 1
    if args.out:
        write_text(args.out, json.dumps({"array": spec.name, **asdict(outcome)}) + "\n")
    return 0


def simulated(
    args: argparse.Namespace, spec: ArraySpec, folder: Path | None, head: Head | None, jobs: int
) -> NetworkOutcome:
    """`run` as the options ask for; layers without a folder are drawn before."""
    with simulator.locked(args.build):
        if folder is None:
            with waiting("drawing the layers"):
                folder = vgg19_layers(args.build, args.seed)
        return run(
            folder, head, spec, args.build, sample=args.sample, seed=args.seed, jobs=jobs,
            waves=args.waves,
        )  # fmt: skip


def operands(args: argparse.Namespace) -> tuple[Path | None, list[Layer]]:
    """The folder of the layers, and the layers; those of VGG-19 have shapes only, and no folder
    before they are drawn."""
    if args.layers == VGG19:
        return None, vgg19_shapes()
    folder = Path(__file__).with_name(DIGITS) if args.layers == DIGITS else Path(args.layers)
    return folder, read_layers(folder)


def check(layers: list[Layer], spec: ArraySpec) -> None:
    """ValueError for layers that the array cannot take."""
    for layer in layers:
        if layer.shape[1] > spec.k_max:
            raise ValueError(
                f"{layer.name} sums {layer.shape[1]} products, the array at most {spec.k_max}; "
                "raise --k-max."
            )
        if layer.bits > spec.w_width:
            raise ValueError(
                f"{layer.name} has codes of {layer.bits} bits, the array multiplies "
                f"{spec.w_width}; raise --width."
            )
        layer.mode(spec.mac)


if __name__ == "__main__":
    sys.exit(main())

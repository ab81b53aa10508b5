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
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hw.command import aside, print_json
from hw.plan import Plan
from hw.rtl.layers import Layer, read_layers
from hw.rtl.npz import read_npz
from hw.rtl.spec import SCHEMES, ArraySpec
from hw.rtl.verilog import write
from hw.tb import forecast, simulator
from hw.tb.array_wrapper import array_bench
from hw.tb.blocks import LAST, blocks
from hw.tb.designs import bench_command, bench_parser, waiting
from hw.tb.head import Head, read_head
from hw.tb.streams import Files
from hw.tb.vgg19 import VGG19, vgg19_layers

MODULE = "hw.tb.network_tb"
DIGITS = "digits"


@dataclass(frozen=True, kw_only=True)
class NetworkOutcome:
    """What the arrays did, one a simulator.

    `cycles` are those of all of them. `clock_s` is the wall clock's time of the simulation that
    took longest, `processor_s` the processor's. `classes` follow from the array's sums of the last
    layer, `same_class` counts those that the trainer's network gives; neither without a head.
    """

    macs: int = 0
    tiles: int = 0
    modes: int = 0
    cycles: int = 0
    simulators: int = 1
    clock_s: float = 0.0
    processor_s: float = 0.0
    classes: tuple[int, ...] = ()
    same_class: int = 0
    error: str = ""


def run(
    folder: Path,
    head: Head | None,
    spec: ArraySpec,
    build: Path,
    *,
    sample: int = 0,
    seed: int = 1,
    jobs: int = 1,
    waves: bool = False,
) -> NetworkOutcome:
    """Build the array's simulator under `build` and send it the layers of the folder."""
    sources = build / "arrays"
    write(spec, sources)
    with waiting(f"building a simulator of {spec.name}"):
        verilog = sources / f"{spec.name}.v"
        place = simulator.build(array_bench([spec]), [verilog], build, waves)
    task = {
        "spec": asdict(spec), "layers": str(folder.resolve()), "sample": sample, "seed": seed,
        "jobs": jobs,
    }  # fmt: skip
    files = [Files(place / f"network-{job}") for job in range(jobs)]
    with waiting(f"simulating the layers on {jobs} core(s)"), ThreadPoolExecutor(jobs) as pool:
        tasks = [
            pool.submit(simulator.simulate, place, own, task | {"job": job}, MODULE, waves)
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


def merged(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The simulators' outcomes as one."""
    sums = {name: sum(one[name] for one in told) for name in ("macs", "tiles", "cycles")}
    longest = {name: max(one[name] for one in told) for name in ("clock_s", "processor_s")}
    modes = {mode for one in told for mode in one["modes"]}
    return sums | longest | {"modes": len(modes), "simulators": len(told)}


def classified(head: Head, sums: Any) -> dict[str, Any]:
    """The classes of the last layer's sums, beside the trainer's."""
    classes = tuple(head.compute(sums).argmax(1).tolist())
    same = sum(own == given for own, given in zip(classes, head.classes, strict=True))
    told = {"classes": classes, "same_class": same}
    if same < len(classes):
        told["error"] = (
            f"the array's sums give the classes {list(classes)}, the trainer's network "
            f"{head.classes}."
        )
    return told


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
    lines.append(
        f"{spec.name}: {outcome.macs} MACs of {layers[0].images} image(s) in {outcome.tiles} tiles "
        f"and {outcome.modes} modes, {outcome.cycles} cycles"
    )
    if not outcome.error:
        lines.append(
            f"{outcome.simulators} simulator(s): {outcome.macs / outcome.clock_s:.3g} MACs/s by "
            f"the clock, {outcome.macs / outcome.processor_s:.3g} by their processor time"
        )
    if outcome.classes:
        lines.append(
            f"classes {' '.join(map(str, outcome.classes))}: the trainer's for "
            f"{outcome.same_class} of {len(outcome.classes)} images"
        )
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    parser = bench_parser("python -m hw.tb.network", __doc__, "the sample and idle bits")
    parser.add_argument(
        "layers", help=f"folder of layer operands (quanos export), {DIGITS} or {VGG19}"
    )
    parser.add_argument("--scheme", choices=SCHEMES, default="dvafs", help="of the MACs (dvafs)")
    parser.add_argument("--width", type=int, default=16, help="bits of their operands (16)")
    parser.add_argument("--rows", type=int, default=8, help="rows of the array (8)")
    parser.add_argument("--columns", type=int, default=8, help="columns of the array (8)")
    parser.add_argument("--k-max", type=int, default=4608, help="longest sum (4608)")
    parser.add_argument("--depth", type=int, default=64, help="rows of sums it keeps (64)")
    parser.add_argument(
        "--sample", type=int, default=0, help="blocks of sums a layer, at random; 0: all (0)"
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cores, help=f"simulators (cores: {cores})")
    parser.add_argument("--out", type=Path, help="file to write the outcome to, as JSON")
    parser.add_plan()
    args = parser.parse_args(arguments)
    if args.seed < 0 or args.sample < 0:
        raise ValueError("--seed and --sample must be at least 0.")
    if args.jobs < 1:
        raise ValueError("--jobs must be at least 1.")
    return args


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    return bench_command(lambda: _main(parse(arguments)))


def _main(args: argparse.Namespace) -> int:
    spec = ArraySpec(
        scheme=args.scheme, w_width=args.width, a_width=args.width, rows=args.rows,
        columns=args.columns, k_max=args.k_max, depth=args.depth,
    )  # fmt: skip
    if args.plan:
        planned(args, spec).give(as_json=args.json)
        return 0
    folder = place(args, args.build)
    layers = read_layers(folder)
    check(layers, spec)
    work = blocks(layers, spec, args.sample, np.random.default_rng(args.seed))
    head = read_head(folder, layers[-1])
    simulator.prepare()
    with aside(as_json=args.json):
        with simulator.locked(args.build):
            outcome = run(
                folder, head, spec, args.build, sample=args.sample, seed=args.seed,
                jobs=min(args.jobs, len(work)), waves=args.waves,
            )  # fmt: skip
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


def planned(args: argparse.Namespace, spec: ArraySpec) -> Plan:
    """What the options ask for; drawn layers are not kept."""
    with tempfile.TemporaryDirectory(prefix="quanos-plan-") as drawn:
        layers = read_layers(place(args, Path(drawn)))
    check(layers, spec)
    work = blocks(layers, spec, args.sample, np.random.default_rng(args.seed))
    sums = ((layers[b.layer], layers[b.layer].sums[b.group, b.m, b.n]) for b in work)
    macs = sum(layer.shape[1] * part.size for layer, part in sums)
    return forecast.network_plan(spec, macs, args.build, args.out, min(args.jobs, len(work)))


def place(args: argparse.Namespace, build: Path) -> Path:
    """The folder of the layers; drawn ones are written below `build`."""
    if args.layers == VGG19:
        return vgg19_layers(build, args.seed)
    return Path(__file__).with_name(DIGITS) if args.layers == DIGITS else Path(args.layers)


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
        if layer.bits > spec.w_width:
            raise ValueError(
                f"{layer.name} has codes of {layer.bits} bits, the array multiplies "
                f"{spec.w_width}; raise --width."
            )
        layer.mode(spec.mac)


if __name__ == "__main__":
    sys.exit(main())

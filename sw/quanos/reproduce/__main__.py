"""The command: run experiments of the paper, keep their results, write the page."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hw.command import Parser
from quanos.cli import guarded, print_json
from quanos.reproduce.plans import SCALES, Experiment

if TYPE_CHECKING:
    from quanos.reproduce.drive import Driver


def parser() -> Parser:
    """The options."""
    own = Parser(
        "python -m quanos.reproduce",
        "Run the paper's experiments and write docs/reproduction.md from their "
        "results. Without --scale the page alone is written.",
    )
    own.add_argument(
        "--scale", choices=SCALES, help="cpu: small networks; fast: 30 epochs; full: 210 epochs"
    )
    own.add_argument("--only", action="append", default=[], help="one experiment; may be repeated")
    own.add_argument("--data", type=Path, help="folder of the data sets' files")
    own.add_argument("--table", type=Path, help="energy table; without it the package's own")
    own.add_argument("--runs", type=Path, default=Path("runs/reproduce"), help="run folders")
    own.add_argument("--results", type=Path, default=Path("docs/results"), help="kept results")
    own.add_argument("--out", type=Path, default=Path("docs/reproduction.md"), help="the page")
    own.add_argument("--time-limit", type=float, default=0, help="save and stop after SECONDS")
    own.add_argument("--resume", action="store_true", help="go on where the last slice stopped")
    own.add_argument(
        "--jobs",
        type=int,
        help="networks of a run trained at the same time (default 1); at scale cpu runs at the "
        "same time, one core each (default 2, or the cores that there are)",
    )
    own.add_argument("--shard-mb", type=float, default=0, help="split checkpoints below MB")
    own.add_argument(
        "--smoke",
        action="store_true",
        help="one step of everything on a few images, into runs/smoke; results are not kept",
    )
    own.add_argument("--list", action="store_true", help="name the experiments and stop")
    own.add_plan()
    own.add_json()
    return own


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_args(words)
    return guarded(lambda: _run(args, shlex.join(["python", "-m", "quanos.reproduce", *words])))


def _run(args: argparse.Namespace, command: str) -> int | None:
    from quanos.reproduce.page import write_page
    from quanos.reproduce.plans import chosen, experiments

    if args.list:
        _list(list(experiments().values()), as_json=args.json)
        return None
    if min(args.jobs or 0, args.time_limit, args.shard_mb) < 0:
        raise ValueError("--jobs, --time-limit and --shard-mb must not be negative.")
    if args.plan and not args.scale:
        raise ValueError("--plan is of experiments; say which with --scale.")
    if args.plan:
        from quanos.reproduce import forecast

        wanted = chosen(args.scale, args.only)
        forecast.plan(_driver(args, command), wanted, args.out).give(as_json=args.json)
        return None
    status = None
    waiting: list[str] = []
    if args.scale:
        status, waiting = _drive(args, command, chosen(args.scale, args.only))
    if not args.smoke:
        write_page(args.out, args.results)
    if args.json:
        page = None if args.smoke else str(args.out)
        print_json({"page": page, "results": str(args.results), "waiting": waiting})
    elif not args.smoke:
        print(f"{args.out} written from {args.results}")
    return status


def _list(experiments: Sequence[Experiment], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": e.name, "scales": list(e.scales), "title": e.title} for e in experiments]
        print_json({"experiments": rows})
        return
    for item in experiments:
        print(f"{item.name:26} {', '.join(item.scales):12} {item.title}")


def _driver(args: argparse.Namespace, command: str) -> Driver:
    from flows.table import EnergyTable
    from quanos.reproduce.drive import Driver
    from quanos.training.slices import Slice

    small = args.scale == "cpu"
    jobs = args.jobs or (min(2, os.cpu_count() or 1) if small else 1)
    smoke = Path("runs/smoke")
    return Driver(
        scale=args.scale,
        runs=smoke if args.smoke else args.runs,
        results=smoke / "results" if args.smoke else args.results,
        table=EnergyTable.load(args.table),
        data_dir=str(args.data or ""),
        resume=args.resume,
        smoke=args.smoke,
        jobs=1 if small else jobs,
        beside=jobs if small else 1,
        command=command,
        sitting=Slice(time_limit=args.time_limit, shard_mb=args.shard_mb),
    )


def _drive(
    args: argparse.Namespace, command: str, experiments: Sequence[Experiment]
) -> tuple[int | None, list[str]]:
    """The exit status, and the experiments whose data set is not there."""
    from quanos.training.parallel import leave
    from quanos.training.slices import Paused

    try:
        waiting = _driver(args, command).run(experiments)
    except Paused as pause:
        out = sys.stderr if args.json else sys.stdout
        print(f"time limit: {pause}; go on with the same command and --resume", file=out)
        return None, []
    finally:
        leave()
    return 2 if waiting and (args.only or len(waiting) == len(experiments)) else None, waiting


if __name__ == "__main__":
    sys.exit(main())

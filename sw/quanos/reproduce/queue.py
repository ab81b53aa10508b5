"""The queue: what has run, what comes next, and with which command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quanos.reproduce import record, tables
from quanos.reproduce.plans import Experiment, experiments

RECORDED = ("full", "fast")
"""Scales that fill the paper's own tables, the better one first."""

FASHION = "fashion-mnist-policies"


def command(scale: str, name: str) -> str:
    """How an experiment is run; on a card, networks that do not wait for another share it."""
    plan = experiments()[name]
    data = "" if name == FASHION else "--data DIR "  # Debian's files are found by themselves
    side_by_side = 1 + sum(map(str.isdigit, plan.config(scale, 0).baselines))
    jobs = f"--jobs {side_by_side} " if scale in RECORDED and side_by_side > 1 else ""
    return f"`nox -s reproduce -- --scale {scale} --only {name} {data}{jobs}--resume`"


def best(results: Path, name: str) -> tuple[str, dict[str, Any]] | None:
    """The summary that fills the paper's tables: full scale before fast; with its `SCALE/SEED`."""
    for scale in RECORDED:
        for key, run in record.runs(results, name, scale).items():
            return key, run["summary"]
    return None


def run_of(results: Path, name: str, key: str) -> dict[str, Any]:
    """A kept run by its `SCALE/SEED`."""
    return record.runs(results, name)[key]


def origin(results: Path, name: str, key: str) -> str:
    """Where a run's numbers come from, in a sentence."""
    run, (scale, seed) = run_of(results, name, key), key.split("/")
    seconds = run["summary"]["seconds"]
    return (
        f"Ours: scale {scale}, seed {seed}, commit {str(run['commit'])[:10]}, on {run['device']}; "
        f"training {seconds['train']:.0f} s, attacks {seconds['evaluate']:.0f} s; "
        f"`{run['command']}`."
    )


def waiting(name: str) -> str:
    """What stands where a run is missing."""
    return f"*Waiting*: {command('fast', name)}, or `--scale full`."


def ran(results: Path, plans: dict[str, Experiment]) -> str:
    """Every run that is kept, with its device, times, commit and command."""
    rows = [
        [
            f"`{name}`", key, str(run["device"]), f"{run['summary']['seconds']['train']:.0f}",
            f"{run['summary']['seconds']['evaluate']:.0f}", f"{str(run['commit'])[:10]}",
            str(run["finished"]), f"`{run['command']}`",
        ]
        for name in plans
        for key, run in record.runs(results, name).items()
    ]  # fmt: skip
    if not rows:
        return "Nothing yet; see [the queue](#the-queue)."
    head = ["experiment", "scale/seed", "device", "training s", "attacks s", "commit", "finished"]
    return tables.markdown([*head, "command"], rows)


def queue(results: Path, plans: dict[str, Experiment]) -> str:
    """Every experiment at every scale, largest value first: whether it has run, and the next."""
    rows: list[list[str]] = []
    waits = "next"
    for scale in ("fast", "full", "cpu"):
        for name, plan in plans.items():
            if scale not in plan.scales:
                continue
            done = record.runs(results, name, scale)
            state = "has run" if all(f"{scale}/{s}" in done for s in plan.seeds) else waits
            waits = "waiting" if state == "next" else waits
            rows.append([str(len(rows) + 1), state, ", ".join(plan.fills), command(scale, name)])
    return f"{SLICES}\n\n{tables.markdown(['', 'state', 'fills', 'command'], rows)}"


SLICES = """Largest value first; `fast` and `full` are for one CUDA GPU of the H100 class. DIR is
the folder with the data sets' files. Each command may be cut off at any moment and given again. For
a card that is lent ten minutes at a time, add `--time-limit 500`: training stops after a step and
attacks after one of them, with all that is done saved under `runs/reproduce`, in files below 16 MB
with `--shard-mb 15`. Take that folder along, and the same command goes on with it, on any machine.
What is finished is merged into `docs/results`, from which this page is made."""

"""What a run would do, for `--plan`: its columns, what of them is there, and how long they take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hw.plan import Plan, Step
from quanos.config import Config
from quanos.data import Dataset
from quanos.run import METRICS, SUMMARY, standing
from quanos.sweep import Task
from quanos.training.estimate import Rates, attack_seconds, rates
from quanos.training.evaluation import MEASURED, main_column
from quanos.training.together import prepared

ATTACK_BASIS = "passes timed here, at most: images that an attack fools are not attacked further"
BASIS = f"training steps timed here at k0 bits, attacks by {ATTACK_BASIS}"
SAMPLE = 32
"""Images that a sample takes."""

WRITTEN = "config.toml, run.json, metrics.jsonl, measured.json, summary.json, checkpoints"


def run_plan(config: Config, folder: Path, *, resume: bool, overwrite: bool, jobs: int = 1) -> Plan:
    """The plan of `quanos train`. Raises what it would for a folder or data that cannot be."""
    found = standing(folder, config, resume=resume, overwrite=overwrite)
    data = prepared(config, 0)
    there = folder if found == "resumed" else None
    steps = list(columns(config, data, rates(config, data), there))
    writes = [f"{folder}/ ({WRITTEN}; a folder in it for each baseline)"]
    if found == "removed":
        writes.insert(0, f"{folder}/, after the run that is there is removed")
    return Plan(steps=steps, writes=writes, basis=BASIS, workers=jobs)


def columns(config: Config, data: Dataset, speed: Rates, there: Path | None) -> Iterator[Step]:
    """Training and attacks of every network; `there` is the folder that a run goes on in."""
    if there and (there / SUMMARY).exists():
        yield Step(name="run", work=f"finished, {there / SUMMARY}", kept=True)
        return
    main = main_column(config)
    absent = frozenset() if config.other_seed else frozenset({"seed"})
    absent |= frozenset() if "16" in config.baselines else frozenset({"16"})
    for name in (main, *config.baselines):
        place = None if there is None else there if name == main else there / name
        first = 0 if name == main else config.sense_epoch
        yield _training(name, config, data, speed, first, place)
        count = min(config.attack_images or len(data.test), len(data.test))
        lost = absent | ({"16"} if name == "16" else set())
        kept = bool(place and (place / MEASURED).exists())
        seconds = attack_seconds(config, count, speed.pass_s, speed.forward_s, lost)
        work = f"{count} images, both protocols and the gate"
        yield Step(name=f"{name}: attacks", work=work, seconds=seconds, kept=kept)


def _training(
    name: str, config: Config, data: Dataset, speed: Rates, first: int, place: Path | None
) -> Step:
    """A network's training from epoch `first`, or from where its folder stands."""
    done = max(first, epochs_done(place) if place else 0)
    left = config.epochs - done
    start = f" after epoch {done}" if done else ""
    work = f"{left} epochs{start}, {len(data.train)} images each"
    seconds = left * len(data.train) * speed.train_s
    return Step(name=f"{name}: training", work=work, seconds=seconds, kept=left <= 0)


def epochs_done(folder: Path) -> int:
    """Epochs that the metrics of a run tell of; 0 where there are none."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["epoch"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return 0


def sample_plan(
    work: Callable[[int], object], images: int, name: str, writes: Sequence[Path]
) -> Plan:
    """The plan of work on images, which `work(count)` does on the first `count` of them."""
    count = min(images, SAMPLE)
    began = time.perf_counter()
    work(count)
    seconds = (time.perf_counter() - began) * images / count
    step = Step(name=name, work=f"{images} images", seconds=seconds)
    basis = f"time grows with images, and {count} of them were tried here"
    return Plan(steps=[step], writes=[str(path) for path in writes] or ["nothing"], basis=basis)


def total(steps: Iterable[Step]) -> float:
    """Seconds of the steps that are left."""
    return sum(step.seconds or 0.0 for step in steps if not step.kept)


def sweep_plan(wanted: Sequence[Task], out: Path, workers: int) -> Plan:
    """The plan of `quanos sweep`; runs are alike, so that one is timed."""
    data = prepared(wanted[0].config, 0)
    speed = rates(wanted[0].config, data)
    steps = []
    for task in wanted:
        folder = out / task.name
        parts = list(columns(task.config, data, speed, folder))
        kept = all(part.kept for part in parts)
        work = f"{task.standing(out)}, {task.config.epochs} epochs"
        steps.append(Step(name=task.name, work=work, seconds=total(parts), kept=kept))
    writes = [f"{out}/ (a run folder each, sweep.json, pareto_clean.svg, pareto_robust.svg)"]
    return Plan(steps=steps, writes=writes, basis=BASIS, workers=workers)

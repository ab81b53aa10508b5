"""What the driver would run, what of it is there, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hw.plan import Plan, Step
from quanos.config import Config
from quanos.datasets.formats import DataError
from quanos.reproduce.drive import Driver
from quanos.reproduce.plans import SMOKE_IMAGES, Experiment
from quanos.run import SUMMARY
from quanos.training.estimate import rates
from quanos.training.planning import BASIS, columns, total
from quanos.training.together import prepared


def plan(driver: Driver, experiments: Sequence[Experiment], page: Path) -> Plan:
    """A step for every run; an experiment is timed once, whatever its seeds."""
    steps = [step for item in experiments for step in _runs(driver, item)]
    writes = [f"{driver.runs / driver.scale}/ (run folders)"]
    writes += [f"{driver.runs / 'results'}/"] if driver.smoke else [f"{driver.results}/", str(page)]
    return Plan(
        steps=steps,
        writes=writes,
        basis=f"{BASIS}; the units of Fig. 1(b) are not counted",
        workers=max(driver.beside, driver.jobs),
    )


def _runs(driver: Driver, experiment: Experiment) -> Iterator[Step]:
    left = [seed for seed in experiment.seeds if not _finished(driver, experiment, seed)]
    for seed in experiment.seeds:
        if seed not in left:
            yield Step(name=_name(experiment, seed), work="finished", kept=True)
    if not left:
        return
    try:
        configs = [_config(driver, experiment, seed) for seed in left]
        data = prepared(configs[0], SMOKE_IMAGES if driver.smoke else 0)
    except DataError as error:
        for seed in left:  # the driver passes these by
            yield Step(name=_name(experiment, seed), work=f"waits: {error}", seconds=0.0)
        return
    speed = rates(configs[0], data)
    for seed, config in zip(left, configs, strict=True):
        folder = driver.folder(experiment, seed)
        there = folder if driver.resume and folder.exists() else None
        networks = 1 + len(config.baselines)
        work = f"{networks} network(s), {config.model} on {data.name}, {config.epochs} epochs"
        seconds = total(columns(config, data, speed, there))
        yield Step(name=_name(experiment, seed), work=work, seconds=seconds)


def _finished(driver: Driver, experiment: Experiment, seed: int) -> bool:
    return driver.resume and (driver.folder(experiment, seed) / SUMMARY).exists()


def _name(experiment: Experiment, seed: int) -> str:
    return f"{experiment.name}, seed {seed}"


def _config(driver: Driver, experiment: Experiment, seed: int) -> Config:
    keys = {"data_dir": driver.data_dir, "smoke": driver.smoke}
    return experiment.config(driver.scale, seed, **keys)  # type: ignore[arg-type]

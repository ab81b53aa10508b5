"""Run experiments one after the other, in slices, and keep what they gave."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from flows.table import EnergyTable
from quanos.ablation import ablate
from quanos.config import Config
from quanos.data import load_dataset
from quanos.datasets.formats import DataError
from quanos.reproduce import record
from quanos.reproduce.plans import SMOKE_IMAGES, Experiment
from quanos.run import SUMMARY, write_json
from quanos.storage.checkpoint import load_network
from quanos.training.experiment import run_experiment
from quanos.training.parallel import group
from quanos.training.slices import Paused, Slice
from quanos.training.state import device
from quanos.training.together import pool


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Where runs and results go, and how the experiments are run.

    `jobs` networks of one run train at the same time, or `beside` runs, each in a process.
    """

    scale: str
    runs: Path
    results: Path
    table: EnergyTable
    data_dir: str = ""
    resume: bool = False
    smoke: bool = False
    jobs: int = 1
    beside: int = 1
    command: str = ""
    sitting: Slice

    def run(self, experiments: Sequence[Experiment]) -> list[str]:
        """Run every experiment with every seed; names of those whose data set is not there.

        Raises Paused where the time is up, with all that is finished merged into the results.
        """
        waiting: list[str] = []
        paused: Paused | None = None
        for experiment, seed, finish in self._started(experiments):
            try:
                finish()
            except DataError as error:
                if experiment.name not in waiting:
                    print(f"{experiment.name} waits: {error}", file=sys.stderr)
                    waiting.append(experiment.name)
            except Paused as pause:
                paused = pause
                if self.beside == 1:
                    break
            else:
                self.keep(experiment, seed)
        if paused:
            raise paused
        return waiting

    def _started(
        self, experiments: Sequence[Experiment]
    ) -> Iterator[tuple[Experiment, int, Callable[[], None]]]:
        """Every experiment and seed, and what to call for it to be finished."""
        pairs = [(item, seed) for item in experiments for seed in item.seeds]
        if self.beside == 1:
            yield from ((*pair, partial(self.train, *pair)) for pair in pairs)
            return
        with pool(min(self.beside, len(pairs))) as workers:
            futures = [workers.submit(self.train, *pair) for pair in pairs]
            yield from ((*pair, future.result) for pair, future in zip(pairs, futures, strict=True))

    def folder(self, experiment: Experiment, seed: int) -> Path:
        """Where one run lies."""
        return self.runs / self.scale / f"{experiment.name}-{seed}"

    def train(self, experiment: Experiment, seed: int) -> None:
        """Run one experiment with one seed, or go on with it."""
        folder = self.folder(experiment, seed)
        config = self._config(experiment, seed)
        if not (self.resume and (folder / SUMMARY).exists()):
            print(f"{experiment.name}, seed {seed}: {folder}", file=sys.stderr)
            run_experiment(
                config,
                folder,
                self.table,
                resume=self.resume,
                command=self.command,
                sitting=self.sitting,
                limit=SMOKE_IMAGES if self.smoke else 0,
                jobs=self.jobs,
            )
        if group(config.device).lead and "16" in config.baselines:
            ablation(folder, config)

    def keep(self, experiment: Experiment, seed: int) -> None:
        """Merge what a finished run gave into the results."""
        if group(self._config(experiment, seed).device).lead:
            folder = self.folder(experiment, seed)
            record.merge(self.results, experiment, self.scale, seed, folder)

    def _config(self, experiment: Experiment, seed: int) -> Config:
        return experiment.config(self.scale, seed, data_dir=self.data_dir, smoke=self.smoke)


def ablation(folder: Path, config: Config) -> None:
    """Figure 1(b) for the 16-bit network of a run, into its folder unless it is there."""
    path = folder / record.ABLATION
    if path.exists():
        return
    place = device(config)
    model = load_network(folder / "16")[0].to(place)
    data = load_dataset(config.dataset, config.data_path).to(place)
    rows = ablate(model, data.test.first(config.attack_images or 1000).batches(256))
    write_json(path, {"rows": [asdict(row) for row in rows]})

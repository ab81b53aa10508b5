"""Run experiments one after the other, in slices, and keep what they gave."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.table import EnergyTable
from quanos.data_formats import DataError
from quanos.experiment import run_experiment
from quanos.parallel import group
from quanos.reproduce import record
from quanos.reproduce.plans import SMOKE_IMAGES, Experiment
from quanos.run import SUMMARY
from quanos.slices import Slice


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Where runs and results go, and how the experiments are run."""

    scale: str
    runs: Path
    results: Path
    table: EnergyTable
    data_dir: str = ""
    resume: bool = False
    smoke: bool = False
    command: str = ""
    sitting: Slice

    def run(self, experiments: Sequence[Experiment]) -> list[str]:
        """Run every experiment with every seed; names of those whose data set is not there.

        Raises Paused where the time is up, with all that is finished merged into the results.
        """
        waiting = []
        for experiment in experiments:
            try:
                for seed in experiment.seeds:
                    self.one(experiment, seed)
            except DataError as error:
                print(f"{experiment.name} waits: {error}", file=sys.stderr)
                waiting.append(experiment.name)
        return waiting

    def one(self, experiment: Experiment, seed: int) -> None:
        """Run one experiment with one seed, or go on with it, and merge its results."""
        folder = self.runs / self.scale / f"{experiment.name}-{seed}"
        config = experiment.config(self.scale, seed, data_dir=self.data_dir, smoke=self.smoke)
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
            )
        if group(config.device).lead:
            record.merge(self.results, experiment, self.scale, seed, folder)

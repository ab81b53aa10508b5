"""Run experiments one after the other, in slices, and keep what they gave."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.table import EnergyTable
from quanos.ablation import ablate
from quanos.checkpoint import load_network
from quanos.config import Config
from quanos.data import load_dataset
from quanos.data_formats import DataError
from quanos.experiment import run_experiment
from quanos.parallel import group
from quanos.reproduce import record
from quanos.reproduce.plans import SMOKE_IMAGES, Experiment
from quanos.run import SUMMARY, write_json
from quanos.slices import Slice
from quanos.state import device


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
    jobs: int = 1
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
                jobs=self.jobs,
            )
        if group(config.device).lead:
            if "16" in config.baselines:
                ablation(folder, config)
            record.merge(self.results, experiment, self.scale, seed, folder)


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

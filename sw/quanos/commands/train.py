"""`quanos train`: a network by QUANOS and its baselines, trained, attacked and priced."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from quanos.cli import print_json
from quanos.commands.keys import given, options
from quanos.config import Config, load, override, preset, presets
from quanos.console import own_code

if TYPE_CHECKING:
    from flows.table import EnergyTable

    Keys = Any
else:
    Keys = options("Keys of the configuration; what is given here goes before the preset.")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network with QUANOS, attack it and price it, beside its uniform baselines.

    Writes a run folder (config.toml, run.json, metrics.jsonl, summary.json, checkpoints). Ctrl-C
    leaves a run that --resume goes on with; it ends as if it had not been stopped. Several
    processes share the batches under torchrun --no-python quanos train.

    Options from --dataset on are keys of the configuration: one that is given goes before the
    preset or file, which goes before the default that stands here.

    Example: quanos train --preset digits --seed 3 --out runs/digits-3
    """

    preset: str | None = None
    """Preset: cifar10-cpu, cifar10-fast, cifar10-paper, cifar100-fast, cifar100-paper, digits or
    fashion-mnist; without it the one named like the data set."""
    config: Path | None = None
    """TOML file with keys of the configuration, in place of a preset."""
    out: Path | None = None
    """Run folder; without it runs/ and the name of preset, file or data set."""
    table: Path | None = None
    """Energy table; without it the one that ships with the package."""
    resume: bool = False
    """Go on with the run in the folder. With --overwrite: go on if it was cut off and has the same
    configuration, start anew if not."""
    overwrite: bool = False
    """Remove the run that is in the folder and start anew."""
    download: bool = False
    """Fetch the data set's files if they are not there."""
    time_limit: float = 0
    """Save and stop after so many seconds, exit status 0; --resume goes on, on any machine."""
    shard_mb: float = 0
    """Split checkpoints into files below so many megabytes; 0: whole."""
    jobs: int = 1
    """Networks (the main one and its baselines) trained at the same time, each in a process of its
    own on the same device."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard too (pip install 'quanos[tensorboard]')."""
    plan: bool = False
    """Say what would be done and how long it may take, and stop."""
    json: bool = False
    """Print the summary as one JSON object and nothing else."""
    keys: Annotated[Keys, tyro.conf.arg(name="")] = field(default_factory=Keys)

    def run(self) -> None:
        """Run the experiment and print its results."""
        from flows.table import EnergyTable
        from quanos.datasets.download import download

        if self.jobs < 1 or self.time_limit < 0 or self.shard_mb < 0:
            raise ValueError("--jobs must be 1 or more, --time-limit and --shard-mb 0 or more.")
        name, config = self._configuration()
        folder = self.out or Path("runs") / name
        table = EnergyTable.load(self.table)
        if self.plan:
            self._plan(config, folder)
            return
        if self.download:
            download(config.dataset, config.data_path)
        self._train(config, folder, table)

    def _train(self, config: Config, folder: Path, table: EnergyTable) -> None:
        from quanos.reporting.summary_table import print_summary
        from quanos.training.experiment import run_experiment
        from quanos.training.parallel import leave
        from quanos.training.slices import Paused, Slice

        sitting = Slice(
            time_limit=self.time_limit, shard_mb=self.shard_mb, tensorboard=self.tensorboard
        )
        try:
            summary = run_experiment(
                config,
                folder,
                table,
                resume=self.resume,
                overwrite=self.overwrite,
                command=shlex.join(["quanos", *sys.argv[1:]]),
                sitting=sitting,
                jobs=self.jobs,
            )
        except Paused as pause:
            self._paused(str(pause), folder)
            return
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; go on with: {go_on(folder)}") from None
        finally:
            leave()
        if summary:  # process 0's alone under torchrun
            print_json(summary) if self.json else print_summary(summary, folder)

    def _plan(self, config: Config, folder: Path) -> None:
        from quanos.training.planning import run_plan

        plan = run_plan(
            config, folder, resume=self.resume, overwrite=self.overwrite, jobs=self.jobs
        )
        plan.give(as_json=self.json)

    def _paused(self, stands: str, folder: Path) -> None:
        if self.json:
            print_json({"finished": False, "stands": stands, "go_on": go_on(folder)})
        else:
            print(f"time limit: {stands}; go on with: {go_on(folder)}")

    def _configuration(self) -> tuple[str, Config]:
        """A name for the run, and file or preset with the given keys before it."""
        keys = given(self.keys)
        if self.preset and self.config:
            raise ValueError("--preset and --config exclude each other; give one of them.")
        if self.config:
            base = vars(load(self.config))
            return self.config.stem, override(base | keys, "command line")
        there = self.out / "config.toml" if self.out else None
        if self.resume and not self.preset and there and there.exists():
            return "", override(vars(load(there)) | keys, "command line")
        name = self.preset or keys.get("dataset", "digits")
        base = preset(name) if self.preset or name in presets() else {}
        return name, override(base | keys, "command line")


def go_on(folder: Path) -> str:
    """The command that goes on with the run, modules of one's own included."""
    return shlex.join(["quanos", *own_code.options(), "train", "--out", str(folder), "--resume"])

"""`quanos sweep`: policies, seeds and budgets trained side by side, and their Pareto fronts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quanos.cli import print_json


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Train every policy with every seed and budget, attack and price them, draw the fronts.

    Each run is a folder that quanos train and quanos report know; finished ones are kept, so that a
    sweep that was stopped goes on. Example: quanos sweep --policies ans hessian uniform
    --budgets-mean-bits 3 4 5 6 --seeds 0 1 2 --out runs/sweep
    """

    preset: str = "digits"
    """Preset that all runs start from; see quanos train --help."""
    policies: tuple[str, ...] = ("ans", "hessian", "lipschitz", "activation-density", "uniform")
    """Policies to compare."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, each a run of its own."""
    budgets_mean_bits: tuple[float, ...] = ()
    """Budgets in mean bits over layers."""
    budgets_mj: tuple[float, ...] = ()
    """Budgets in mJ of one image, by the preset's energy_scheme."""
    scheme: Literal["standard", "fixed", "dg", "dvafs", "dvafs_st"] = "dvafs"
    """MAC whose energy the fronts show."""
    supply: Literal["nominal", "scaled"] = "nominal"
    """Supply voltage."""
    table: Path | None = None
    """Energy table; without it the one that ships with the package."""
    data_dir: Path | None = None
    """Folder of the data set's files; without it the usual places."""
    workers: int = 1
    """Processes of this machine; each uses the threads that the preset says."""
    scheduler: str | None = None
    """Address of a Dask cluster, in place of local workers."""
    out: Path = Path("runs/sweep")
    """Folder of the runs, sweep.json and the figures."""
    plan: bool = False
    """Say what would run, and stop."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Run what is left, then write the fronts."""
        import sys

        from quanos import pareto
        from quanos.config import override, preset
        from quanos.results import read_run
        from quanos.run import write_json, write_text
        from quanos.sweep import sweep, tasks

        if self.workers < 1:
            raise ValueError(f"--workers must be 1 or more, not {self.workers}.")
        given = {"data_dir": str(self.data_dir)} if self.data_dir else {}
        config = override(preset(self.preset) | given, "command line")
        budgets = self.budgets_mean_bits, self.budgets_mj
        wanted = tasks(config, self.policies, self.seeds, *budgets)
        if self.plan:
            print("\n".join(task.name for task in wanted))
            return
        out = self.out.resolve()
        table = self.table.resolve() if self.table else None
        runs = sweep(wanted, out, table, workers=self.workers, scheduler=self.scheduler)
        for number, name in enumerate(runs, 1):
            print(f"{number}/{len(wanted)} {name}", file=sys.stderr, flush=True)
        reading = "paper" if self.scheme == "standard" else "measured"
        key = (self.scheme, reading, "nominal" if self.scheme == "standard" else self.supply)
        found = [read_run(out / task.name) for task in wanted]
        points = [pareto.point(run, run.columns[0], key) for run in found]
        result = pareto.summary(points, key)
        write_json(out / "sweep.json", result)
        for value in pareto.VALUES:
            if pareto.front(points, value):
                name = f"pareto_{value.removesuffix('_accuracy')}.svg"
                write_text(out / name, pareto.figure(points, value, key) + "\n")
        if self.json:
            print_json(result)
        else:
            print(pareto.text(points))

"""`quanos sweep`: policies, seeds and budgets trained side by side, and their Pareto fronts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from quanos.cli import print_json
from quanos.commands.keys import given, options
from quanos.config import Config, override, preset
from quanos.sensing.measurement import WITH_LOSSES

if TYPE_CHECKING:
    from quanos.pareto import Point

    Keys = Any
else:
    SWEPT = frozenset({"policy", "seed", "mean_bits", "energy_mj", "baselines"})
    Keys = options("Keys of the configuration of every run, before the preset's.", without=SWEPT)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Train every policy with every seed and budget, attack and price them, draw the fronts.

    Each run is a folder that quanos train and quanos report know; finished ones are kept, so that a
    sweep that was stopped goes on. Options from --dataset on are keys of every run's configuration
    and go before the preset.

    Example: quanos sweep --policies ans hessian uniform --budgets-mean-bits 3 4 5 6 --seeds 0 1 2
    --out runs/sweep
    """

    preset: str = "digits"
    """Preset that all runs start from: cifar10-cpu, cifar10-fast, cifar10-paper, cifar100-fast,
    cifar100-paper, digits or fashion-mnist."""
    policies: tuple[str, ...] = ("ans", "hessian", "lipschitz", "activation-density", "uniform")
    """Policies to compare: ans, lipschitz, activation-density, hessian, uniform, random."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, each a run of its own."""
    budgets_mean_bits: tuple[float, ...] = ()
    """Budgets in mean bits over layers; hessian and lipschitz need a budget."""
    budgets_mj: tuple[float, ...] = ()
    """Budgets in mJ of one image, on the MAC of --energy-scheme."""
    scheme: Literal["standard", "fixed", "dg", "dvafs", "dvafs_st"] = "dvafs"
    """MAC whose energy the fronts show: the paper's linear law (standard), conventional (fixed),
    data-gated (dg), or subword-parallel with products apart (dvafs) or summed together
    (dvafs_st)."""
    supply: Literal["nominal", "scaled"] = "nominal"
    """Supply voltage: nominal, or the lowest that keeps the throughput."""
    table: Path | None = None
    """Energy table; without it the one that ships with the package."""
    workers: int = 1
    """Processes of the local Dask cluster; each uses the threads that the preset says."""
    scheduler: str | None = None
    """Address of another Dask cluster, in place of the local one."""
    out: Path = Path("runs/sweep")
    """Folder of the runs, and of what is written about them where --page names no other."""
    page: Path | None = None
    """Markdown page about the sweep, with its figures and JSON beside it."""
    plan: bool = False
    """Say what would be done and how long it may take, and stop."""
    json: bool = False
    """Print one JSON object and nothing else."""
    keys: Annotated[Keys, tyro.conf.arg(name="")] = field(default_factory=Keys)

    def run(self) -> None:
        """Run what is left, then write the fronts."""
        from quanos import pareto
        from quanos.results import read_run
        from quanos.sweep import sweep, tasks

        config = override(preset(self.preset) | given(self.keys), "command line")
        self._check()
        budgets = self.budgets_mean_bits, self.budgets_mj
        wanted = tasks(config, self.policies, self.seeds, *budgets)
        out = self.out.resolve()
        if self.plan:
            from quanos.training.planning import sweep_plan

            sweep_plan(wanted, self.out, self.workers).give(as_json=self.json)
            return
        table = self.table.resolve() if self.table else None
        runs = sweep(wanted, out, table, workers=self.workers, scheduler=self.scheduler)
        for number, name in enumerate(runs, 1):
            print(f"{number}/{len(wanted)} {name}", file=sys.stderr, flush=True)
        found = [read_run(out / task.name) for task in wanted]
        points = [pareto.point(run, run.columns[0], self._operating_point()) for run in found]
        about = {"command": shlex.join(["quanos", *sys.argv[1:]])} | self._about(config)
        for name in ("commit", "table_sha256"):  # one each, unless runs are of different times
            about[name] = ", ".join(dict.fromkeys(str(run.origin.get(name)) for run in found))
        result = about | pareto.summary(points, self._operating_point())
        self._write(self.page or out / "sweep.md", points, result)
        print_json(result) if self.json else print(pareto.text(points))

    def _check(self) -> None:
        """Refuse a sweep of nothing, and policies without the budget that they need."""
        if self.workers < 1:
            raise ValueError(f"--workers must be 1 or more, not {self.workers}.")
        if not self.policies or not self.seeds:
            raise ValueError("a sweep needs at least one policy and one seed.")
        needy = [policy for policy in self.policies if policy in WITH_LOSSES]
        if needy and not (self.budgets_mean_bits or self.budgets_mj):
            raise ValueError(
                f"policy {needy[0]} needs a budget; give --budgets-mean-bits or --budgets-mj, or "
                "name other --policies."
            )

    def _operating_point(self) -> tuple[str, str, str]:
        """Scheme, reading and supply of the fronts' energies."""
        standard = self.scheme == "standard"
        return self.scheme, *(("paper", "nominal") if standard else ("measured", self.supply))

    def _about(self, config: Config) -> dict[str, Any]:
        """What all runs share."""
        names = ("dataset", "model", "epochs", "quantizer")
        return {name: getattr(config, name) for name in names} | {"seeds": list(self.seeds)}

    def _write(self, page: Path, points: Sequence[Point], result: dict[str, Any]) -> None:
        """The page, and beside it the JSON and a figure for every front that there is."""
        from quanos import pareto
        from quanos.reporting.pareto_page import page as written
        from quanos.run import write_json, write_text

        page.parent.mkdir(parents=True, exist_ok=True)
        figures = {}
        for value in pareto.VALUES:
            if pareto.front(pareto.over_seeds(points), value):
                figures[value] = f"{page.stem}_{value.removesuffix('_accuracy')}.svg"
                drawing = pareto.figure(points, value, self._operating_point())
                write_text(page.with_name(figures[value]), drawing + "\n")
        data = page.with_suffix(".json")
        write_json(data, result)
        write_text(page, written(points, result, figures, data.name) + "\n")

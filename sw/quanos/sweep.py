"""Many runs at once: every policy, seed and budget in a folder of its own, on a Dask cluster,
which is this machine's where none is named.

A run that is finished is not run again, one that was cut off goes on where it stood. Runs are
independent and deterministic, so that the number of workers changes nothing but the time.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from flows.table import EnergyTable
from quanos.config import Config
from quanos.run import SUMMARY

CONNECT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run: its folder below the sweep's, and its whole configuration."""

    name: str
    config: Config

    def standing(self, out: Path) -> str:
        """What there is of it below the folder `out`, in a word or two."""
        if (out / self.name / SUMMARY).exists():
            return "finished"
        return "cut off" if (out / self.name / "config.toml").exists() else "to run"


def tasks(
    config: Config,
    policies: Sequence[str],
    seeds: Sequence[int],
    mean_bits: Sequence[float] = (),
    energies_mj: Sequence[float] = (),
) -> list[Task]:
    """Every policy with every seed and budget, without baselines, which the policies are.

    Without a budget each policy gives what it gives alone; what is named twice is run once. Raises
    ConfigError for what cannot be run.
    """
    budgets: list[tuple[str, dict[str, Any]]] = [
        *((f"-{bits:g}bit", {"mean_bits": bits, "energy_mj": 0.0}) for bits in mean_bits),
        *((f"-{mj:g}mj", {"energy_mj": mj, "mean_bits": 0.0}) for mj in energies_mj),
    ]
    found = [
        Task(
            name=f"{policy}{tag}-seed{seed}",
            config=replace(config, policy=policy, seed=seed, baselines=(), **keys),
        )
        for policy, seed, (tag, keys) in product(policies, seeds, budgets or [("", {})])
    ]
    return list({task.name: task for task in found}.values())


def perform(task: Task, out: Path, table: Path | None) -> str:
    """Run a task, or go on with it; returns its name. What a worker calls."""
    from quanos.training.experiment import run_experiment

    folder = out / task.name
    command = shlex.join(["quanos", "train", "--config", str(folder / "config.toml")])
    if not (folder / SUMMARY).exists():
        loaded = EnergyTable.load(table)
        run_experiment(task.config, folder, loaded, resume=True, command=command)
    return task.name


def sweep(
    wanted: Sequence[Task],
    out: Path,
    table: Path | None = None,
    *,
    workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[str]:
    """Names of the runs as they are finished; those that were before come first.

    `scheduler` is the address of a Dask cluster whose workers see `out` at the same place; without
    it a cluster of `workers` processes of this machine is started, or, with one, none. Raises what
    the first failing run raised.
    """
    done = [task for task in wanted if task.standing(out) == "finished"]
    yield from (task.name for task in done)
    left = [task for task in wanted if task not in done]
    if workers == 1 and scheduler is None:
        yield from (perform(task, out, table) for task in left)
    elif left:
        with _executor(min(workers, len(left)), scheduler) as executor:
            futures = [executor.submit(perform, task, out, table) for task in left]
            try:
                yield from (future.result() for future in as_completed(futures))
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


@contextmanager
def _executor(workers: int, scheduler: str | None) -> Iterator[Executor]:
    import distributed  # takes a second, and only sweeps of several processes need it

    dask: Any = distributed
    with _cluster(dask, workers, scheduler) as address:
        try:
            client = dask.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no Dask scheduler answers at {address} ({str(error) or type(error).__name__}); "
                "start one with `dask scheduler`, or leave --scheduler out."
            ) from None
        with client:
            if not client.scheduler_info()["workers"]:
                raise ValueError(
                    f"the Dask scheduler at {address} has no workers; start `dask worker`."
                )
            yield client.get_executor(pure=False)


@contextmanager
def _cluster(dask: Any, workers: int, scheduler: str | None) -> Iterator[str]:
    """Address of the scheduler: the one given, or that of a cluster that lives meanwhile."""
    if scheduler is not None:
        yield scheduler
        return
    # any free port: two sweeps at a time would want the same one
    settings = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "memory_limit": 0}
    with dask.LocalCluster(workers, **settings) as cluster:
        yield cluster.scheduler_address

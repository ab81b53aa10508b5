"""Many runs at once: every policy, seed and budget in a folder of its own, in processes
of this machine or on a Dask cluster.

A run that is finished is not run again, one that was cut off goes on where it stood. Runs are
independent and deterministic, so that the number of workers changes nothing but the time.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
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


def tasks(
    config: Config,
    policies: Sequence[str],
    seeds: Sequence[int],
    mean_bits: Sequence[float] = (),
    energies_mj: Sequence[float] = (),
) -> list[Task]:
    """Every policy with every seed and budget, without baselines, which the policies are.

    Without a budget each policy gives what it gives alone. Raises ConfigError for what cannot be
    run.
    """
    budgets: list[tuple[str, dict[str, Any]]] = [
        *((f"-{bits:g}bit", {"mean_bits": bits, "energy_mj": 0.0}) for bits in mean_bits),
        *((f"-{mj:g}mj", {"energy_mj": mj, "mean_bits": 0.0}) for mj in energies_mj),
    ]
    return [
        Task(
            name=f"{policy}{tag}-seed{seed}",
            config=replace(config, policy=policy, seed=seed, baselines=(), **keys),
        )
        for policy, seed, (tag, keys) in product(policies, seeds, budgets or [("", {})])
    ]


def perform(task: Task, out: Path, table: Path | None) -> str:
    """Run a task, or go on with it; returns its name. What a worker calls."""
    from quanos.experiment import run_experiment

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
    it `workers` processes of this machine work. Raises what the first failing run raised.
    """
    done = [task for task in wanted if (out / task.name / SUMMARY).exists()]
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
    if scheduler is None:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield pool
        return
    import distributed  # takes a second, and only clusters need it

    try:
        client: Any = distributed.Client(  # type: ignore[no-untyped-call]
            scheduler, timeout=CONNECT_S, set_as_default=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no Dask scheduler answers at {scheduler} ({str(error) or type(error).__name__}); "
            "start one with `dask scheduler`, or leave --scheduler out."
        ) from None
    with client:
        yield client.get_executor(pure=False)

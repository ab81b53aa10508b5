"""Independent jobs on this machine's cores or on a Dask cluster, each done once.

A job is a function without arguments; its result is JSON and is kept in a file under the job's
key as soon as it is there, so that a sweep that was cut off goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from flows import console
from flows.console import FlowError

Rows = list[dict[str, Any]]
Job = Callable[[], Rows]
CONNECT_S = 5.0


def sweep(
    jobs: dict[str, Job],
    kept: Path,
    label: Callable[[Rows], str],
    workers: int = 1,
    scheduler: str | None = None,
) -> dict[str, Rows]:
    """Results of all jobs by key; those in the folder `kept` are taken from there.

    Runs on the Dask cluster at the address `scheduler`, else in `workers` processes. Whoever
    computes a job, its result is the same.
    """
    done = {key: rows for key in jobs if (rows := _kept(kept / f"{key}.json")) is not None}
    waiting = {key: job for key, job in jobs.items() if key not in done}
    results = _results(waiting, workers, scheduler)
    for key, rows in console.track(results, "measure", len(waiting), lambda r: label(r[1])):
        console.write_text(kept / f"{key}.json", json.dumps(rows))
        done[key] = rows
    return done


def _kept(path: Path) -> Rows | None:
    try:
        rows: Rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    return rows if whole else None


def _results(
    jobs: dict[str, Job], workers: int, scheduler: str | None
) -> Iterator[tuple[str, Rows]]:
    """Results as they come, by key."""
    workers = min(workers, len(jobs))
    if workers <= 1 and scheduler is None:
        yield from ((key, job()) for key, job in jobs.items())
        return
    with _executor(workers, scheduler) as executor:
        futures = {executor.submit(job): key for key, job in jobs.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise


@contextlib.contextmanager
def _executor(workers: int, scheduler: str | None) -> Iterator[Executor]:
    if scheduler is None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
            yield pool
        return
    import distributed  # takes a second, and only clusters need it

    try:
        client: Any = distributed.Client(  # type: ignore[no-untyped-call]
            scheduler, timeout=CONNECT_S, set_as_default=False
        )
    except (OSError, ValueError) as error:
        raise FlowError(
            f"no Dask scheduler answers at {scheduler} ({str(error) or type(error).__name__}); "
            "start one with `dask scheduler`, or leave --scheduler out."
        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise FlowError(
                f"the Dask scheduler at {scheduler} has no workers; start `dask worker`."
            )
        yield client.get_executor(pure=False)


def _end_with_parent() -> None:
    """A pool's process would wait for ever where the command was killed and could not say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

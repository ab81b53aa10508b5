"""Independent jobs on this machine's cores or on a Dask cluster, each done once.

A job is a function without arguments; its result is JSON and is kept in a file under the job's
key as soon as it is there, so that a sweep that was cut off goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any

from flows import console
from flows.console import FlowError

Rows = list[dict[str, Any]]
Job = Callable[[], Rows]
CONNECT_S, START_S = 5.0, 120.0  # to a cluster at an address; until a local one is there
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is the command's


def sweep(
    jobs: dict[str, Job],
    kept: Path,
    label: Callable[[Rows], str],
    workers: int = 1,
    scheduler: str | None = None,
) -> dict[str, Rows]:
    """Results of all jobs by key; those in the folder `kept` are taken from there.

    Runs on the Dask cluster at the address `scheduler`, else on a local one of `workers` processes,
    one alone in this process. Whoever computes a job, its result is the same.
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
    with contextlib.ExitStack() as stack:
        client = _client(scheduler) if scheduler else stack.enter_context(_local(workers))
        yield stack.enter_context(client).get_executor(pure=False)


@contextlib.contextmanager
def _local(workers: int) -> Iterator[Any]:
    """Client of a cluster on this machine. Raises FlowError where it does not start in time."""
    import distributed  # takes a second, and a sweep that is done needs none

    with contextlib.ExitStack() as stack:
        try:
            cluster = distributed.LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",  # the usual port may be another sweep's
                silence_logs=logging.CRITICAL + 1,  # of what a sweep that is cut off leaves
                preload=DEAF,
            )
            stack.enter_context(cluster)
            client = distributed.Client(  # type: ignore[no-untyped-call]
                cluster, timeout=START_S, set_as_default=False
            )
        except (OSError, RuntimeError) as error:  # Dask waits by the wall clock, which may jump
            raise FlowError(
                f"no Dask cluster could be started on this machine ({error}); "
                "try again, or give --workers 1, which needs none."
            ) from None
        yield client


def _client(scheduler: str) -> Any:
    """Of the cluster at that address. Raises FlowError where none answers or none works."""
    import distributed

    try:
        client: Any = distributed.Client(  # type: ignore[no-untyped-call]
            scheduler, timeout=CONNECT_S, set_as_default=False
        )
    except (OSError, ValueError) as error:
        raise FlowError(
            f"no Dask scheduler answers at {scheduler} ({str(error) or type(error).__name__}); "
            "start one with `dask scheduler`, or leave --scheduler out."
        ) from None
    if not client.scheduler_info()["workers"]:
        client.close()
        raise FlowError(f"the Dask scheduler at {scheduler} has no workers; start `dask worker`.")
    return client

"""Files that are whole or not there, and folders that one process uses at a time."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hw.writing import writing as writing

if sys.platform != "win32":
    import fcntl


class BusyError(ValueError):
    """A folder that another process is using."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    with writing(path) as beside:
        beside.write_bytes(content)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made if it is not there, until the block or the process ends.

    Raises BusyError where another process holds it. The lock is the system's, on the folder itself:
    no file tells of it, and a process that was killed holds nothing. Where there are no such locks,
    as on some file systems of networks, nothing is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            raise BusyError(
                f"{folder} is in use by another process; wait until it has ended, or name another "
                "folder with --out."
            ) from None
    try:
        yield
    finally:
        os.close(place)

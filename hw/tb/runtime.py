"""Verilator's own library, compiled once and lent to every build: eleven of the thirteen seconds of
processor time that a small bench's simulator takes, and the same for every design.

Kept in the user's cache folder (or `QUANOS_CACHE`), keyed by compiler, options and versions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

OBJECTS = "verilated*.o"
"""What make compiles of Verilator's library; files of a design begin with its top's name."""

AHEAD_S = 3600
"""Verilator's makefile compiles anew what is older than itself, as options may have changed; here
they are in the key."""


def lend(place: Path, options: str) -> None:
    """Put the objects that these options made into the build folder `place`, if there are any."""
    with suppress(OSError):  # make compiles what is missing
        for path in _kept(options).glob(OBJECTS):
            lent = Path(shutil.copy(path, place))
            os.utime(lent, (time.time() + AHEAD_S,) * 2)


def keep(place: Path, options: str) -> None:
    """Keep the objects of a build that ended well, unless that was done before."""
    kept = _kept(options)
    if kept.exists():
        return
    with suppress(OSError):  # a folder that cannot be written, or another process was first
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as beside:
            whole = Path(beside) / "objects"
            whole.mkdir()
            for path in place.glob(OBJECTS):
                shutil.copy(path, whole)
            whole.rename(kept)


def _kept(options: str) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quanos"
    key = hashlib.sha256(f"{options}{_compiler()}".encode()).hexdigest()
    return Path(os.environ.get("QUANOS_CACHE") or home) / "verilator" / key[:32]


@cache
def _compiler() -> str:
    """What the compiler says of itself."""
    compiler = os.environ.get("CXX", "c++")
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return f"{shutil.which(compiler)} {done.stdout}"

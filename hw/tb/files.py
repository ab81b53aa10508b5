"""What a harness and its bench in the simulator tell each other through a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OUTCOME = "outcome.json"


class Files:
    """A file for each stream of one simulation, in `folder`; plusargs name them."""

    def __init__(self, folder: Path, names: Sequence[str]):
        self.folder = folder
        self.paths = {name: folder / f"{name}.bin" for name in names}

    def plusargs(self) -> list[str]:
        """What tells the simulator where the files are."""
        return [f"+{name}={path}" for name, path in self.paths.items()]

    def remove(self) -> None:
        """Delete the files that are there."""
        for path in self.paths.values():
            path.unlink(missing_ok=True)


@contextmanager
def telling(folder: Path) -> Iterator[dict[str, Any]]:
    """What a bench puts into the dictionary goes to the harness, an exception as its `error`."""
    told: dict[str, Any] = {}
    try:
        yield told
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        told["error"] = f"{kind}{error}"
        raise
    finally:
        (folder / OUTCOME).write_text(json.dumps(told), encoding="utf-8")


def read_outcome(folder: Path) -> dict[str, Any]:
    """What the bench told; an `error` where it told nothing."""
    try:
        told: dict[str, Any] = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"error": f"the simulation ended early; see {folder / 'sim.log'}."}
    return told

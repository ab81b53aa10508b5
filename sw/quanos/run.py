"""A run is a folder: what was asked, what happened in every epoch, what came out, where from.

config.toml              the whole configuration
run.json                 commit, seed, versions, hash of the energy table, start and end
metrics.jsonl            a line per epoch: epoch, loss, train_accuracy, test_accuracy,
                         lr, mean_bits, seconds, images_per_s; validation_accuracy where images
                         were held out, watch_accuracy (PGD-10) in adversarial training
measured.json            what was measured of the network at the end
attacked.json            meanwhile, which images withstood which attack
tensorboard/             the metrics for TensorBoard, with --tensorboard
checkpoint.safetensors   the network and its optimizer after the last completed epoch
sensed.safetensors       the same at the sensing epoch, before the bits were assigned
summary.json             the results; its keys stand in `quanos.training.experiment`
16/, mean/, ...          baselines, each a run folder of its own; the epochs before sensing,
                         equal by construction, are the parent's
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from quanos.config import Config, load, to_toml
from quanos.storage import files

METRICS = "metrics.jsonl"
SUMMARY = "summary.json"


PLACE_KEYS = frozenset({"data_dir", "device", "threads"})
"""Keys that say where a run computes; another machine has its own."""


class RunError(ValueError):
    """A run folder that cannot be used as asked."""


def open_run(folder: Path, config: Config, *, resume: bool, overwrite: bool) -> None:
    """Make `folder` ready for `config`, as `standing` finds it; raises what that raises."""
    found, removed = folder / "config.toml", folder / _REMOVED
    if standing(folder, config, resume=resume, overwrite=overwrite) == "resumed":
        if load(found) != config:  # the folder has moved to another machine
            write_text(found, to_toml(config))
        return
    folder.mkdir(parents=True, exist_ok=True)
    if found.exists():
        found.replace(removed)
    if removed.exists():
        _clear(folder)
    write_text(found, to_toml(config))


def standing(folder: Path, config: Config, *, resume: bool, overwrite: bool) -> str:
    """What becomes of `folder`: "fresh", "resumed", or "removed" and started anew.

    `resume` goes on with a run of the same configuration, wherever it computes. `overwrite` removes
    the run that is there and starts anew. With both, a run of the same configuration that was cut
    off goes on and any other starts anew. Raises RunError where a run is there and none of this was
    asked, where the configurations differ, or where the folder holds something that is no run.
    """
    found, removed = folder / "config.toml", folder / _REMOVED
    strange = folder.exists() and any(map(_foreign, folder.iterdir()))
    if strange and not found.exists() and not removed.exists():
        raise RunError(f"{folder} holds files but no run; name another folder with --out.")
    if not found.exists():
        return "fresh"
    differs = _differences(load(found), config) if resume else None
    finished = (folder / SUMMARY).exists()
    if resume and not differs and not (overwrite and finished):
        return "resumed"
    if not overwrite:
        raise RunError(
            f"{folder} holds a run of another configuration ({', '.join(differs)} differ); "
            "add --overwrite to start anew, or name another folder with --out."
            if differs
            else f"{folder} already holds a run; add --resume to go on with it, --overwrite to "
            "start anew, or name another folder with --out."
        )
    return "removed"


_REMOVED = ".config.toml.0"
"""What `config.toml` is called while its run is removed, so that a kill leaves no half of one."""


def _clear(folder: Path) -> None:
    """Empty a folder; the folder itself, which may be locked, stays."""
    for path in folder.iterdir():
        if path.name == _REMOVED:
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / _REMOVED).unlink()


def _foreign(path: Path) -> bool:
    """Whether a file is none that a killed process was about to rename."""
    return re.fullmatch(r"\..+\.\d+", path.name) is None


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written."""
    for path in folder.iterdir():
        if not _foreign(path):
            path.unlink()


def _differences(there: Config, here: Config) -> list[str]:
    names = [name for name, value in vars(here).items() if getattr(there, name) != value]
    return [name for name in names if name not in PLACE_KEYS]


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename: the file is whole or not there."""
    files.write_bytes(path, text.encode())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON; a NaN in it is an error, not a file that nobody can read."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def append_metric(folder: Path, metric: dict[str, Any]) -> None:
    """Add a line to `metrics.jsonl`."""
    path = folder / METRICS
    lines = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, f"{lines}{json.dumps(metric)}\n")


def keep_metrics(folder: Path, epoch: int) -> None:
    """Drop the lines of epochs after `epoch`, which are about to be trained again."""
    path = folder / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if _epoch(line) <= epoch]
    write_text(path, "".join(f"{line}\n" for line in kept))


def _epoch(line: str) -> float:
    """The epoch of a line; a half-written line, which a kill may leave, counts as never kept."""
    try:
        return float(json.loads(line)["epoch"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def provenance(config: Config, table_sha256: str) -> dict[str, Any]:
    """What `run.json` says: commit (if the work is in git), seed, versions, energy table's hash."""
    packages = ("quanos", "torch", "numpy", "scikit-learn", "safetensors")
    return {
        "commit": commit(),
        "seed": config.seed,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in packages},
        "machine": platform.machine(),
        "table_sha256": table_sha256,
    }


def commit() -> str | None:
    """The commit of this source tree, with `+` after it where files were changed; None outside."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return result.stdout.strip()

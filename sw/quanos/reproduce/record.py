"""Results that are kept: one JSON per experiment, into which every finished run is merged.

`{schema, experiment, title, runs}`, where `runs` has an entry per `SCALE/SEED`: the summary of the
run (see `quanos.training.experiment`) with the command, commit, device, versions and times that it
took, and the ablation of the 16-bit network's units (see `quanos.ablation`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quanos.reproduce.plans import Experiment
from quanos.run import METRICS, write_json
from quanos.storage.jsonfile import FileContentError, read_json

SCHEMA = "quanos.results/1"
ABLATION = "ablation.json"
KEPT = ("command", "commit", "device", "versions", "started", "finished")


def merge(results: Path, experiment: Experiment, scale: str, seed: int, run: Path) -> Path:
    """Put the finished run in folder `run` into the experiment's file; the file's path."""
    path = results / f"{experiment.name}.json"
    content = load(path) or {"schema": SCHEMA, "experiment": experiment.name, "runs": {}}
    content["title"] = experiment.title
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    origin = json.loads((run / "run.json").read_text(encoding="utf-8"))
    summary["seconds"] |= train_seconds(run, summary["columns"])  # over all slices
    kept = {key: origin.get(key) for key in KEPT}
    ablated = run / ABLATION
    rows = json.loads(ablated.read_text(encoding="utf-8"))["rows"] if ablated.exists() else []
    content["runs"][f"{scale}/{seed}"] = {**kept, "summary": summary, "ablation": rows}
    content["runs"] = dict(sorted(content["runs"].items()))
    results.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


def train_seconds(run: Path, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of all epochs, whatever the slices they were trained in.

    {train: in all, columns: of each network alone; a baseline's include the epochs that it shares
    with the first}.
    """
    first, *others = columns
    epochs = _epochs(run)
    shared = sum(s for epoch, s in epochs.items() if epoch <= columns[first]["sense_epoch"])
    own = {name: sum(_epochs(run / name).values()) for name in others}
    main = sum(epochs.values())
    each = {first: main} | {name: shared + seconds for name, seconds in own.items()}
    return {"train": main + sum(own.values()), "columns": each}


def _epochs(folder: Path) -> dict[int, float]:
    """Seconds by epoch of the run in a folder."""
    lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    return {line["epoch"]: float(line["seconds"]) for line in map(json.loads, lines)}


def load(path: Path) -> dict[str, Any] | None:
    """The content of a file of results; None where there is none.

    Raises FileContentError for a file of another schema.
    """
    if not path.exists():
        return None
    node = read_json(path)
    if (schema := node["schema"].text()) != SCHEMA:
        raise FileContentError(f"{path} has schema {schema!r}; this version reads {SCHEMA!r}.")
    content: dict[str, Any] = node.value
    return content


def runs(results: Path, name: str, scale: str | None = None) -> dict[str, dict[str, Any]]:
    """The kept runs of an experiment by `SCALE/SEED`, of one scale where it is given."""
    content = load(results / f"{name}.json") or {"runs": {}}
    return {
        key: run
        for key, run in content["runs"].items()
        if scale is None or key.startswith(f"{scale}/")
    }

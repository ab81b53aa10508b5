"""Spoilt files of the trainer: every parser reads them or refuses them with its own error, one
sentence that names the file; never another exception, a hang, or memory without bound.
"""

import gzip
import tempfile
from dataclasses import asdict
from pathlib import Path

import good_quanos_files as good
import pytest
import tomli_w
from fuzzing import Case, spoil_often
from good_quanos_files import as_json
from test_quanos_report import summary, write_run

from quanos import config
from quanos.commands.energy import read_bits
from quanos.config import ConfigError
from quanos.datasets.formats import DataError, read_cifar, read_idx
from quanos.integer import program
from quanos.integer.program import ExportError
from quanos.results import read_run
from quanos.sensing import measurement
from quanos.storage import checkpoint
from quanos.storage.checkpoint import CheckpointError
from quanos.storage.jsonfile import FileContentError


def read_cifar_file(path: Path) -> object:
    return read_cifar(path, ["a.bin"], records=2, label_bytes=1, classes=10)


def read_summary(path: Path) -> object:
    """A run folder with this summary."""
    folder = path.parent / "run"
    if not folder.exists():
        write_run(folder, summary())
    (folder / "summary.json").write_bytes(path.read_bytes())
    return read_run(folder)


def read_metrics(path: Path) -> object:
    """A run folder with these metrics."""
    folder = path.parent / "run"
    if not folder.exists():
        write_run(folder, summary())
    (folder / "metrics.jsonl").write_bytes(path.read_bytes())
    return read_run(folder)


def read_parts(path: Path) -> object:
    """A split checkpoint with this index."""
    index = path.read_bytes()
    good.small_checkpoint(path, shard_mb=0.005)
    path.write_bytes(index)
    return checkpoint.load(path)


with tempfile.TemporaryDirectory() as place:
    WHOLE = good.small_checkpoint(Path(place) / "file")
    INDEX = good.small_checkpoint(Path(place) / "file", shard_mb=0.005)
METRICS = b'{"epoch": 1, "loss": 0.5, "test_accuracy": 0.25}\n' * 3
TOML = tomli_w.dumps(asdict(config.Config())).encode()
MEASURED = {
    "schema": measurement.SCHEMA, "kind": "ans", "layers": {"0": 0.25, "1": 0.5},
    "losses": {"0": [1.0, 0.5]},
}  # fmt: skip

CASES = (
    Case("checkpoint", WHOLE, checkpoint.load, CheckpointError),
    Case(
        "checkpoint, forged",
        good.META,
        checkpoint.load_network,
        CheckpointError,
        good.as_checkpoint,
    ),
    Case("checkpoint, parts", INDEX, read_parts, CheckpointError),
    Case("idx", good.IDX, read_idx, DataError),
    Case("idx.gz", gzip.compress(good.IDX, mtime=0), read_idx, DataError),
    Case("cifar.tar", good.tar(), read_cifar_file, DataError),
    Case("cifar.tar.gz", gzip.compress(good.tar(), mtime=0), read_cifar_file, DataError),
    Case("config", TOML, config.load, ConfigError),
    Case("integers", good.as_program(good.HEAD), program.load, ExportError),
    Case("integers, forged", good.HEAD, program.load, ExportError, good.as_program),
    Case("summary", as_json(summary()), read_summary, FileContentError),
    Case("summary, forged", summary(), read_summary, FileContentError, as_json),
    Case("metrics", METRICS, read_metrics, FileContentError),
    Case("measurement", as_json(MEASURED), measurement.load, FileContentError),
    Case("measurement, forged", MEASURED, measurement.load, FileContentError, as_json),
    Case("bits", b'{"bits": {"a": 4, "b": 8}}', lambda p: read_bits(str(p)), ValueError),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_spoilt_file_is_read_or_refused_in_a_sentence(case: Case, tmp_path: Path) -> None:
    spoil_often(case, tmp_path / "file")

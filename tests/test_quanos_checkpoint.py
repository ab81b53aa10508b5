"""Split checkpoints: parts below the limit, joined to the same bytes, spoilt ones refused."""

import json

import pytest
import torch

from quanos.storage import checkpoint
from quanos.storage.checkpoint import CheckpointError
from quanos.storage.shards import read_bytes, write_bytes

CONTENT = bytes(range(256)) * 100  # 25,600 bytes


@pytest.mark.parametrize("limit", [0, 4096, 5000, 12_800, 25_599, 25_600, 1_000_000])
def test_a_file_is_split_below_the_limit_and_joined_again(tmp_path, limit) -> None:
    path = tmp_path / "file"
    write_bytes(path, CONTENT, limit)
    assert read_bytes(path) == CONTENT
    sizes = [item.stat().st_size for item in tmp_path.iterdir()]
    assert limit == 0 or max(sizes) <= limit
    split = limit and limit < len(CONTENT)
    assert len(sizes) == (1 - -len(CONTENT) // limit if split else 1)


@pytest.mark.parametrize("limits", [(4096, 0), (0, 4096), (4096, 9000), (4096, 4096)])
def test_a_file_that_is_written_again_leaves_no_old_part(tmp_path, limits) -> None:
    path = tmp_path / "file"
    for limit in limits:
        write_bytes(path, CONTENT[limit % 7 :], limit)
    (tmp_path / "alone").mkdir()
    write_bytes(tmp_path / "alone" / "file", CONTENT[limits[1] % 7 :], limits[1])
    files, alone = (
        {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}
        for folder in (tmp_path, tmp_path / "alone")
    )
    assert files == alone


def missing(part, index) -> None:
    part.unlink()


def changed(part, index) -> None:
    part.write_bytes(b"x" + part.read_bytes()[1:])


def truncated(part, index) -> None:
    part.write_bytes(part.read_bytes()[:-1])


def elsewhere(part, index) -> None:
    names = json.loads(index.read_text())
    index.write_text(json.dumps(names | {"parts": ["../secret"]}))


def cut_index(part, index) -> None:
    index.write_bytes(index.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (missing, r"part weights.*\.001 is missing"),
        (changed, "do not make up the file"),
        (truncated, "do not make up the file"),
        (elsewhere, "lies in another folder"),
        (cut_index, "index of parts is damaged"),
    ],
)
def test_spoilt_parts_are_refused(tmp_path, spoil, sentence) -> None:
    path = tmp_path / "weights"
    tensors = {"model.w": torch.arange(4000.0)}
    checkpoint.save(path, tensors, {"epoch": 3}, shard_mb=0.005)
    loaded, meta = checkpoint.load(path)
    assert torch.equal(loaded["model.w"], tensors["model.w"])
    assert meta["epoch"] == 3
    spoil(next(tmp_path.glob("weights.*.001")), path)
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.load(path)


def test_parts_too_small_for_an_index_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="allow at least 4096"):
        write_bytes(tmp_path / "file", CONTENT, 100)
    assert list(tmp_path.iterdir()) == []

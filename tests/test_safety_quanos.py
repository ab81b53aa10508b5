"""What the trainer's files may never do: choose a path, fill the memory, differ from their pins."""

import gzip
import io
import re
import tarfile
from pathlib import Path

import good_quanos_files as good
import pytest

from quanos.datasets import download, formats
from quanos.datasets.formats import DataError, read_cifar, read_idx, read_members
from quanos.storage.checkpoint import CheckpointError, load_network


@pytest.mark.parametrize("name", ["../a.bin", "/tmp/a.bin", "deep/../../a.bin", "./a.bin"])
def test_no_member_of_an_archive_chooses_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar").write_bytes(good.tar(name))
    assert read_members(tmp_path / "in" / "a.tar", ["a.bin"]) == [good.CIFAR]
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.tar"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_of_an_archive_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(good.tar("a.bin", kind))
    with pytest.raises(DataError, match=r"holds no file a\.bin"):
        read_cifar(tmp_path / "a.tar", ["a.bin"], records=2, label_bytes=1, classes=10)


def tar_bomb() -> bytes:
    return gzip.compress(good.tar(content=bytes(1 << 17)), mtime=0)


def header_bomb() -> bytes:
    """A long name, which tarfile reads whole before anybody can look at it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a" * (1 << 17)))
    return raw.getvalue()


@pytest.mark.parametrize("make", [tar_bomb, header_bomb])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch, make) -> None:
    monkeypatch.setattr(formats, "LARGEST", 1 << 16)
    (tmp_path / "a.tar.gz").write_bytes(make())
    assert len(make()) < 2000
    with pytest.raises(DataError, match="holds more than 65536 bytes"):
        read_members(tmp_path / "a.tar.gz", ["a.bin"])
    (tmp_path / "idx.gz").write_bytes(gzip.compress(good.IDX + bytes(1 << 17), mtime=0))
    with pytest.raises(DataError, match="holds more than 65536 bytes"):
        read_idx(tmp_path / "idx.gz")


def test_a_checkpoint_cannot_ask_for_memory(tmp_path: Path) -> None:
    for change in ({"classes": 60_000}, {"input_shape": [60_000, 4, 4]}, {"classes": 1 << 50}):
        (tmp_path / "c").write_bytes(good.as_checkpoint(good.META | change))
        with pytest.raises(CheckpointError, match="does not fit its network"):
            load_network(tmp_path / "c")


def test_every_download_is_pinned_by_sha256() -> None:
    pins = [pin for files in download.FILES.values() for pin in files.items()]
    assert len(pins) == 6
    assert all(re.fullmatch(r"https?://\S+\.gz", url) for url, _ in pins)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for _, digest in pins)
    assert len({digest for _, digest in pins}) == 6

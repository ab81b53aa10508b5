"""Data sets: what is read is what the files hold, and bad files are refused with a sentence."""

import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np
import pytest
import torch

from quanos.data import (
    DEBIAN_FASHION_MNIST,
    IDX_FILES,
    load_dataset,
)
from quanos.datasets.download import download, fetch
from quanos.datasets.formats import DataError, read_cifar, read_idx
from quanos.training.batches import random_flip, random_shift


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def test_digits_are_whole_scaled_and_split_the_same_way_every_time() -> None:
    data = load_dataset("digits")
    assert data.input_shape == (1, 8, 8)
    assert len(data.train) + len(data.test) == 1797
    images = data.train.images()
    assert images.min() == 0
    assert images.max() == 1
    # Stratified: every class has its share of the test images, within one image.
    share = torch.bincount(data.test.labels) / torch.bincount(data.train.labels)
    assert (share - 1 / 3).abs().max() < 0.02
    assert torch.equal(data.test.codes, load_dataset("digits").test.codes)
    seen = {row.numpy().tobytes() for row in data.train.codes}
    leaks = sum(row.numpy().tobytes() in seen for row in data.test.codes)
    assert leaks == 0


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 4, 2), (1, 28, 28)])
def test_idx_round_trip(tmp_path, shape, packed) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    raw = idx_bytes(array)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
    assert np.array_equal(read_idx(path), array)


GOOD = idx_bytes(np.zeros((3, 4), np.uint8))


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "no idx file"),
        (b"\x00\x00\x0d\x01" + GOOD[4:], "no idx file"),
        (GOOD[:-1], "11 bytes of data where its header says 12"),
        (GOOD + b"\x00", "13 bytes of data where its header says 12"),
        (GOOD[:6], "no idx file"),
        (gzip.compress(GOOD, mtime=0)[:-9], "damaged gzip"),
        (b"\x1f\x8b" + GOOD, "damaged gzip"),
    ],
)
def test_damaged_idx_is_refused(tmp_path, raw, sentence) -> None:
    path = tmp_path / "file"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=sentence):
        read_idx(path)


def cifar_bytes(labels: list[list[int]], seed: int = 0) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072)).astype(np.uint8)
    records = np.concatenate([np.array(labels, np.uint8), pixels], axis=1)
    return records.tobytes(), pixels.reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("labels", [[[3], [9]], [[7, 42], [0, 99], [19, 0]]])
def test_cifar_records(tmp_path, labels, archive) -> None:
    raw, pixels = cifar_bytes(labels)
    source = tmp_path / "folder"
    source.mkdir()
    (source / "a.bin").write_bytes(raw)
    if archive:
        packed = tmp_path / "a.tar.gz"
        with tarfile.open(packed, "w:gz") as tar:
            tar.add(source / "a.bin", "deep/inside/a.bin")
        source = packed
    size = {"records": len(labels), "label_bytes": len(labels[0]), "classes": 100}
    images, read = read_cifar(source, ["a.bin"], **size)
    assert np.array_equal(images, pixels)
    assert read.tolist() == [row[-1] for row in labels]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"records": 3}, "hold 6146 bytes where 3 records"),
        ({"label_bytes": 2}, "hold 6146 bytes"),
        ({"classes": 9}, "label 9 is none of 9 classes"),
    ],
)
def test_damaged_cifar_is_refused(tmp_path, change, sentence) -> None:
    (tmp_path / "a.bin").write_bytes(cifar_bytes([[3], [9]])[0])
    size = {"records": 2, "label_bytes": 1, "classes": 10} | change
    with pytest.raises(DataError, match=sentence):
        read_cifar(tmp_path, ["a.bin"], **size)


def test_a_truncated_archive_is_refused(tmp_path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        info = tarfile.TarInfo("a.bin")
        noise = np.random.default_rng(0).bytes(6146)
        info.size = len(noise)
        tar.addfile(info, io.BytesIO(noise))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(raw.getvalue()[:3000])
    with pytest.raises(DataError, match="damaged gzip"):
        read_cifar(path, ["a.bin"], records=2, label_bytes=1, classes=10)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("fashion-mnist", "train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        ("cifar10", "cifar-10-batches-bin or cifar-10-binary.tar.gz"),
        ("cifar100", "cifar-100-binary or cifar-100-binary.tar.gz"),
    ],
)
def test_a_missing_data_set_says_what_to_put_where(tmp_path, name, files) -> None:
    with pytest.raises(DataError, match=f"put {files} into {tmp_path / name}"):
        load_dataset(name, tmp_path)


def test_an_unknown_data_set_names_those_there_are() -> None:
    with pytest.raises(DataError, match="digits, fashion-mnist, cifar10, cifar100"):
        load_dataset("imagenet")


def test_images_and_labels_of_different_length_are_refused(tmp_path) -> None:
    for name in IDX_FILES:
        array = np.zeros((3, 28, 28) if "images" in name else (4,), np.uint8)
        (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(DataError, match="do not belong together"):
        load_dataset("fashion-mnist", tmp_path)


@pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.exists(), reason="dataset-fashion-mnist is not installed"
)
def test_fashion_mnist_as_debian_ships_it() -> None:
    data = load_dataset("fashion-mnist")
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10


def test_a_shift_moves_every_pixel_the_same_way() -> None:
    images = torch.zeros(64, 2, 5, 6)
    images[:, 0, 2, 3] = 1
    images[:, 1, 2, 2] = 1
    moved = random_shift(images, 2, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    first, second = moved[:, 0].flatten(1).argmax(1), moved[:, 1].flatten(1).argmax(1)
    inside = (moved[:, 0].flatten(1).sum(1) > 0) & (moved[:, 1].flatten(1).sum(1) > 0)
    assert torch.equal(first[inside] - second[inside], torch.ones_like(first[inside]))
    assert len(first.unique()) > 10
    assert random_shift(images, 0, torch.Generator()) is images


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.arange(4.0).expand(200, 1, 1, 4)
    flipped = random_flip(images, torch.Generator().manual_seed(0))[:, 0, 0]
    mirrored = (flipped == torch.tensor([3.0, 2, 1, 0])).all(1)
    assert ((flipped == images[:, 0, 0]).all(1) | mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_a_download_is_kept_only_with_the_pinned_checksum(tmp_path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    good = hashlib.sha256(b"content").hexdigest()
    with pytest.raises(DataError, match="not kept"):
        fetch(source.as_uri(), tmp_path / "out" / "file", "0" * 64)
    assert list((tmp_path / "out").iterdir()) == []
    fetch(source.as_uri(), tmp_path / "out" / "file", good)
    assert (tmp_path / "out" / "file").read_bytes() == b"content"
    with pytest.raises(DataError, match="by hand"):
        fetch((tmp_path / "absent").as_uri(), tmp_path / "out" / "other", good)


def test_digits_need_no_download(tmp_path) -> None:
    download("digits", tmp_path)
    assert list(tmp_path.iterdir()) == []

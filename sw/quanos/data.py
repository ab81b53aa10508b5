"""Data sets as bytes resident in memory, and the shifts and flips of training in torch.

`load_dataset("digits")` needs no file: scikit-learn ships the handwritten digits. The others are
read from the files that their authors publish; see `data_formats`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quanos.datasets.formats import DATASETS, Bytes, DataError, read_cifar, read_idx
from quanos.datasets.image_folder import hold_out, read_folder

SPLIT_SEED = 2004  # what is held out is the same in every run, whatever its seed
TEST_SHARE = 0.25


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) as uint8 codes, labels (N,) as int64; image = code / full_scale."""

    codes: Tensor
    labels: Tensor
    full_scale: int

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self)} images of {' x '.join(map(str, self.codes.shape[1:]))})"

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.codes.device

    def images(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Float images in [0, 1], shape (n, C, H, W)."""
        return self.codes[index].float() / self.full_scale

    def first(self, count: int) -> Split:
        """The first `count` images, all of them for 0."""
        end = count or len(self)
        return Split(self.codes[:end], self.labels[:end], self.full_scale)

    def take(self, index: Tensor) -> Split:
        """The images of these numbers (n,), in that order."""
        return Split(self.codes[index], self.labels[index], self.full_scale)

    def to(self, device: torch.device | str) -> Split:
        """The same on another device."""
        return Split(self.codes.to(device), self.labels.to(device), self.full_scale)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) in order, `size` at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.images(part), self.labels[part]


@dataclass(frozen=True)
class Dataset:
    """A named data set: its splits and classes; `validation` is held out of the training images."""

    name: str
    train: Split
    test: Split
    classes: int
    validation: Split | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.train.codes.shape
        return channels, height, width

    def some_images(self, count: int) -> Tensor:
        """At most `count` images (n, C, H, W): of the test split, then of the training split."""
        test = self.test.first(count) if count else self.test
        rest = self.train.images(slice(0, count - len(test)))
        return torch.cat([test.images(), rest]) if len(test) < count else test.images()

    def to(self, device: torch.device | str) -> Dataset:
        """The same on another device."""
        held_out = self.validation.to(device) if self.validation else None
        return replace(
            self, train=self.train.to(device), test=self.test.to(device), validation=held_out
        )

    def hold_out(self, count: int) -> Dataset:
        """The data set with `count` training images taken out for validation, always the same.

        Raises DataError where no training image would be left.
        """
        if count == 0:
            return self
        if count >= len(self.train):
            raise DataError(
                f"{count} images cannot be held out of {len(self.train)} for training; hold out "
                "fewer with --validation-images."
            )
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        order = torch.randperm(len(self.train), generator=generator)
        held_out, rest = order[:count], order[count:].sort().values
        return replace(self, train=self.train.take(rest), validation=self.train.take(held_out))

    def limit(self, count: int) -> Dataset:
        """The first `count` images of every split, all of them for 0; for trying things out."""
        held_out = self.validation.first(count) if self.validation else None
        return replace(
            self, train=self.train.first(count), test=self.test.first(count), validation=held_out
        )


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """The data set `name`, from `data_dir` or the default places.

    Raises DataError for an unknown name, files that are not there (it says which files belong
    where) or damaged, or a folder where none is read.
    """
    if name not in LOADERS:
        raise DataError(f"data set {name!r} is unknown; there are {', '.join(LOADERS)}.")
    return LOADERS[name](data_dir)


def data_home() -> Path:
    """Where downloads go: $QUANOS_DATA, else quanos in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("QUANOS_DATA") or cache / "quanos")


def find(name: str, wanted: list[str], data_dir: Path | None, usual: tuple[Path, ...] = ()) -> Path:
    """The first existing path `place / file` of the `wanted` files, over all places.

    Places are `data_dir` and `data_dir/name` where a folder is given, else the usual ones. Raises
    DataError where none of them has one.
    """
    homes = (data_dir,) if data_dir else (data_home(), Path("data"))
    places = [place for home in homes for place in (home / name, home)]
    places += [] if data_dir else list(usual)
    for place in places:
        for file in wanted:
            if (place / file).exists():
                return place / file
    raise DataError(
        f"data set {name} is not there: put {' or '.join(wanted)} into {places[0]}, name its folder"
        " with --data-dir, or add --download where there is a network."
    )


def _split(images: Bytes, labels: Bytes, full_scale: int = 255) -> Split:
    """Channels-first tensors of (N, H, W) or (N, C, H, W) arrays; the arrays may be read-only."""
    codes = torch.from_numpy(np.array(images, np.uint8))
    return Split(
        codes if codes.ndim == 4 else codes[:, None],
        torch.from_numpy(labels.astype(np.int64)),
        full_scale,
    )


def _digits(data_dir: Path | None) -> Dataset:
    """scikit-learn's 1797 handwritten digits, 8x8 with levels 0..16; stratified, fixed split."""
    if data_dir:
        raise DataError(
            f"the digits come with scikit-learn, not from {data_dir}; leave --data-dir out, or "
            "name the data set that lies there with --dataset."
        )
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    parts = train_test_split(
        images, labels, test_size=TEST_SHARE, stratify=labels, random_state=SPLIT_SEED
    )
    return Dataset("digits", _split(parts[0], parts[2], 16), _split(parts[1], parts[3], 16), 10)


IDX_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist


def _fashion_mnist(data_dir: Path | None) -> Dataset:
    """Fashion-MNIST: 60,000 and 10,000 images of 28x28, ten classes."""
    usual = (DEBIAN_FASHION_MNIST,)
    paths = [find("fashion-mnist", [n, f"{n}.gz"], data_dir, usual) for n in IDX_FILES]
    splits = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
            raise DataError(
                f"{images_path} and {labels_path} do not belong together: shapes {images.shape} "
                f"and {labels.shape}, labels up to {labels.max(initial=0)}; fetch them again."
            )
        splits.append(_split(images, labels))
    return Dataset("fashion-mnist", splits[0], splits[1], 10)


RECORDS = {"train": 50_000, "test": 10_000}
"""Images of CIFAR-10 and CIFAR-100; the training images of the former lie in five files."""


def _cifar10(data_dir: Path | None) -> Dataset:
    """CIFAR-10: 50,000 and 10,000 colour images of 32x32, ten classes."""
    source = find("cifar10", ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"], data_dir)
    batches = [f"data_batch_{number}.bin" for number in range(1, 6)]
    train = read_cifar(source, batches, records=RECORDS["train"], label_bytes=1, classes=10)
    test = read_cifar(
        source, ["test_batch.bin"], records=RECORDS["test"], label_bytes=1, classes=10
    )
    return Dataset("cifar10", _split(*train), _split(*test), 10)


def _cifar100(data_dir: Path | None) -> Dataset:
    """CIFAR-100 with its hundred fine labels."""
    source = find("cifar100", ["cifar-100-binary", "cifar-100-binary.tar.gz"], data_dir)
    train = read_cifar(source, ["train.bin"], records=RECORDS["train"], label_bytes=2, classes=100)
    test = read_cifar(source, ["test.bin"], records=RECORDS["test"], label_bytes=2, classes=100)
    return Dataset("cifar100", _split(*train), _split(*test), 100)


def image_folder(path: Path | str, *, size: int = 0) -> Dataset:
    """A data set of your own, a folder of images for each class: `quanos.datasets.image_folder`.

    With `size` images are cut to a square and scaled to that side. Raises DataError for a folder
    that is none of these, images of different sizes or a damaged file.
    """
    path = Path(path)
    train, test, classes = read_folder(path, size=size)
    if test is None:
        train, test = hold_out(train, TEST_SHARE, SPLIT_SEED)
    shapes = [" x ".join(map(str, images.shape[1:])) for images, _ in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{path}: training images are {shapes[0]} and test images {shapes[1]} (channels, "
            "height, width); make them alike."
        )
    return Dataset("folder", _split(*train), _split(*test), classes)


def _folder(data_dir: Path | None) -> Dataset:
    if data_dir is None:
        raise DataError("data set folder needs the folder with the images; name it by --data-dir.")
    return image_folder(data_dir)


def _tensors(data_dir: Path | None) -> Dataset:
    raise DataError(
        "data set tensors was handed over in Python and is in no file; hand it over again, or use "
        "the data set folder."
    )


LOADERS: dict[str, Callable[[Path | None], Dataset]] = dict(
    zip(DATASETS, (_digits, _fashion_mnist, _cifar10, _cifar100, _folder, _tensors), strict=True)
)

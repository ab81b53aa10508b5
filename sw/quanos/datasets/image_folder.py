"""A data set of your own: image files in a folder for each class, or arrays in two `.npz` files.

    DIR/train/CLASS/*.png and DIR/test/CLASS/*.png    both splits, the same classes
    DIR/CLASS/*.png                                   a quarter of each class is kept for testing
    DIR/train.npz and DIR/test.npz                    `images` (N, H, W) or (N, H, W, C), uint8,
                                                      and `labels` (N,), 0 to classes - 1

Classes are numbered in the order of their names. Images have one size; they are grey where all of
them are, else of three colours, transparency dropped. Nothing outside of the folder is read, and
nothing larger than the limits below. Image files need Pillow (`pip install 'quanos[images]'`).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from quanos.datasets.formats import Bytes, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")
UNREAD = (".gif", ".tif", ".tiff", ".jfif", ".heic", ".avif", ".jp2")  # no image is left out unsaid
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
GREY, COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # Pillow's modes
MAX_FILE_BYTES = 64_000_000
MAX_SIDE = 4096
MAX_BYTES = 16_000_000_000  # of all pixels, which stay in memory
Labelled = tuple[Bytes, Bytes]


def read_folder(path: Path, *, size: int = 0) -> tuple[Labelled, Labelled | None, int]:
    """Training and test images (N, C, H, W) with labels (N,), and the number of classes.

    Without a test split the second is None. With `size` images are cut to a square and scaled to
    that side. Raises DataError for a layout, file or size that cannot be.
    """
    if type(size) is not int or not 0 <= size <= MAX_SIDE:
        raise DataError(f"size is the side of a square, from 1 to {MAX_SIDE} pixels, not {size!r}.")
    if not path.is_dir():
        raise DataError(f"{path} is no folder; name the one with the images by --data-dir.")
    if (path / "train.npz").exists():
        train, test = (_arrays(path / f"{part}.npz") for part in ("train", "test"))
        return train, test, int(max(train[1].max(), test[1].max())) + 1
    if not (path / "train").is_dir():
        classes = _classes(path)
        return _images(path, classes, size), None, len(classes)
    if not (path / "test").is_dir():
        raise DataError(
            f"{path} has train and no test; add a folder test (name val so), or leave the classes "
            "of train alone there, and a quarter of each is kept for testing."
        )
    classes = _classes(path / "train")
    if (found := _classes(path / "test")) != classes:
        differ = sorted(set(found) ^ set(classes))[0]
        raise DataError(
            f"{path}: class {differ!r} is in one of train and test alone; add it to the other, or "
            "remove it."
        )
    train, test = (_images(path / part, classes, size) for part in ("train", "test"))
    return train, test, len(classes)


def _classes(path: Path) -> list[str]:
    """The folders in `path`, by name."""
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
    if not 2 <= len(names) <= 256:
        raise DataError(
            f"{path} holds {len(names)} folder{'' if len(names) == 1 else 's'}; it takes one for "
            "each class, 2 to 256 of them."
        )
    return names


def _images(path: Path, classes: Sequence[str], size: int) -> Labelled:
    files = [(file, k) for k, name in enumerate(classes) for file in _files(path / name, path)]
    shapes = [_header(file) for file, _ in files]
    colour = any(mode in COLOUR for mode, _ in shapes)
    wanted = (size, size) if size else shapes[0][1]
    for (file, _), (_, shape) in zip(files, shapes, strict=True):
        if shape != wanted and not size:
            raise DataError(
                f"{file} has {shape[0]}x{shape[1]} pixels where others have "
                f"{wanted[0]}x{wanted[1]}; give all of them one size, or cut them in Python: "
                f"quanos.image_folder({str(path)!r}, size={min(*shape, *wanted)})."
            )
    channels = 3 if colour else 1
    _check_total(len(files) * channels * wanted[0] * wanted[1], path)
    images = np.empty((len(files), channels, wanted[1], wanted[0]), np.uint8)
    for row, (file, _) in zip(images, files, strict=True):
        row[:] = _pixels(file, "RGB" if colour else "L", size)
    return images, np.array([label for _, label in files], np.uint8)


def _files(folder: Path, top: Path) -> list[Path]:
    """The image files of one class."""
    seen = sorted(p for p in folder.iterdir() if p.name[0] != ".")
    files = [p for p in seen if p.suffix.lower() in (*ENDINGS, *UNREAD) or p.is_dir()]
    if not files:
        raise DataError(
            f"{folder} holds no image; endings are {', '.join(ENDINGS)}. If it is no class, remove "
            "the folder."
        )
    for file in files:
        if not file.is_file() or not file.resolve().is_relative_to(top.resolve()):
            raise DataError(f"{file} is no file of this folder; put the image itself there.")
        if file.suffix.lower() in UNREAD:
            raise DataError(f"{file} is of a kind that is not read; save it as PNG, or remove it.")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{file} is larger than {MAX_FILE_BYTES / 1e6:g} MB; make it smaller.")
    return files


def _open(file: Path) -> Image:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise DataError(
            "image files need Pillow: pip install 'quanos[images]', or give train.npz and test.npz."
        ) from None
    return Image.open(file, formats=FORMATS)


DAMAGE = (OSError, SyntaxError, ValueError, EOFError, zlib.error)  # what Pillow raises for it


def _header(file: Path) -> tuple[str, tuple[int, int]]:
    """Mode and (width, height) of an image, nothing decoded."""
    try:
        with _open(file) as image:
            mode, shape = image.mode, image.size
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{file} is no image that can be read ({error}); remove it.") from None
    if mode not in (*GREY, *COLOUR):
        raise DataError(f"{file} has pixels of mode {mode}; save it with 8 bits a colour.")
    if not 1 <= min(shape) <= max(shape) <= MAX_SIDE:
        raise DataError(f"{file} has {shape[0]}x{shape[1]} pixels; up to {MAX_SIDE} a side go.")
    return mode, shape


def _pixels(file: Path, mode: str, size: int) -> Bytes:
    """(C, H, W) of one image."""
    from PIL import ImageOps

    try:
        with _open(file) as image:
            pixels = image.convert(mode)
    except DAMAGE as error:
        raise DataError(f"{file} is damaged ({error}); remove it.") from None
    if size:
        pixels = ImageOps.fit(pixels, (size, size))
    return np.atleast_3d(np.asarray(pixels, np.uint8)).transpose(2, 0, 1)


def _arrays(path: Path) -> Labelled:
    """The same from a `.npz` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_total(sum(item.file_size for item in archive.infolist()), path)
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except FileNotFoundError:
        raise DataError(f"{path} is not there; train.npz and test.npz belong together.") from None
    except DataError:
        raise
    except (*DAMAGE, zipfile.BadZipFile, KeyError, MemoryError):
        raise DataError(
            f"{path} is no .npz with arrays images and labels; write it with numpy.savez."
        ) from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(
            f"{path}: images must be uint8 of shape (N, H, W) or (N, H, W, C), not {images.dtype} "
            f"of {images.shape}."
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels must be {len(images)} whole numbers, one an image.")
    if not 0 <= labels.min() <= labels.max() <= 255:
        raise DataError(f"{path}: labels must lie from 0 to 255, not at {labels.max()}.")
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes), labels.astype(np.uint8)


def _check_total(count: int, path: Path) -> None:
    if count > MAX_BYTES:
        raise DataError(
            f"{path} would take {count / 1e9:.1f} GB of memory; up to {MAX_BYTES / 1e9:g} go."
        )


def hold_out(data: Labelled, share: float, seed: int) -> tuple[Labelled, Labelled]:
    """(training, test): `share` of each class, one image at least, goes to the second.

    Raises DataError for a class of one image.
    """
    images, labels = data
    generator = torch.Generator().manual_seed(seed)
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        [places] = np.nonzero(labels == label)
        if len(places) < 2:
            raise DataError("each class needs two images at least, one to train and one to test.")
        order = torch.randperm(len(places), generator=generator).numpy()
        test[places[order[: max(1, round(share * len(places)))]]] = True
    return (images[~test], labels[~test]), (images[test], labels[test])

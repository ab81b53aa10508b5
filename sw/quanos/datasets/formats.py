"""Readers of the data sets' own files: idx (MNIST family) and CIFAR's binary records.

Each returns NumPy arrays and refuses what is truncated, of another format or out of range with one
sentence. Nothing is ever unpickled. Archives are read in memory, up to `LARGEST` bytes: nothing is
extracted, so that no member's path, link or size is trusted.
"""

from __future__ import annotations

import gzip
import io
import math
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]

DATASETS = ("digits", "fashion-mnist", "cifar10", "cifar100", "folder", "tensors")
"""The data sets that `quanos.data.load_dataset` knows; the last is what Python hands over."""


LARGEST = 1 << 28
"""Bytes that a file or an unpacked archive may hold: half as much again as CIFAR-100, the largest
of these data sets."""


class DataError(ValueError):
    """A data set that is missing, corrupt or unknown; the message says what to put where."""


def read_idx(path: Path) -> Bytes:
    """One idx file of unsigned bytes, gzipped or not; shape as its header states.

    The format: two zero bytes, the type (8 = unsigned byte), the number of dimensions, each size
    as a big-endian 32-bit integer, then the data. Raises DataError for any other file.
    """
    raw = read_plain(path)
    start = 4 + 4 * raw[3] if len(raw) > 3 else 4
    if len(raw) < start or raw[:3] != b"\x00\x00\x08":
        raise DataError(f"{path} is no idx file of unsigned bytes; fetch it again.")
    shape = [int(size) for size in np.frombuffer(raw[4:start], ">u4")]
    if len(raw) - start != math.prod(shape):
        raise DataError(
            f"{path} holds {len(raw) - start} bytes of data where its header says "
            f"{math.prod(shape)}; fetch it again."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_plain(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzipped.

    Raises DataError where that is damaged or over `LARGEST` bytes: a bomb, or another file.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            content = (gzip.GzipFile(fileobj=raw) if packed else raw).read(LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}); fetch it again.") from None
    if len(content) > LARGEST:
        raise DataError(f"{path} holds more than {LARGEST} bytes; fetch the data set's own file.")
    return content


def read_members(source: Path, names: Sequence[str]) -> list[bytes]:
    """The bytes of the files `names` in `source`, a folder or a .tar(.gz) archive.

    Of an archive only regular files count, by their last name; links and devices are passed over.
    Raises DataError for a file that is missing, damaged or too large.
    """
    if source.is_dir():
        return [read_plain(source / name) for name in names]
    found: dict[str, bytes] = {}
    raw = io.BytesIO(read_plain(source))
    try:
        with tarfile.open(fileobj=raw, mode="r:") as archive:
            for member in archive:
                name = Path(member.name).name
                content = archive.extractfile(member) if member.isreg() else None
                if content and name in names:
                    found.setdefault(name, content.read())
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DataError(f"{source} is a damaged archive ({error}); fetch it again.") from None
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{source} holds no file {missing[0]}; fetch the data set's binary archive."
        )
    return [found[name] for name in names]


def read_cifar(
    source: Path, names: list[str], *, records: int, label_bytes: int, classes: int
) -> tuple[Bytes, Bytes]:
    """Images (records, 3, 32, 32) and labels (records,) of CIFAR's binary files, in their order.

    A record is `label_bytes` label bytes, of which the last one counts (CIFAR-100: coarse, then
    fine), and 3072 pixel bytes: red, green and blue planes, row by row. Raises DataError for
    another number of records, and labels that are no classes.
    """
    raw = np.frombuffer(b"".join(read_members(source, names)), np.uint8)
    size = label_bytes + 3072
    if raw.size != records * size:
        raise DataError(
            f"{', '.join(names)} in {source} hold {raw.size} bytes where {records} records of "
            f"{size} bytes belong; fetch the data set again."
        )
    table = raw.reshape(records, size)
    labels = table[:, label_bytes - 1]
    if labels.max() >= classes:
        raise DataError(
            f"{', '.join(names)} in {source}: label {labels.max()} is none of {classes} classes; "
            "the files are damaged or of another data set."
        )
    return table[:, label_bytes:].reshape(records, 3, 32, 32), labels

"""Readers of the data sets' own files: idx (MNIST family) and CIFAR's binary records.

Each returns NumPy arrays and refuses what is truncated, of another format or out of range with one
sentence. Nothing is ever unpickled, and archives are read in memory: no member's path is trusted.
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]

DATASETS = ("digits", "fashion-mnist", "cifar10", "cifar100")
"""The data sets that `quanos.data.load_dataset` knows."""


class DataError(ValueError):
    """A data set that is missing, corrupt or unknown; the message says what to put where."""


def read_idx(path: Path) -> Bytes:
    """One idx file of unsigned bytes, gzipped or not; shape as its header states.

    The format: two zero bytes, the type (8 = unsigned byte), the number of dimensions, each size
    as a big-endian 32-bit integer, then the data.
    """
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}); fetch it again.") from None
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


def read_member(source: Path, name: str) -> bytes:
    """The bytes of file `name` in `source`, a folder or a .tar(.gz) archive."""
    if source.is_dir():
        return (source / name).read_bytes()
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isfile() and Path(member.name).name == name:
                    content = archive.extractfile(member)
                    return content.read() if content else b""
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{source} is a damaged archive ({error}); fetch it again.") from None
    raise DataError(f"{source} holds no file {name}; fetch the data set's binary archive.")


def read_cifar(
    source: Path, names: list[str], *, records: int, label_bytes: int, classes: int
) -> tuple[Bytes, Bytes]:
    """Images (records, 3, 32, 32) and labels (records,) of CIFAR's binary files, in their order.

    A record is `label_bytes` label bytes, of which the last one counts (CIFAR-100: coarse, then
    fine), and 3072 pixel bytes: red, green and blue planes, row by row.
    """
    raw = np.frombuffer(b"".join(read_member(source, name) for name in names), np.uint8)
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

"""Reading `.npz` files that others may have written: no pickle, no more memory than is allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

LARGEST = 1 << 31
"""Bytes that the arrays of a file may take together: a few kilobytes can unpack to terabytes."""


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name.

    Raises ValueError, whose text is a reason without the file's name, for what is no whole `.npz`
    file of plain arrays, and OSError where there is none.
    """
    with path.open("rb") as raw:
        try:
            with ZipFile(raw) as archive:
                return _arrays(archive)
        # zipfile, its decompressors and numpy's reader of headers have no exception in common
        except Exception as error:
            raise ValueError(str(error) or type(error).__name__) from None


def _arrays(archive: ZipFile) -> dict[str, NDArray[Any]]:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > LARGEST:
        raise ValueError(f"its arrays take {total} bytes, more than {LARGEST}")
    found = {}
    for member in members:
        with archive.open(member) as file:  # gives no more than the size it told
            found[member.filename.removesuffix(".npy")] = _array(file, member.file_size)
    return found


def _array(file: IO[bytes], size: int) -> NDArray[Any]:
    """The one array of a `.npy` stream of `size` bytes."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = read[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    count = math.prod(shape)
    if count * dtype.itemsize > size or not dtype.itemsize:
        raise ValueError(f"an array of shape {shape} is longer than what is there")
    data = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
    return data.reshape(shape, order="F" if fortran else "C").copy()

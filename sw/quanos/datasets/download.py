"""Fetch a data set's published files and keep them only if their checksum is the published one.

The data sets' own pages (cs.toronto.edu/~kriz/cifar.html, the README of
zalandoresearch/fashion-mnist) give MD5 sums, which can be forged; the SHA-256 sums here are those
of the same files, as other libraries of data sets pin them too.
"""

from __future__ import annotations

import hashlib
import sys
import urllib.request
from pathlib import Path

from quanos.data import IDX_FILES, data_home
from quanos.datasets.formats import LARGEST, DataError
from quanos.storage.files import writing

_KRIZ = "https://www.cs.toronto.edu/~kriz/"
_ZALANDO = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_ZALANDO_SHA256 = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)

_CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_CIFAR100_SHA256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"

FILES: dict[str, dict[str, str]] = {
    "cifar10": {f"{_KRIZ}cifar-10-binary.tar.gz": _CIFAR10_SHA256},
    "cifar100": {f"{_KRIZ}cifar-100-binary.tar.gz": _CIFAR100_SHA256},
    "fashion-mnist": {
        f"{_ZALANDO}{name}.gz": digest
        for name, digest in zip(IDX_FILES, _ZALANDO_SHA256, strict=True)
    },
}
"""Data set: SHA-256 of the file at each address."""


def download(name: str, data_dir: Path | None = None) -> None:
    """Put the files of data set `name` into `data_dir` (default: the cache), unless they are there.

    Raises DataError where the network fails or a file's checksum is not the pinned one; a file
    appears only when it is whole.
    """
    folder = (data_dir or data_home()) / name
    for url, sha256 in FILES.get(name, {}).items():
        path = folder / url.rsplit("/", 1)[1]
        if not path.exists():
            fetch(url, path, sha256)


def fetch(url: str, path: Path, sha256: str) -> None:
    """Write what `url` holds to `path` if its SHA-256 is `sha256`, as it comes block by block.

    Raises DataError where it is not, or cannot be fetched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {url} into {path.parent}", file=sys.stderr)
    digest = hashlib.sha256()
    try:
        with writing(path) as beside, urllib.request.urlopen(url, timeout=60) as source:
            with beside.open("wb") as sink:
                while (block := source.read(1 << 20)) and sink.tell() <= LARGEST:
                    digest.update(block)
                    sink.write(block)
            if digest.hexdigest() != sha256:
                raise DataError(
                    f"{url} has SHA-256 {digest.hexdigest()} where {sha256} is pinned; it was not "
                    "kept."
                )
    except OSError as error:
        raise DataError(
            f"{url} cannot be fetched ({error}); put the file into {path.parent} by hand."
        ) from None

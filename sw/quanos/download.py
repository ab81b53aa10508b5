"""Fetch a data set's published files and keep them only if their checksum is the published one.

The MD5 sums are those on the data sets' own pages (cs.toronto.edu/~kriz/cifar.html and the README
of zalandoresearch/fashion-mnist); they guard against damage in transit.
"""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
from pathlib import Path

from quanos.data import IDX_FILES, data_home
from quanos.data_formats import DataError

_KRIZ = "https://www.cs.toronto.edu/~kriz/"
_ZALANDO = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_ZALANDO_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)

FILES: dict[str, dict[str, str]] = {
    "cifar10": {_KRIZ + "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    "cifar100": {_KRIZ + "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
    "fashion-mnist": {
        f"{_ZALANDO}{name}.gz": md5 for name, md5 in zip(IDX_FILES, _ZALANDO_MD5, strict=True)
    },
}


def download(name: str, data_dir: Path | None = None) -> None:
    """Put the files of data set `name` into `data_dir` (default: the cache), unless they are there.

    Raises DataError where the network fails or a file's checksum is not the pinned one; a file
    appears only when it is whole.
    """
    folder = (data_dir or data_home()) / name
    for url, md5 in FILES.get(name, {}).items():
        path = folder / url.rsplit("/", 1)[1]
        if not path.exists():
            fetch(url, path, md5)


def fetch(url: str, path: Path, md5: str) -> None:
    """Write what `url` holds to `path` if its MD5 sum is `md5`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {url} into {path.parent}", file=sys.stderr)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=60) as source, beside.open("wb") as sink:
            while block := source.read(1 << 20):
                digest.update(block)
                sink.write(block)
        if digest.hexdigest() != md5:
            raise DataError(
                f"{url} has MD5 {digest.hexdigest()} where {md5} is pinned; it was not kept."
            )
        beside.replace(path)
    except OSError as error:
        raise DataError(
            f"{url} cannot be fetched ({error}); put the file into {path.parent} by hand."
        ) from None
    finally:
        beside.unlink(missing_ok=True)

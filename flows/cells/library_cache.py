"""The cache of parsed Liberty files: reading one takes seconds, loading it from here a moment.

JSON under the user's cache folder (or `QUANOS_CACHE`), keyed by the SHA-256 of the file's
text and of the modules that read it: whoever changes these reads afresh.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from flows.cells.boolean import Function
from flows.cells.lut import Lut
from flows.console import FlowError, write_text
from flows.library import Library

LARGEST = 1 << 30  # bytes of a library's text; those of full processes have a tenth of it
PIECE = 1 << 20
READERS = (
    *("boolean.py", "liberty.py", "liberty_tables.py", "liberty_text.py", "library_cache.py"),
    *("lut.py", "../library.py"),
)


def load(path: Path) -> Library:
    """The library in `path`, from the cache if this very content was read before."""
    text = plain(path)
    digest = hashlib.sha256(text).hexdigest()
    cached = folder() / f"{digest[:32]}-{_reader_version()[:16]}.json"
    try:
        library: Library = _builder(Library)(json.loads(cached.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        from flows.cells.liberty import read

        library = read(text, str(path), digest)
        with contextlib.suppress(OSError):  # a read-only home only costs the time to parse again
            write_text(cached, json.dumps(_encode(library), separators=(",", ":")))
    return replace(library, path=path)


@cache
def _reader_version() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in READERS)).hexdigest()


def plain(path: Path) -> bytes:
    """The text of a library, unpacked if it is gzipped.

    Raises FlowError where that is damaged or over `LARGEST` bytes.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            source = gzip.GzipFile(fileobj=raw) if packed else raw
            # piece by piece: to read so much at once takes the memory for it first
            pieces = iter(partial(source.read, PIECE), b"")
            text = b"".join(islice(pieces, LARGEST // PIECE + 1))
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise FlowError(f"{path} is a damaged gzip file; fetch it again.") from None
    if len(text) > LARGEST:
        raise FlowError(f"{path} holds more than {LARGEST} bytes, too much for a Liberty file.")
    return text


def folder() -> Path:
    """Where parsed libraries are kept."""
    if own := os.environ.get("QUANOS_CACHE"):
        return Path(own) / "liberty"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quanos" / "liberty"


def _encode(value: Any) -> Any:
    """Dataclasses as lists of their fields, functions as text, arrays as lists."""
    if isinstance(value, Function):
        return value.text
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value):
        return [_encode(getattr(value, f.name)) for f in fields(value)]
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return None if isinstance(value, Path) else value


@cache
def _builder(hint: Any) -> Callable[[Any], Any]:
    """What turns `_encode`'s output back into a value of type `hint`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        inner = _builder(next(a for a in arguments if a is not type(None)))
        return lambda data: None if data is None else inner(data)
    if hint is Function:
        return Function
    if hint is Lut:
        return lambda data: Lut.of(*data)
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_builder(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        inner = _builder(arguments[0])
        return lambda data: tuple([inner(item) for item in data])
    if origin is dict:
        inner = _builder(arguments[1])
        return lambda data: {key: inner(item) for key, item in data.items()}
    return tuple if origin is tuple else lambda data: data


def _dataclass_builder(kind: type) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    builders = [_builder(hints[f.name]) for f in fields(kind)]

    def build(data: Any) -> Any:
        return kind(*[builder(item) for builder, item in zip(builders, data, strict=True)])

    return build

"""A large file as parts below a size, joined again when read; for places that limit file sizes.

A split file is a small JSON index under the file's own name, {schema, parts, sha256}, and the
parts beside it, named after their content. The index is renamed into place last, so that a kill
leaves the old file or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from quanos.storage import files

SCHEMA = "quanos.shards/1"


class ShardError(ValueError):
    """Parts that are missing or do not make up the file."""


def write_bytes(path: Path, content: bytes, limit: int = 0) -> None:
    """Write `content` beside `path`, then rename; split where it is over `limit` bytes (0: never).

    Raises ValueError for a limit below 4096 bytes, which the index itself might not keep.
    """
    if limit and limit < 4096:
        raise ValueError(f"parts of {limit} bytes are too small; allow at least 4096.")
    parts: list[str] = []
    if limit and len(content) > limit:
        digest = hashlib.sha256(content).hexdigest()
        for number, start in enumerate(range(0, len(content), limit)):
            parts.append(f"{path.name}.{digest[:12]}.{number:03}")
            files.write_bytes(path.with_name(parts[-1]), content[start : start + limit])
        content = json.dumps({"schema": SCHEMA, "parts": parts, "sha256": digest}).encode()
    files.write_bytes(path, content)
    for old in path.parent.glob(f"{path.name}.*.[0-9][0-9][0-9]"):
        if old.name not in parts:
            old.unlink()


def read_bytes(path: Path) -> bytes:
    """The content of a file, joined if it was split.

    Raises ShardError where a part is missing or changed, OSError where the file cannot be read.
    """
    raw = path.read_bytes()
    if not raw.startswith(b'{"schema": "quanos.shards'):
        return raw
    try:
        index = json.loads(raw)
        names, digest = [str(name) for name in index["parts"]], index["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ShardError("its index of parts is damaged") from None
    if strange := [name for name in names if Path(name).name != name]:
        raise ShardError(f"part {strange[0]!r} lies in another folder")
    if missing := [name for name in names if not path.with_name(name).exists()]:
        raise ShardError(f"part {missing[0]} is missing")
    whole = b"".join(path.with_name(name).read_bytes() for name in names)
    if hashlib.sha256(whole).hexdigest() != digest:
        raise ShardError("its parts do not make up the file that was written")
    return whole

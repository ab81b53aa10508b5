"""What every command of the flow shares: errors in one sentence, progress, whole files or none."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from hw.command import os_sentence

T = TypeVar("T")


class FlowError(ValueError):
    """Bad input; the text is one sentence: what is wrong, what is allowed, what to do."""


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run a command's body and leave with its status: 2 for bad input, 130 for Ctrl-C.

    ValueError and OSError become one line on standard error; anything else is a fault of ours and
    keeps its traceback.
    """
    try:
        status = command() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        status = _refuse(os_sentence(error))
    except ValueError as error:
        status = _refuse(str(error))
    except KeyboardInterrupt:
        print("interrupted; finished parts are kept.", file=sys.stderr)
        status = 130
    sys.exit(status)


def _refuse(sentence: str) -> int:
    print("error:", " ".join(sentence.split()), file=sys.stderr)
    return 2


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to; renamed onto it when the block ends well, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # its ending is not the file's
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        if error.filename in (None, str(beside)):  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a whole file or none."""
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def print_json(data: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(data, allow_nan=False))


def track(
    items: Iterable[T], title: str, total: int | None = None, label: Callable[[T], str] = str
) -> Iterator[T]:
    """Yield the items with a bar on a terminal's standard error, or a plain line for each."""
    if total is None and isinstance(items, Sequence):
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, title, total)
        return
    for done, item in enumerate(items, 1):
        print(f"{title} {done}/{total or '?'}: {label(item)}", file=sys.stderr, flush=True)
        yield item


def _bar(items: Iterable[T], title: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, description=title, total=total, console=console)

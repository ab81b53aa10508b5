"""The command `quanos`: finds the subcommand, turns its errors into one sentence.

Exit status: 0 done, 2 bad input (one sentence on standard error), 130 interrupted. A subcommand is
a frozen dataclass with `run()`, listed in `COMMANDS` and imported when it is called for.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn, Protocol

from quanos import __version__

COMMANDS: dict[str, tuple[str, str, str]] = {
    "train": ("quanos.commands.train", "Train", "train with QUANOS, attack and price the result"),
    "sense": ("quanos.commands.sense", "Sense", "measure every layer's adversarial sensitivity"),
    "assign": ("quanos.commands.assign", "Assign", "turn a measurement into bits per layer"),
    "attack": ("quanos.commands.attack", "Attack", "attack a trained network"),
    "energy": ("quanos.commands.energy", "Energy", "energy and memory of a network at given bits"),
    "sweep": (
        "quanos.commands.sweep",
        "Sweep",
        "compare policies, seeds and budgets; Pareto fronts",
    ),
    "export": ("quanos.commands.export", "Export", "write a network's integers for the hardware"),
    "report": ("quanos.commands.report", "Report", "write the report of a run"),
}
"""Name: module, class, what it does. One whose module is not there yet is not offered."""


class Command(Protocol):
    """What a subcommand's dataclass has; `run` may give an exit status."""

    def run(self) -> int | None: ...


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `quanos` with the arguments given (default: the process's) and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    status = guarded(lambda: dispatch(words))
    sys.exit(status)


def guarded(body: Callable[[], int | None]) -> int:
    """The exit status of `body`; bad input and Ctrl-C become one line on standard error.

    ValueError and OSError are bad input, a missing package is a missing extra; anything else is a
    fault of ours and keeps its traceback.
    """
    try:
        status = body() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "quanos").partition(".")[0] in ("quanos", "flows"):
            raise
        return _refuse(f"package {error.name} is missing; install it with pip install quanos[sw].")
    except OSError as error:
        return _refuse(f"{error.filename or 'a file'}: {error.strerror or error}.")
    except ValueError as error:
        return _refuse(str(error))
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted; finished parts are kept.", file=sys.stderr)
        return 130


def _refuse(sentence: str) -> int:
    print("error:", " ".join(sentence.split()), file=sys.stderr)
    return 2


def dispatch(words: Sequence[str]) -> int | None:
    """Run the subcommand that `words` name, or answer --help and --version."""
    commands = {name: entry for name, entry in COMMANDS.items() if _is_there(entry[0])}
    if not words or words[0] in ("-h", "--help"):
        print(overview(commands))
        return None if words else 2
    if words[0] == "--version":
        print(f"quanos {__version__}")
        return None
    if words[0] not in commands:
        raise ValueError(f"there is no command {words[0]!r}; there are {', '.join(commands)}.")
    module, kind, _ = commands[words[0]]
    command = parse(getattr(import_module(module), kind), words[0], words[1:])
    return command.run()


def _is_there(module: str) -> bool:
    return find_spec(module) is not None


def overview(commands: Mapping[str, tuple[str, str, str]]) -> str:
    """What `quanos --help` prints."""
    lines = [f"  {name:8} {text}" for name, (_, _, text) in commands.items()]
    return "\n".join(
        [
            "usage: quanos COMMAND [OPTIONS]   (quanos COMMAND --help: its options; --version)",
            "",
            "Bits per layer by adversarial noise sensitivity, priced with measured MAC energy.",
            "",
            *lines,
        ]
    )


def parse(kind: Callable[..., Command], name: str, words: Sequence[str]) -> Command:
    """The command `kind` with the options in `words`. Raises ValueError for what it cannot take."""
    import tyro

    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            command: Command = tyro.cli(
                kind, prog=f"quanos {name}", args=words, config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as leave:
        if not leave.code:
            raise
        raise ValueError(f"{sentence(heard.getvalue())}; see quanos {name} --help.") from None
    return command


def sentence(box: str) -> str:
    """The first complaint in tyro's message, without frame (blanks where it is plain) and advice.

    >>> sentence("╭─ Unrecognized ─╮\\n│ Unrecognized options: --x │\\n│ ───── │\\n│ See help │")
    'unrecognized options: --x'
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    parts: list[list[str]] = [[]]
    for line in (line[1:].rstrip("│ ") for line in plain.splitlines()):  # less the frame
        if re.match(r" *[─-]{3}", line) or not line.startswith(" "):  # a rule or the title
            parts.append([])
        elif not line.startswith(" " * 8):  # deeper lines are help texts
            parts[-1].append(line.strip())
    texts = [" ".join(part) for part in parts if part]
    text = next((t for t in texts if t.startswith("Unrecognized")), texts[0] if texts else "")
    return (text[:1].lower() + text[1:]).rstrip(". ")


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(data, allow_nan=False))

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
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn, Protocol

from hw.command import meant, os_sentence
from quanos import __version__
from quanos.own_code import ask_for

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
    "report": ("quanos.commands.report", "Report", "write the report of runs, a page by default"),
    "completion": ("quanos.commands.completion", "Completion", "completion for bash, zsh or fish"),
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
        return _refuse(os_sentence(error))
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
    commands = available()
    while words and words[0] == "--import":
        if len(words) < 2:
            raise ValueError("--import needs the name of a module, such as my_net.")
        ask_for(words[1])
        words = words[2:]
    if not words or words[0] in ("-h", "--help"):
        print(overview(commands))
        return None if words else 2
    if words[0] == "--version":
        print(f"quanos {__version__}")
        return None
    if words[0] not in commands:
        raise ValueError(
            f"there is no command {words[0]!r}{meant(words[0], commands)}; there are "
            f"{', '.join(commands)}."
        )
    command = parse(kind_of(words[0]), words[0], words[1:])
    return command.run()


def available() -> dict[str, tuple[str, str, str]]:
    """The commands whose modules are there."""
    return {name: entry for name, entry in COMMANDS.items() if _is_there(entry[0])}


def kind_of(name: str) -> Any:
    """The dataclass of a command."""
    module, kind, _ = COMMANDS[name]
    return getattr(import_module(module), kind)


def _is_there(module: str) -> bool:
    return find_spec(module) is not None


def overview(commands: Mapping[str, tuple[str, str, str]]) -> str:
    """What `quanos --help` prints; it fits a screen."""
    lines = [f"  {name:11} {text}" for name, (_, _, text) in commands.items()]
    return "\n".join([USAGE, *lines, REST])


USAGE = """\
usage: quanos COMMAND [OPTIONS]   (quanos COMMAND --help: its options; --version)

Bits per layer by adversarial noise sensitivity, priced with measured MAC energy.
"""

REST = """
a first run, on digits that come with scikit-learn:
  quanos train --preset digits --plan         what it will do, and how long it may take
  quanos train --preset digits                trains, attacks and prices; runs/digits
  quanos report runs/digits                   report.html, for any browser

every command takes --json: one JSON object on standard output, nothing else there
bad input is one sentence and exit status 2; Ctrl-C is 130 and loses nothing finished
NO_COLOR=1 turns colours off, as a pipe does; QUANOS_DATA is where data sets are kept
quanos --import MODULE COMMAND ... knows the networks that MODULE registers, too
the hardware: python -m hw.rtl.verilog, flows.synth, flows.measure, ... (--help)"""


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
        raise ValueError(
            f"{complaint(heard.getvalue(), kind)}; see quanos {name} --help."
        ) from None
    return command


PARSING = (
    r"error parsing (--[\w-]+): (?:.*matching (\S+) could be instantiated from \[(.*)\]"
    r"|(?:could not convert string to float|invalid literal for int.*): (.*))"
)
"""What tyro says of a value of another type."""


def complaint(box: str, kind: Any) -> str:
    """Tyro's first complaint as a sentence, with the option that an unknown one looks like."""
    text = sentence(box)
    if found := re.fullmatch(PARSING, text):
        option, wanted, one, other = found.groups()
        kind_of_value = wanted.removeprefix("{None}|") if wanted else "a number"
        return f"{option} takes {kind_of_value}, not {one or other}"
    if not text.startswith("unrecognized"):
        return text
    parts = [kind, *(field.default_factory for field in fields(kind) if field.name == "keys")]
    known = [f"--{field.name.replace('_', '-')}" for part in parts for field in fields(part)]
    hints = [hint for word in text.split() if (hint := meant(word.strip("',"), known))]
    return f"{text}{hints[0] if hints else ''}"


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

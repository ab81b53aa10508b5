"""The command `quanos`: finds the subcommand, turns its errors into one sentence.

Exit status: 0 done, 2 bad input (one sentence on standard error), 130 interrupted. A subcommand is
a frozen dataclass with `run()`, listed in `COMMANDS` and imported when it is called for.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn, Protocol

from hw import command
from hw.command import meant
from quanos import __version__
from quanos.console.complaint import complaint
from quanos.console.own_code import ask_for

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
    """The exit status of a command of the trainer; see `hw.command.guarded`."""
    return command.guarded(body, "sw")


def dispatch(words: Sequence[str]) -> int | None:
    """Run the subcommand that `words` name, or answer --help and --version.

    Raises ValueError for a command that is not there, and what the subcommand raises.
    """
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
    chosen = parse(kind_of(words[0]), f"quanos {words[0]}", words[1:])
    return chosen.run()


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
usage: quanos COMMAND [OPTIONS]  (quanos COMMAND --help: its options; --version)
Bits per layer by adversarial noise sensitivity, priced by measured MAC energy.
"""

REST = """
a first run, on digits that come with scikit-learn:
  quanos train --preset digits --plan   what it will do, how long it may take
  quanos train --preset digits          trains, attacks, prices: runs/digits
  quanos report runs/digits             report.html, for any browser

--json, on every command: one JSON object on standard output, nothing else
exit status: 0 done, 2 bad input (one sentence), 130 Ctrl-C (what is done stays)
NO_COLOR=1: no colours, as in a pipe; QUANOS_DATA: where data sets are kept
quanos --import MODULE COMMAND ... knows the networks that MODULE registers
hardware: python -m hw.rtl.verilog, flows.synth, flows.measure, ... (--help)"""


def parse(kind: Callable[..., Command], prog: str, words: Sequence[str]) -> Command:
    """The command `kind`, called as `prog`, with the options in `words`.

    Raises ValueError for what it cannot take.
    """
    import tyro

    from quanos.console.options import description, shown

    if os.environ.get("NO_COLOR"):  # which tyro does not know
        tyro._experimental_options["ansi_codes"] = False
    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            command: Command = tyro.cli(
                shown(kind),
                prog=prog,
                description=description(kind),
                args=words,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
            )
    except SystemExit as leave:
        if not leave.code:
            raise
        from quanos.commands.completion import options

        if "--import" in words:
            message = "--import stands before the command: quanos --import MODULE COMMAND."
            raise ValueError(message) from None
        known = [name for name, _ in options(kind)]
        raise ValueError(f"{complaint(heard.getvalue(), known)}; see {prog} --help.") from None
    return command


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(data, allow_nan=False))

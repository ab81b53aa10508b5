"""`quanos completion`: a script that completes the other commands in a shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro

from quanos.cli import available, kind_of, print_json
from quanos.config import Config, presets
from quanos.console.completion import SHELLS, Completed

CHOICES = {key.name: tuple(key.metadata["choices"]) for key in fields(Config)}
POSITIONAL = get_args(tyro.conf.Positional[str])[1]
"""What marks a word that has no option."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print a script that completes quanos in a shell.

    In ~/.bashrc: source <(quanos completion bash)

    In ~/.zshrc: source <(quanos completion zsh)

    In fish: quanos completion fish > ~/.config/fish/completions/quanos.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell that the script is for."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Print the script."""
        script = SHELLS[self.shell](_commands())
        if self.json:
            print_json({"shell": self.shell, "script": script})
        else:
            print(script, end="")


def _commands() -> dict[str, Completed]:
    """Every command with its options, as its dataclass has them."""
    return {
        name: Completed(text, dict(options(kind_of(name))))
        for name, (_, _, text) in available().items()
    }


def options(kind: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Options of a command with the values that they can have, none where it may be anything."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        if POSITIONAL in getattr(hint, "__metadata__", ()):
            continue
        if field.name == "keys":  # those of the configuration, under their own names
            given = [key.name for key in fields(field.default_factory)]  # type: ignore[arg-type]
            yield from ((_dashed(name), CHOICES[name]) for name in given)
        elif field.default is True:  # what is done unless it is told not to
            yield _dashed(f"no_{field.name}"), ()
        elif field.name == "preset":
            yield "--preset", tuple(presets())
        else:
            yield _dashed(field.name), tuple(_choices(hint))
    yield "--help", ()


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _choices(hint: Any) -> Iterator[str]:
    """The words of every `Literal` within a type."""
    if get_origin(hint) is Literal:
        yield from map(str, get_args(hint))
        return
    for inner in get_args(hint):
        yield from _choices(inner)

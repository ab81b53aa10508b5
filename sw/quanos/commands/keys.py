"""The configuration's keys as options of a command: absent unless given."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, make_dataclass
from typing import Annotated, Any

import tyro

from quanos.config import TYPES, Config
from quanos.console.options import METAVARS


def options(text: str, *, without: frozenset[str] = frozenset()) -> type:
    """A dataclass with an option for every key but those in `without`; `text` is its help."""
    found = [_option(item) for item in fields(Config) if item.name not in without]
    keys = make_dataclass("Keys", found, frozen=True)
    keys.__doc__ = text
    return keys


def given(keys: Any) -> dict[str, Any]:
    """What was given of them."""
    return {name: value for name, value in vars(keys).items() if value is not None}


def _option(item: Field[Any]) -> tuple[str, Any, None]:
    choices = item.metadata["choices"]
    words = f" ({', '.join(choices)})" if choices else ""
    assert item.default is not MISSING
    about = tyro.conf.arg(
        help=item.metadata["help"] + words,
        help_behavior_hint=f"(default: {_shown(item.default)})",
        metavar=METAVARS[TYPES[item.name]],
    )
    kept = tyro.conf.FlagConversionOff
    return item.name, Annotated[TYPES[item.name] | None, kept, about], None


def _shown(default: Any) -> str:
    """A default as it would be written on the command line."""
    words = default if isinstance(default, tuple) else (default,)
    return " ".join(str(word) for word in words if word != "") or "none"

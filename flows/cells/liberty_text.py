"""Liberty text as groups and attributes, and their values: names, numbers, functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from flows.cells.boolean import Function
from flows.console import FlowError

LARGEST = 1e30
_IDENTIFIER = re.compile(r"[A-Za-z_][\w$]*(?:\[\d+\])?", re.ASCII)


def library_group(raw: bytes, name: str) -> Any:
    """The group `library` of Liberty text; raises FlowError where there is none."""
    from liberty.parser import LibertyParser

    try:
        (group,) = LibertyParser().read_liberty_chars(
            _Characters(raw.decode("utf-8-sig", "replace"))
        )
    except Exception as error:  # lark's exceptions share no useful base with the transformer's
        line = getattr(error, "line", None)
        where = f", line {line}" if isinstance(line, int) and line > 0 else ""
        raise FlowError(
            f"{name}{where} is not Liberty text that can be read; give a whole .lib file."
        ) from None
    if group.group_name != "library":
        raise FlowError(f"{name} holds a {group.group_name}, not a library.")
    return group


class _Characters:
    """A text's characters. Asked for more again and again after the end it fails: the parser waits
    there for ever for the `;` of an expression that has none."""

    def __init__(self, text: str) -> None:
        self.rest, self.patience = iter(text), 100

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        for character in self.rest:
            return character
        self.patience -= 1
        if not self.patience:
            raise EOFError
        raise StopIteration


@contextmanager
def about(what: str) -> Iterator[None]:
    """Whatever the block refuses, or fails at, becomes a FlowError that begins with `what`."""
    try:
        yield
    except FlowError as error:
        raise FlowError(f"{what}: {error}") from None
    except (
        AssertionError,
        AttributeError,
        TypeError,
        LookupError,
        ValueError,
        ArithmeticError,
    ) as error:
        raise FlowError(
            f"{what} cannot be read as NLDM ({type(error).__name__}: {error})."
        ) from None


def word(value: Any) -> str:
    """A value without its quotes."""
    return str(getattr(value, "value", value)).strip().strip('"')


def identifier(value: Any) -> str:
    """The name of a cell or pin: a word of Verilog, since names go into files and scripts."""
    name = word(value)
    if not _IDENTIFIER.fullmatch(name):
        raise FlowError(f"{name[:80]!r} is no name of a cell or pin; letters, digits, _ and $ are.")
    return name


def number(value: Any) -> float:
    """A quantity: small enough that no product with the library's units overflows."""
    text = word(value)
    try:
        found = float(text)
    except ValueError:
        raise FlowError(f"{text[:40]!r} is no number.") from None
    if not abs(found) <= LARGEST:  # false for a NaN
        raise FlowError(f"{found} is no quantity; numbers up to {LARGEST:g} are allowed.")
    return found


def positive(value: Any) -> float:
    """A unit's amount, by which other numbers are multiplied and divided."""
    found = number(value)
    if not found >= 1 / LARGEST:
        raise FlowError(f"a unit of {found:g} is none; {1 / LARGEST:g} to {LARGEST:g} are allowed.")
    return found


def numbers(values: Iterable[Any]) -> list[float]:
    """All numbers of some lists in text."""
    return [number(x) for value in values for x in word(value).replace(",", " ").split()]


def attribute(group: Any, name: str, default: Any = None) -> Any:
    """The last value of an attribute, as text; lists stay lists."""
    found = group.get_attributes(name)
    if not found:
        return default
    return found[-1] if isinstance(found[-1], list) else word(found[-1])


def quantity(group: Any, name: str, default: float = 0.0) -> float:
    """An attribute that is a number."""
    return number(attribute(group, name, default))


def flag(group: Any, name: str) -> bool:
    """An attribute that is true or false, as it is where it is left out."""
    return str(attribute(group, name, "false")).lower() == "true"


def function(group: Any, name: str) -> Function | None:
    """An attribute that is a Boolean function, looked through unless it is a condition."""
    text = attribute(group, name)
    if not text:
        return None
    found = Function(" ".join(text.split()))
    return found if name == "when" else found.check()  # conditions are seldom asked for

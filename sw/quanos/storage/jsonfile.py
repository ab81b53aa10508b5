"""JSON that others may have written: every access is checked and says where it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 1e15
"""Beyond it, no quantity of ours is what it should be."""


class FileContentError(ValueError):
    """A file that does not hold what it should; the message names the file and the place."""


@dataclass(frozen=True)
class Node:
    """A value inside a JSON file; `where` is the file and the way to it, for messages."""

    value: Any
    where: str

    def __getitem__(self, key: str) -> Node:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        if key not in self.value:
            raise FileContentError(f"{self.where} has no {key!r}; is it a file of this version?")
        return Node(self.value[key], f"{self.where}, {printable(key)}")

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of an object, in order. Raises FileContentError for what is none."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        for key in self.value:
            yield printable(key), self[key]

    def __iter__(self) -> Iterator[Node]:
        """The members of a list, in order."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        for index, value in enumerate(self.value):
            yield Node(value, f"{self.where}, entry {index}")

    def number(self) -> float:
        """A number that is finite and within 1e15. Raises FileContentError for what is none."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.wrong("a number")
        if not abs(self.value) <= LARGEST:  # false for a NaN
            raise self.wrong("a finite number")
        return float(self.value)

    def within(self, low: float, high: float) -> float:
        """A number from `low` to `high`. Raises FileContentError for what is none."""
        if not low <= self.number() <= high:
            raise self.wrong(f"from {low:g} to {high:g}")
        return self.number()

    def share(self) -> float:
        """A share of 1."""
        return self.within(0, 1)

    def amount(self) -> float:
        """A number above zero."""
        return self.within(1 / LARGEST, LARGEST)

    def whole(self) -> int:
        """A whole number, not negative. Raises FileContentError for what is none."""
        if type(self.value) is not int or not 0 <= self.value <= LARGEST:
            raise self.wrong("a whole number")
        return self.value

    def text(self) -> str:
        """A text, the unprintable replaced. Raises FileContentError for what is none."""
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return printable(self.value)

    def wrong(self, expected: str) -> FileContentError:
        """The error that says what should be here."""
        nested = isinstance(self.value, dict | list)
        found = type(self.value).__name__ if nested else repr(self.value)[:40]
        return FileContentError(f"{self.where} must be {expected}, not {found}.")


def printable(text: str) -> str:
    """The text, with what cannot be printed or encoded replaced."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def read_json(path: Path) -> Node:
    """The file's content. Raises FileContentError for what is no JSON and OSError if missing."""
    return parse_json(_read(path), str(path))


def read_lines(path: Path) -> list[Node]:
    """The content of a file with one JSON value a line."""
    lines = _read(path).splitlines()
    return [parse_json(line, f"{path}, line {n}") for n, line in enumerate(lines, 1)]


def parse_json(text: str, where: str) -> Node:
    """The JSON value in `text`; FileContentError, in which `where` names it, for none."""
    try:
        return Node(json.loads(text), where)
    except (ValueError, RecursionError) as error:
        raise FileContentError(f"{where} is no valid JSON ({error}).") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise FileContentError(f"{path} is no text file.") from None

"""HTML and SVG without a template language: what is not Markup is escaped, so nothing slips by."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

VOID = frozenset({"meta", "br", "hr", "col"})
"""Elements of HTML that have no end tag."""


class Markup(str):
    """Text that is HTML or SVG already."""

    __slots__ = ()


Content = str | int | Iterable["Content"] | None


def join(*parts: Content) -> Markup:
    """The parts one after the other; text is escaped, lists are flattened, None is nothing."""
    return Markup("".join(map(_one, parts)))


def _one(part: Content) -> str:
    if part is None:
        return ""
    if isinstance(part, Markup):
        return part
    if isinstance(part, str | int):
        return html.escape(str(part))
    return join(*part)


def element(name: str, /, *content: Content, **attributes: str | float | None) -> Markup:
    """An element; in attributes' names `_` stands for `-`, and a `_` at the end is dropped.

    >>> element("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    texts = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    start = f"<{name}{''.join(texts)}>"
    return Markup(start if name in VOID else f"{start}{join(*content)}</{name}>")


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> Markup:
    """A table of texts that scrolls within the page where it is too wide."""
    body = element("tbody", [_cells("td", row) for row in rows])
    whole = element("table", element("thead", _cells("th", head)), body)
    return element("div", whole, class_="scroll")


def _cells(kind: str, texts: Iterable[str]) -> Markup:
    return element("tr", [element(kind, text) for text in texts])

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


def table(head: Sequence[str], rows: Iterable[Iterable[str]], numbers: int) -> Markup:
    """A table of texts, numbers from column `numbers` on, that scrolls where it is too wide."""

    def line(kind: str, texts: Iterable[str], scope: str | None = None) -> Markup:
        styles = ((text, "number" if i >= numbers else None) for i, text in enumerate(texts))
        return element("tr", [element(kind, t, class_=style, scope=scope) for t, style in styles])

    body = element("tbody", [line("td", row) for row in rows])
    return scrolled(element("table", element("thead", line("th", head, "col")), body))


def scrolled(whole: Markup) -> Markup:
    """A table that scrolls within the page where it is too wide, by the keyboard too."""
    return element("div", whole, class_="scroll", tabindex=0, role="group", aria_label="table")

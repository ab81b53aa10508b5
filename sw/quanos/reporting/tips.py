"""What a point of a chart says when the pointer is on it: SVG and style sheet, no script.

The spots lie over all that is drawn and cannot be seen themselves, so that no marker covers a text.
"""

from __future__ import annotations

from collections.abc import Iterable

from quanos.reporting.markup import Markup, element

RADIUS = 9
LINE, ADVANCE, PAD = 18, 7.6, 8
"""Height of a line, width of a mean character at the style sheet's 14 px, and the box's margin."""


def layer(spots: Iterable[tuple[float, float, str]], width: float, height: float) -> Markup:
    """Spots (x, y, text) of a drawing of that size; a text breaks once, after its colon."""
    drawn = [_spot(x, y, text, width, height) for x, y, text in spots if text]
    return element("g", drawn, class_="spots")


def _spot(x: float, y: float, text: str, width: float, height: float) -> Markup:
    lines = [_short(line, width) for line in text.split(": ", 1)]
    wide = min(ADVANCE * max(map(len, lines)) + 2 * PAD, width)
    high = LINE * len(lines) + PAD
    left = min(max(x - wide / 2, 0), width - wide)
    top = (
        y - high - RADIUS - 3 if y - high - RADIUS - 3 >= 0 else min(y + RADIUS + 3, height - high)
    )
    words = [
        element("text", line, x=f"{left + PAD:.1f}", y=f"{top + LINE * n:.1f}")
        for n, line in enumerate(lines, 1)
    ]
    box = element("rect", x=f"{left:.1f}", y=f"{top:.1f}", width=f"{wide:.1f}", height=high, rx=4)
    ring = element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=RADIUS)
    # tabindex -1: a tap can focus the spot, the tab key passes it by.
    return element("g", ring, element("g", box, words, class_="tip"), class_="spot", tabindex=-1)


def _short(line: str, width: float) -> str:
    """A line that fits the drawing; it is cut at its start, as paths are told by their end.

    >>> _short("runs/a/very/long/path", 100)
    '…long/path'
    """
    most = int((width - 2 * PAD) / ADVANCE) - 1
    return line if len(line) <= most else f"…{line[len(line) - most + 1 :]}"

"""What tyro says of options it cannot take, as one sentence of our own.

Tyro draws a box for people; it has no other way to say what is wrong. The first complaint in the
box is read and said in the words that all commands share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from hw.command import meant

KINDS = {"INT": "a whole number", "FLOAT": "a number", "STR": "a word", "PATH": "a path"}
MANY = {"INT": "whole numbers", "FLOAT": "numbers", "STR": "words", "PATH": "paths"}
QUOTED = re.compile(r"'([^']*)'")
COUNTS = {"1": "a value", "2": "two values", "3": "three values"}


def complaint(box: str, known: Sequence[str]) -> str:
    """Tyro's first complaint, without a stop at its end; `known` are the command's options."""
    found = parts(box) or [""]
    unknown = next((part for part in found if part.startswith("Unrecognized")), None)
    if unknown is not None:
        return _unrecognized(unknown, known)
    first = " ".join(found[0].split())
    for pattern, said in SAID:
        if matched := re.fullmatch(pattern, first):
            return said(matched.groups(), found[1:])
    return (first[:1].lower() + first[1:]).rstrip(". ")


def parts(box: str) -> list[str]:
    """The parts of tyro's box, without frame (blanks where it is plain), title and help texts.

    >>> parts("╭─ Unrecognized ─╮\\n│ Unrecognized options: --x │\\n│ ───── │\\n│ See help │")
    ['Unrecognized options: --x', 'See help']
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    found: list[list[str]] = [[]]
    for line in (line[1:].rstrip("│ ") for line in plain.splitlines()):  # less the frame
        if re.match(r" *[─-]{3}", line) or not line.startswith(" "):  # a rule or the title
            found.append([])
        elif not line.startswith(" " * 8):  # deeper lines are help texts
            found[-1].append(line.strip())
    return ["\n".join(part) for part in found if part]


def takes(metavar: str) -> str:
    """What an option takes, from the pattern that its help shows.

    >>> takes("INT"), takes("INT INT INT"), takes("FLOAT ...")
    ('a whole number', '3 whole numbers', 'numbers')
    >>> takes("{True,False}"), takes("[{a,b} [{a,b} ...]]")
    ('False or True', 'a or b')
    """
    if choices := re.search(r"\{(\w[^\[\]{}]*)\}", metavar):
        return either(choices[1].split(","))
    words = re.findall(r"[A-Z]+", metavar)
    kind = words[0] if words else ""
    if "..." in metavar:
        return MANY.get(kind, "values")
    return KINDS.get(kind, "a value") if len(words) == 1 else f"{len(words)} {MANY.get(kind)}"


def either(choices: Iterable[str]) -> str:
    """Choices as a sentence has them; tyro's order of some is another in every process."""
    *most, last = sorted(choice for choice in choices if choice != "None")
    return f"{', '.join(most)} or {last}" if most else last


def _unrecognized(text: str, known: Sequence[str]) -> str:
    words = text.partition(":")[2].replace(",", " ").split()
    options = [word for word in words if word.startswith("-")]
    if not options:
        return f"{words[0]!r} belongs to no option"
    hints = [hint for word in options if (hint := meant(word, known))]
    return f"there is no option {options[0]}{hints[0] if hints else ''}"


def _few(found: Sequence[str], _: Sequence[str]) -> str:
    name, count = found
    return f"{name.partition('/')[0]} needs {COUNTS.get(count, f'{count} values')}"


def _choice(found: Sequence[str], _: Sequence[str]) -> str:
    value, name, choices = found
    return f"{name.partition('/')[0]} takes {either(QUOTED.findall(choices))}, not {value!r}"


def _value(found: Sequence[str], rest: Sequence[str]) -> str:
    name, problem = found
    name = name.partition("/")[0]  # a second one is another name of the same
    shown = re.search(rf"^{re.escape(name)} ([^,\n]+)", "\n".join(rest), re.MULTILINE)
    words = re.search(r"\[('.*?')\]", problem)
    given = " ".join(QUOTED.findall(words[1])) if words else problem.partition(": ")[2].strip("'")
    return f"{name} takes {takes(shown[1] if shown else '')}, not {given!r}"


SAID: tuple[tuple[str, Callable[[Sequence[str], Sequence[str]], str]], ...] = (
    (r"Missing value for argument '([^']+)'\. Expected (\d+) values\.", _few),
    (r"invalid choice '(.*)' for argument '([^']+)'\. Expected one of (.*)\.", _choice),
    (r"Error parsing ([\w/-]+): (.*)", _value),
    (r"Missing from [^:]+: (.*)", lambda found, _: f"missing: {found[0]}"),
)
"""What tyro says, and what we say of it."""

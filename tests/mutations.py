"""Spoilt files for the fuzz tests: what disks, networks, editors and enemies make of good ones.

A mutation is a short list of steps, each four small numbers, so that hypothesis can draw, shrink
and print it; `spoil_bytes` and `spoil_tree` apply it to a file's bytes or to its parsed JSON.
"""

import json
import math
import re

from hypothesis import strategies as st

Step = tuple[int, int, int, int]  # kind, where, how much, what
STEPS = st.lists(
    st.tuples(st.integers(0, 15), st.integers(0, 1 << 24), st.integers(1, 64), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)

PIECES = (
    *(b"NaN", b"-Infinity", b"1e999", b"1e-320", b"-1", b"0", b"3.5", b"9" * 5000, b"4294967296"),
    *(b"18446744073709551616", b"\xd9\xa3", b"1_000", b"0x10", b"null", b"true", b"[]", b"{}"),
    *(b'""', b'"', b"'", b"\\ud800", b"\xff\xfe", b"\x00", b"\n", b";", b" ", b"!", b"../", b"$"),
    *(b"[" * 50_000, b"(" * 50_000, b'{"a":' * 20_000, b"!" * 20_000, b"a.b" * 5000, b"&" * 99),
)
ODD = (
    *(None, True, False, -1, 0, 1, 17, 0.5, 1e308, math.nan, math.inf, 10**400, 1 << 31, 1 << 62),
    *("", "x", "\ud800", "a\nb", "../x", "nan", "9" * 5000, "\u0663", "a" * 70_000),
    *([], {}, [[]], [None] * 3, {"a": 1}, [1, 2, 3], [0] * 1000, json.loads("[" * 300 + "]" * 300)),
)
NUMBER, WORD = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"), re.compile(rb"[\w.$\[\]]+")


def spoil_bytes(raw: bytes, steps: list[Step]) -> bytes:
    """The bytes after all steps: bits flipped, spans cut, doubled, dropped, words changed."""
    for kind, where, much, what in steps:
        at = where % (len(raw) + 1)
        end, piece = at + much, PIECES[what % len(PIECES)]
        match kind:
            case 0 | 1:
                flipped = bytes(b ^ (1 << what % 8) for b in raw[at : at + 1])
                raw = raw[:at] + flipped + raw[at + 1 :]
            case 2:
                raw = raw[:at]
            case 3:
                raw = raw[:at] + raw[end:]
            case 4:
                raw = raw[:end] + raw[at:]
            case 5:
                raw = raw[:at] + piece + raw[at:]
            case 6:
                raw = raw[:at] + bytes([what]) * much + raw[end:]
            case 7 | 8 | 9:
                raw = _replaced(raw, NUMBER, where, piece)
            case 10 | 11:
                raw = _replaced(raw, WORD, where, piece)
            case _:
                words = WORD.findall(raw)
                other = words[(where // 64) % len(words)] if words else piece
                raw = _replaced(raw, WORD, where * 31 + what, other)
    return raw


def _replaced(raw: bytes, pattern: re.Pattern[bytes], number: int, by: bytes) -> bytes:
    """One of the pattern's matches replaced."""
    spans = [match.span() for match in pattern.finditer(raw)]
    start, end = spans[number % len(spans)] if spans else (0, 0)
    return raw[:start] + by + raw[end:]


def spoil_tree(tree: object, steps: list[Step]) -> object:
    """A copy of parsed JSON after all steps: values of other types, keys gone or new."""
    holder = [json.loads(json.dumps(tree))]
    for kind, where, much, what in steps:
        places = list(_places(holder))
        parent, key = places[where % len(places)]
        match kind:
            case 0 | 1 if isinstance(parent, dict):
                del parent[key]
            case 2 if isinstance(parent, dict):
                parent[f"{key}{ODD[what % len(ODD)]}"[:80]] = parent[key]
            case 3 if parent is not holder and isinstance(parent, list):
                del parent[key]
            case 4 if isinstance(parent[key], list):
                parent[key] = parent[key] * (much % 5)
            case 5 | 6:
                other, name = places[(where // 7 + what) % len(places)]
                parent[key] = json.loads(json.dumps(other[name]))
            case 7 if isinstance(parent[key], int | float):
                parent[key] = -parent[key] if what % 2 else parent[key] * much
            case _:
                parent[key] = json.loads(json.dumps(ODD[what % len(ODD)]))
    return holder[0]


def _places(holder):
    """Every (container, key) below a list or dict."""
    todo = [holder]
    while todo:
        parent = todo.pop()
        for key in list(parent if isinstance(parent, dict) else range(len(parent))):
            yield parent, key
            if isinstance(parent[key], dict | list):
                todo.append(parent[key])

"""The guides do what they say: every block of docs/guides is run as written, in order.

A fenced block with a title is saved under that name. `bash` blocks run in a shell, `python` blocks
of one guide share one namespace, all in one empty folder. A `text` block after one of them is what
it prints: line by line, `...` stands for anything within a line or, alone, for any lines. With the
word `about` numbers may be 10 % off.
"""

import contextlib
import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def blocks(text):
    """(info string, content, first line) of every fenced block."""
    for token in MarkdownIt().parse(text):
        if token.type == "fence":
            yield token.info.strip(), token.content, token.map[0] + 2


def run_shell(script, folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "sw"), os.getenv("PYTHONPATH")]))
    settings = {"PATH": path, "PYTHONPATH": python, "COLUMNS": "100", "TERM": "dumb"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=os.environ | settings, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_python(code, namespace, page, line):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)
    return printed.getvalue()


def same(shown, printed, about):
    """Whether a shown line says what was printed; `...` in it matches anything."""
    if shown == printed:
        return True
    parts = [NUMBER.sub("\0", part) if about else part for part in shown.split("...")]
    pattern = ".*".join(re.escape(part).replace("\0", f"({NUMBER.pattern})") for part in parts)
    found = re.fullmatch(pattern, printed)
    if not found or not about:
        return bool(found)
    numbers = [n for part in shown.split("...") for n in NUMBER.findall(part)]
    pairs = zip(numbers, found.groups(), strict=True)
    return all(math.isclose(_value(a), _value(b), rel_tol=0.1) for a, b in pairs)


def _value(text):
    return float(text.replace(",", ""))


def difference(shown, printed, about=False):
    """The first shown line that is not what was printed; None where all is."""
    shown, printed = ([line.rstrip() for line in text.splitlines()] for text in (shown, printed))
    place = 0
    skip = False
    for line in shown:
        if line.strip() == "...":
            skip = True
            continue
        rest = range(place, len(printed) if skip else min(place + 1, len(printed)))
        place = next((i + 1 for i in rest if same(line, printed[i], about)), 0)
        if not place:
            return line
        skip = False
    return None if skip or place == len(printed) else printed[place]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_guide_runs_as_written(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    printed, namespace = "", {"__name__": "guide"}
    for info, content, line in blocks(guide.read_text(encoding="utf-8")):
        kind, _, rest = info.partition(" ")
        if title := re.search(r'title="([\w./-]+)"', rest):
            Path(title[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(title[1]).write_text(content, encoding="utf-8")
        elif kind == "bash":
            printed = run_shell(content, tmp_path)
        elif kind == "python":
            printed = run_python(content, namespace, guide, line)
        elif kind == "text":
            wrong = difference(content, printed, "about" in rest)
            assert wrong is None, f"{guide.name}:{line} shows or lacks {wrong!r} of\n{printed}"
        else:
            pytest.fail(f"{guide.name}:{line}: a block of {kind!r} is neither run nor compared")


@pytest.mark.parametrize(
    ("shown", "printed", "about", "wrong"),
    [
        ("a 1\nb", "a 1\nb\n", False, None),
        ("a 1", "a 2", False, "a 1"),
        ("a 100 fJ", "a 104 fJ", True, None),
        ("a 100 fJ", "a 120 fJ", True, "a 100 fJ"),
        ("a 1,000", "a 1,050", True, None),
        ("a ... c", "a b c", False, None),
        ("...\nc", "a\nb\nc", False, None),
        ("a\n...", "a\nb\nc", False, None),
        ("a", "a\nb", False, "b"),
        ("a\nb", "a", False, "b"),
    ],
)
def test_what_a_guide_shows_is_compared(shown, printed, about, wrong):
    assert difference(shown, printed, about) == wrong

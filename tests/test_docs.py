"""What is written about the project holds together: links, anchors, docstrings, the site."""

import ast
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(
    p for folder in ("hw", "flows", "sw/quanos") for p in (ROOT / folder).rglob("*.py")
)


def inline(page):
    """Every piece of a page's text, headings apart from the rest."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline":
            yield before.type == "heading_open", token


def anchors(page):
    """What a link may point at within a page: its headings, as hosts of Markdown name them."""
    for heading, token in inline(page):
        if heading:
            words = "".join(c.content for c in token.children if c.type in ("text", "code_inline"))
            yield re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")


def links(page):
    for _, token in inline(page):
        for child in token.children:
            target = child.attrs.get("href") or child.attrs.get("src")
            if target and not re.match(r"[a-z]+:", target):
                yield unquote(target)


def broken(page):
    """The links of a page that lead nowhere."""
    for target in links(page):
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        inside = place.is_relative_to(ROOT) and place.exists()
        if not inside or (anchor and anchor not in anchors(place)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    assert not list(broken(page))


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# One `two`, three\n")
    page = tmp_path / "a.md"
    page.write_text("[1](b.md) [2](b.md#one-two-three) [3](b.md#no) ![4](c.svg) [5](https://x)\n")
    assert list(broken(page)) == ["b.md#no", "c.svg"]


FOREIGN = {"elaborate", "forward", "extra_repr"}
"""Methods that Amaranth or torch calls, and explains."""


def parts(tree, name):
    """(dotted name, node, whether it may inherit) of a module and of what is public in it."""
    yield name, tree, False
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            below = parts(node, f"{name}.{node.name}") if isinstance(node, ast.ClassDef) else ()
            derived = isinstance(tree, ast.ClassDef) and bool(tree.bases)
            yield f"{name}.{node.name}", node, derived
            yield from (part for part in below if part[1] is not node)


def undocumented(modules):
    """What is public in {name: tree} and has no docstring, nor takes it from a base class."""
    found = [part for name, tree in modules.items() for part in parts(tree, name) if tree.body]
    methods = [node for _, tree, _ in found if isinstance(tree, ast.ClassDef) for node in tree.body]
    told = {getattr(node, "name", "") for node in methods if _documented(node)} | FOREIGN
    for name, node, derived in found:
        if not _documented(node) and not (derived and node.name in told):
            yield name


def _documented(node):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    return isinstance(node, kinds) and ast.get_docstring(node)


def test_everything_public_has_a_docstring():
    trees = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
        for path in SOURCES
    }
    assert not list(undocumented(trees))


def test_a_missing_docstring_is_found():
    source = '''
"""Module."""
class Base:
    """Class."""
    def step(self): "Says."
    def other(self): pass
class Child(Base):
    """Class."""
    def step(self): pass
class Bare: pass
def function(): pass
def _private(): pass
'''
    modules = {"m": ast.parse(source), "n": ast.parse("x = 1"), "empty": ast.parse("")}
    assert list(undocumented(modules)) == ["m.Base.other", "m.Bare", "m.function", "n"]

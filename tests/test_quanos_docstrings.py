"""Public docstrings of `quanos`: the shapes of what goes in and out, and what is raised."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sw" / "quanos"
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "commands"]
"""A command's errors are sentences on the terminal, and tested as such."""

ARRAYS = re.compile(r"(?<!, )\b(Tensor|NDArray|Integers|Array)\b")
"""In a signature; a mapping of names to tensors, as of a checkpoint, has no shape to tell."""
SHAPE = re.compile(r"\([^()]*\b[A-Za-z]\w*'?(, [^()]*|,)\)|\bscalar|\bshape")
"""As (B, C, H, W) or in words."""
OURS = {"TypeError", "AttributeError", "AssertionError", "StopIteration"}
"""Errors of whoever wrote a class or a call; no input leads to them."""


def public(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Functions and methods with a docstring; that every other has one is tested elsewhere."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node)
        elif isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            yield from [] if node.name.startswith("_") else [node]


def raised(function: ast.FunctionDef) -> set[str]:
    """Names of the errors that the function's own lines raise."""
    found = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc]
    calls = [error.func if isinstance(error, ast.Call) else error for error in found]
    return {ast.unparse(call).rpartition(".")[2] for call in calls} - OURS


def lacks(function: ast.FunctionDef) -> Iterator[str]:
    """What the docstring does not tell."""
    text = ast.get_docstring(function) or ""
    result = ast.unparse(function.returns) if function.returns else ""
    if ARRAYS.search(f"{ast.unparse(function.args)} -> {result}") and not SHAPE.search(text):
        yield f"{function.name}: no shape"
    names = raised(function)
    if names and "Raises" not in text and not any(name in text for name in names):
        yield f"{function.name}: raises {', '.join(sorted(names))}"


def test_docstrings_tell_shapes_and_errors() -> None:
    found = [
        f"{path.name}: {lack}"
        for path in SOURCES
        for function in public(ast.parse(path.read_text("utf-8")))
        for lack in lacks(function)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("signature", "text", "body", "lack"),
    [
        ("x: Tensor", "Says.", "pass", "f: no shape"),
        ("x: Tensor", "Of x (B, C).", "pass", ""),
        ("x: Tensor", "Of labels (N,).", "pass", ""),
        ("x: Tensor", "Of `x`, any shape.", "pass", ""),
        ("x: Tensor", "Called as f(x).", "pass", "f: no shape"),
        ("x: Mapping[str, Tensor]", "Says.", "pass", ""),
        ("x: int", "Says.", "raise ValueError('no')", "f: raises ValueError"),
        ("x: int", "Raises ValueError.", "raise ValueError('no')", ""),
        ("x: int", "Says.", "raise TypeError", ""),
    ],
)
def test_what_a_docstring_lacks_is_found(signature, text, body, lack) -> None:
    (function,) = public(ast.parse(f'def f({signature}):\n    """{text}"""\n    {body}'))
    assert ", ".join(lacks(function)) == lack

"""Boolean functions as Liberty writes them: `!(A1 & A2)`, `A'+B C`, `(CK & IQ)`.

From the tightest binding: `!` and the postfix `'`; `^`; `&`, `*` and juxtaposition; `|` and `+`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from flows.console import FlowError

_TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\]]*|[01]|[!'^&*|+()])")
_BINARY: tuple[tuple[str, frozenset[str]], ...] = (
    ("|", frozenset("|+")),
    ("&", frozenset("&*")),
    ("^", frozenset("^")),
)

MOST_INPUTS = 12  # of a truth table, which doubles with each; cells have up to nine
MOST_LEVELS = 100  # of brackets and operators in one another

Node = tuple[Any, ...]  # ("pin", name) | ("const", 0 or 1) | ("~", node) | ("&"/"|"/"^", a, b)


@dataclass(frozen=True)
class Function:
    """A parsed function; equal texts are equal functions.

    >>> f = Function("!(A1 & A2)")
    >>> f.inputs, f.truth_table()
    (('A1', 'A2'), (1, 1, 1, 0))
    >>> f.evaluate({"A1": 0b1100, "A2": 0b1010}, ones=0b1111)
    7
    """

    text: str

    @cached_property
    def tree(self) -> Node:
        """The syntax tree; raises FlowError with the text that is no function."""
        try:
            tree = _Parser(self.text).parse()
        except RecursionError:
            tree = None
        if tree is None or _levels(tree) > MOST_LEVELS:
            raise FlowError(
                f"function {self.text[:40]!r}... has more than {MOST_LEVELS} operators in one "
                "another; write it flatter."
            )
        return tree

    def check(self) -> Self:
        """The function itself; raises FlowError where it is none or has too many inputs."""
        if len(self.inputs) > MOST_INPUTS:
            raise FlowError(
                f"function {self.text[:40]!r}... has {len(self.inputs)} inputs; up to "
                f"{MOST_INPUTS} are understood."
            )
        return self

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the pins, sorted."""
        return tuple(sorted(_pins(self.tree)))

    def evaluate(self, values: Mapping[str, Any], ones: Any = 1) -> Any:
        """The value, bitwise, of anything with & | ^; `ones` is the word whose every bit is 1."""
        return _evaluate(self.tree, values, ones)

    def expression(self, names: Mapping[str, str]) -> str:
        """The function as an expression in Python's, C's and Verilog's `& | ^ ~`, pins renamed by
        `names`; Verilog takes no operator right after another, `~(~A)` for it."""
        return _expression(self.tree, names)

    def truth_table(self, inputs: tuple[str, ...] | None = None) -> tuple[int, ...]:
        """Values for all 2**n input words; bit i of the index is the value of `inputs[i]`."""
        names = self.inputs if inputs is None else inputs
        if missing := set(self.inputs) - set(names):
            raise FlowError(f"function {self.text} also depends on {', '.join(sorted(missing))}.")
        self.check()
        size = 1 << len(names)
        columns = {
            name: sum(1 << word for word in range(size) if word >> i & 1)
            for i, name in enumerate(names)
        }
        packed = self.evaluate(columns, ones=(1 << size) - 1)
        return tuple(packed >> word & 1 for word in range(size))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._scan(text)
        self.at = 0

    def _scan(self, text: str) -> list[str]:
        tokens, end = [], 0
        text = text.strip().strip('"').rstrip()
        while end < len(text):
            match = _TOKEN.match(text, end)
            if not match:
                raise self._error()
            tokens.append(match[1])
            end = match.end()
        return tokens

    def _error(self) -> FlowError:
        text = self.text if len(self.text) < 200 else f"{self.text[:200]}..."
        return FlowError(f"{text!r} is not a Boolean function in Liberty's syntax.")

    def parse(self) -> Node:
        tree = self._binary(0)
        if self.at != len(self.tokens):
            raise self._error()
        return tree

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _binary(self, level: int) -> Node:
        if level == len(_BINARY):
            return self._unary()
        name, signs = _BINARY[level]
        left = self._binary(level + 1)
        while True:
            token = self._peek()
            if token in signs:
                self.at += 1
            elif not (name == "&" and token and token not in "')|+^"):
                return left
            left = (name, left, self._binary(level + 1))

    def _unary(self) -> Node:
        token = self._peek()
        self.at += 1
        if token == "!":
            return ("~", self._unary())
        if token == "(":
            node = self._binary(0)
            if self._peek() != ")":
                raise self._error()
            self.at += 1
        elif token in ("0", "1"):
            node = ("const", int(token))
        elif token and (token[0].isalpha() or token[0] == "_"):
            node = ("pin", token)
        else:
            raise self._error()
        while self._peek() == "'":
            self.at += 1
            node = ("~", node)
        return node


def _levels(tree: Node) -> int:
    """Depth of a tree, without recursion: it may be too deep for that."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in node[1:] if isinstance(child, tuple)]
    return depth


def _pins(node: Node) -> set[str]:
    if node[0] == "pin":
        return {node[1]}
    if node[0] == "const":
        return set()
    return set().union(*(_pins(child) for child in node[1:]))


def _evaluate(node: Node, values: Mapping[str, Any], ones: Any) -> Any:
    kind = node[0]
    if kind == "pin":
        return values[node[1]]
    if kind == "const":
        return ones if node[1] else ones ^ ones
    left = _evaluate(node[1], values, ones)
    if kind == "~":
        return left ^ ones
    right = _evaluate(node[2], values, ones)
    if kind == "&":
        return left & right
    return left | right if kind == "|" else left ^ right


def _expression(node: Node, names: Mapping[str, str]) -> str:
    if node[0] == "pin":
        return names[node[1]]
    if node[0] == "const":
        return "~0" if node[1] else "0"
    if node[0] == "~":
        inner = _expression(node[1], names)
        return f"~({inner})" if inner.startswith("~") else f"~{inner}"
    return f"({_expression(node[1], names)} {node[0]} {_expression(node[2], names)})"

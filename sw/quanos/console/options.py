"""A command's options as its help shows them: texts folded to the screen, no word of None."""

from __future__ import annotations

import ast
import inspect
import shutil
import textwrap
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, fields, make_dataclass
from itertools import pairwise
from typing import Annotated, Any, get_type_hints

import tyro

METAVARS = {
    bool: "{True,False}",
    int: "INT",
    float: "FLOAT",
    str: "STR",
    tuple[int, ...]: "INT ...",
    tuple[float, ...]: "FLOAT ...",
    tuple[str, ...]: "STR ...",
}
"""How the help writes what an option takes."""

OPTION = type(tyro.conf.arg())
"""What `tyro.conf.arg` makes; a field that has one speaks for itself."""


def shown(kind: Any) -> Callable[..., Any]:
    """The dataclass `kind` with the text under each field as that option's help.

    Tyro finds these texts itself, but breaks a line of the help wherever one of the source ends,
    and says `(default: None)` or `(default: False)` where the text has said what happens without.
    """
    hints = get_type_hints(kind, include_extras=True)
    texts = _texts(kind)
    told = [
        (field.name, Annotated[hint, _option(field, hint, texts[field.name])], copy(field))
        for field in fields(kind)
        if not _speaks(hint := hints[field.name])
    ]
    return make_dataclass(kind.__name__, told, bases=(kind,), frozen=True, kw_only=True)


def description(kind: Any) -> str:
    """What a command does, its paragraphs folded to the screen.

    Tyro joins lines of a description unless they are indented, and folds none.
    """
    width = shutil.get_terminal_size().columns - 2
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    return "\n\n".join(textwrap.fill(p, width, subsequent_indent="  ") for p in paragraphs)


def _speaks(hint: Any) -> bool:
    return any(isinstance(part, OPTION) for part in getattr(hint, "__metadata__", ()))


def _option(field: Field[Any], hint: Any, text: str) -> Any:
    flag = isinstance(field.default, bool)
    silent = flag or field.default in (None, (), MISSING)
    metavar = None if flag or field.default is MISSING else METAVARS.get(hint)
    return tyro.conf.arg(help=text, help_behavior_hint="" if silent else None, metavar=metavar)


def _texts(kind: type) -> dict[str, str]:
    """Field name to the string under it, line breaks folded."""
    (found,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(found, ast.ClassDef)
    return {
        ast.unparse(field.target): " ".join(ast.literal_eval(text.value).split())
        for field, text in pairwise(found.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }

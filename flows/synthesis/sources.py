"""What a design's text is read with: folders of included files, macros, parameters of the top."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from flows.console import FlowError
from flows.synthesis import yosys

_TAKEN = re.compile(r'(?:`include|\$readmem[bh]\s*\()\s*"([^"\n]+)"')
_DEFINED = re.compile(r"[A-Za-z_][\w$]*(?:=[\w'.+-]*)?")
_SET = re.compile(r"([A-Za-z_][\w$]*)=(-?\d+|\d+'[bdh][0-9A-Fa-f_]+)")


def reader(source: Path, include: Sequence[str], define: Sequence[str]) -> str:
    """The Yosys command that reads one file. Raises FlowError for what is no design or macro."""
    if source.suffix not in (".v", ".sv", ".il"):
        raise FlowError(
            f"{source} is no design; .v, .sv and .il (RTLIL) are read, and included files by "
            "`include, their folders named with -I."
        )
    if source.suffix == ".il":
        return f"read_rtlil {yosys.quote(source)}"
    if wrong := [text for text in define if not _DEFINED.fullmatch(text)]:
        raise FlowError(f"-D {wrong[0]!r} is not understood; write NAME or NAME=VALUE.")
    if wrong := [folder for folder in include if re.search(r"\s", folder)]:
        raise FlowError(f"-I {wrong[0]!r}: Yosys takes no folder with a space; rename it.")
    options = [*(f"-I{folder}" for folder in include), *(f"-D{text}" for text in define)]
    return " ".join(["read_verilog -sv", *options, yosys.quote(source)])


def elaborate(top: str, parameters: Sequence[str]) -> list[str]:
    """Yosys commands that make `top` the top, with these parameters and under its own name.

    Raises FlowError for what is no parameter and its value.
    """
    options = ""
    for text in parameters:
        if not (match := _SET.fullmatch(text)):
            raise FlowError(
                f"--parameter {text!r} is not understood; write NAME=VALUE with a whole number or "
                "a constant such as 4'd6."
            )
        options += f" -set {match[1]} {match[2]}"
    hierarchy = f"hierarchy -check -top {top}"
    return [f"chparam{options} {top}", hierarchy, f"rename -top {top}"] if options else [hierarchy]


def taken(sources: Iterable[Path], include: Sequence[str]) -> list[Path]:
    """The files that the sources take in (`include, $readmemh), and those that these take in.

    Looked for where Yosys does: here, beside the file that names them, in the folders of -I.
    """
    found: dict[Path, None] = {}
    left = list(sources)
    while left:
        source = left.pop()
        for name in _TAKEN.findall(source.read_text(encoding="utf-8", errors="replace")):
            for folder in (Path(), source.parent, *map(Path, include)):
                path = (folder / name).resolve()
                if path.is_file() and path not in found:
                    found[path] = None
                    left.append(path)
    return sorted(found)

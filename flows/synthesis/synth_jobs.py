"""What is to be synthesised: designs with their sources, and what these were made from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.console import FlowError
from flows.synthesis.synth_script import Options


@dataclass(frozen=True)
class Job:
    """One design to synthesise; `spec` is what it was made from, empty for a foreign one."""

    top: str
    sources: tuple[Path, ...]
    spec: dict[str, Any] = field(default_factory=dict)

    def options(self, options: Options, clock_gating: bool | None) -> Options:
        """Options for this design: an array's elements are alike, so one is mapped; no register of
        a data-gated array is gated, as the paper has it, unless `clock_gating` asks for it."""
        array = "rows" in self.spec
        gated = not (array and self.spec.get("scheme") == "dg")
        return replace(
            options,
            clock_gating=gated if clock_gating is None else clock_gating,
            hierarchical=options.hierarchical or array,
        )

    @classmethod
    def of(cls, top: str, sources: Sequence[Path]) -> Job:
        """The job of a top; its spec is read where the generator left one beside a source."""
        spec: dict[str, Any] = {}
        for source in sources:
            for kind in ("spec", "array"):
                path = source.with_name(f"{top}.{kind}.json")
                if path.exists():
                    spec = _spec(path)
        return cls(top, tuple(sources), spec)


def _spec(path: Path) -> dict[str, Any]:
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FlowError(f"{path} is not the spec of a design ({error}).") from None
    if not isinstance(spec, dict):
        raise FlowError(f"{path} is not the spec of a design.")
    return spec


def jobs_in(folder: Path) -> list[Job]:
    """A job for every Verilog file in the folder, its top named as the file."""
    files = sorted(folder.glob("*.v"), key=_natural)
    if not files:
        raise FlowError(
            f"{folder} holds no .v files; write them with `python -m hw.rtl.verilog --all "
            f"--out {folder}`."
        )
    return [Job.of(file.stem, [file]) for file in files]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts w9 before w10."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D+)(\d*)", path.stem)]

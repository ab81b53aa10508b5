"""Yosys (pyosys) in a process of its own: one script, one design, no state left behind.

pyosys ends the whole process on an error and keeps caches between designs, hence the subprocess.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from flows.console import FlowError

_WORKER = (
    "import sys; from pyosys import libyosys as ys; design = ys.Design();"
    "[ys.run_pass(line, design) for line in open(sys.argv[1]).read().splitlines()]"
)


def version() -> str:
    """Version of the Yosys in use."""
    return importlib.metadata.version("pyosys")


def run(
    script: list[str],
    what: str,
    check: Callable[[str, str], None] | None = None,
    limit_s: float | None = None,
) -> str:
    """Run the commands on a new design; returns the log.

    Raises FlowError with Yosys' own message where a command fails; `check(log, what)` may refuse
    the design by a better one first. Raises subprocess.TimeoutExpired after `limit_s` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="quanos-yosys-") as folder:
        commands = Path(folder) / "script.ys"
        commands.write_text("\n".join(script), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-I", "-c", _WORKER, str(commands)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit_s,
        )
    if check is not None:
        check(done.stdout + done.stderr, what)
    if done.returncode:
        raise FlowError(f"{what} cannot be synthesised: {_message(done.stdout + done.stderr)}")
    return done.stdout


def quote(path: Path | str) -> str:
    """A path as one word of a Yosys command."""
    text = str(path)
    if '"' in text or "\n" in text:
        raise FlowError(f"{text!r}: a path with quotes or line breaks cannot be given to Yosys.")
    return f'"{text}"'


def _message(log: str) -> str:
    errors = re.findall(r"^(\S[^\n]*?:\d+: )?(?:.*?(?:ERROR|error)): *(.+)", log, re.MULTILINE)
    if errors:
        place, text = errors[-1]
        return f"{place}{text.strip().rstrip('.')}."
    lines = log.strip().splitlines()
    return f"Yosys stopped ({lines[-1].strip() if lines else 'no message'})."

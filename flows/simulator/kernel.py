"""The simulator's inner loops in C, some hundred times as fast as `waveform`'s in NumPy.

The compiler that the project needs anyway builds `kernel.c` on first use, with evaluators for every
Boolean function, into the user's cache folder. Where there is no compiler NumPy stays.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.cells.boolean import Function
from flows.cells.library_cache import folder
from flows.console import FlowError

PINS = 8
LANES = 8  # words in a row
SIDE = 2  # rows that waveforms have side by side; 2 measured best
BLOCKS = 64  # rows that bit matrices are transposed in
SOURCE = Path(__file__).with_name("kernel.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", f"-DNV={SIDE}")


def available() -> bool:
    """Whether there is a C compiler (`CC`, cc, gcc or clang)."""
    return _compiler() is not None


def _compiler() -> str | None:
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def record(*fields: tuple[Any, ...]) -> np.dtype[np.void]:
    """A C structure."""
    return np.dtype(list(fields), align=True)


def rows(count: int) -> NDArray[np.uint64]:
    """Zeros, shape (count, 8), whose first address is a multiple of 64 bytes."""
    raw = np.zeros(count * LANES + 8, np.uint64)
    skip = -(raw.ctypes.data // 8) % 8
    return raw[skip : skip + count * LANES].reshape(count, LANES)


class Buffers:
    """Rows by name, used again where the number is the same; what is in them is undefined."""

    def __init__(self) -> None:
        self._rows: dict[str, NDArray[np.uint64]] = {}

    def rows(self, name: str, *shape: int) -> NDArray[np.uint64]:
        """Shape (*shape, 8)."""
        count = math.prod(shape)
        if name not in self._rows or len(self._rows[name]) != count:
            self._rows[name] = rows(count)
        return self._rows[name].reshape(*shape, LANES)


def aligned(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A copy as rows, of words whose number is a multiple of 8."""
    copy = rows(words.size // LANES)
    copy.reshape(-1)[:] = words.reshape(-1)
    return copy


def call(function: Any, *arguments: Any) -> Any:
    """A C function with arrays and integers; arrays must be contiguous."""
    return function(*[a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments])


@cache
def load(functions: tuple[str, ...]) -> ctypes.CDLL:
    """The loops for these Boolean functions, built unless they were before."""
    evaluators = _evaluators(functions)
    identity = "\n".join((SOURCE.read_text(), evaluators, *FLAGS, _machine()))
    name = hashlib.sha256(identity.encode()).hexdigest()[:32]
    path = folder().with_name("kernel") / f"{name}.so"
    if not path.exists():
        try:
            _build(evaluators, path)
        except OSError:  # a read-only home only costs the time to build again
            path = Path(tempfile.mkdtemp(prefix="quanos-kernel-")) / path.name
            _build(evaluators, path)
    library = ctypes.CDLL(str(path))
    p: Any = ctypes.c_void_p
    i: Any = ctypes.c_int
    library.pack.argtypes = [p, i, p, i, i, p, i, p]
    library.advance.argtypes = [p, i, p, p, p, p, i, i, i, i, p, i, i, i, p, p, p]
    library.simulate.argtypes = [p, i, p, p, i, i, p, i, i, i, p, p, i, p, p]
    return library


def _machine() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags} {_compiler()}"


def _build(evaluators: str, path: Path) -> None:
    """Compile beside `path` and rename, so that two processes may build at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler = _compiler()
    assert compiler is not None
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        header, built = Path(temporary) / "functions.h", Path(temporary) / "kernel.so"
        header.write_text(evaluators)
        command = [compiler, *FLAGS, f'-DFUNCTIONS="{header}"', "-o", str(built), str(SOURCE)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise FlowError(
                f"the C compiler {compiler} cannot build the simulator's inner loops "
                f"({done.stderr.strip().splitlines()[-1:]}); name another one in CC."
            )
        built.replace(path)


def _evaluators(functions: Iterable[str]) -> str:
    texts = [_evaluator(i, Function(text)) for i, text in enumerate(functions)]
    numbers = range(len(texts))
    tables = [
        f"static {kind} *const {kind}s[] = {{{', '.join(f'{kind[0]}{i}' for i in numbers)}}};"
        for kind in ("evaluator", "waver")
    ]
    return "\n".join([*texts, *tables, ""])


def _evaluator(i: int, function: Function) -> str:
    """The function of rows, and of rows on the move."""
    pins = function.inputs

    def each(form: str) -> str:
        return " ".join(form.format(k) for k in range(len(pins)))

    def value(form: str) -> str:
        return function.expression({pin: form.format(k) for k, pin in enumerate(pins)})

    return f"""
static void e{i}(const vec *const *in, int rows, vec *restrict z) {{
    {each("ROWS({0})")}
    for (int j = 0; j < rows; j++) z[j] = {value("p{0}[j]")};
}}
static void w{i}(const vec *const *in, const ptrdiff_t *step, int rows, vec *z) {{
    {each("MOVING({0})")}
    for (; rows--; z += NV) {{
        EACH z[v] = {value("p{0}[v]")};
        {each("p{0} += s{0};")}
    }}
}}"""

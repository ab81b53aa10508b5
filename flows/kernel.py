"""The timed simulation in C: the same numbers as flows.waveform, some fifty times as fast.

The compiler that the project needs anyway builds `kernel.c` on first use, with one evaluator per
Boolean function, into the user's cache folder. Where there is no compiler flows.waveform stays.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.boolean import Function
from flows.console import FlowError
from flows.library_cache import folder
from flows.waveform import ONES, Counts, Plan, Window, Words

VECTORS = 2  # of 8 words in a row of the arena; 2 measured best
BLOCK = 8 * VECTORS  # words that are simulated at once
PINS = 8
SOURCE = Path(__file__).with_name("kernel.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", f"-DNV={VECTORS}")

TASK = np.dtype(
    [
        ("output", "i8"),
        ("input", "i8", PINS),
        ("offset", "i4", PINS),
        ("last", "i4", PINS),
        *((name, "i4") for name in ("function", "net", "rows", "rise", "fall", "pad")),
    ],
    align=True,
)
DRIVER = np.dtype(
    [("output", "i8"), *((name, "i4") for name in ("net", "index", "rise", "fall"))], align=True
)


def available() -> bool:
    """Whether there is a C compiler (`CC`, cc, gcc or clang)."""
    return _compiler() is not None


def _compiler() -> str | None:
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


class Kernel:
    """A plan ready to run: `count` simulates blocks of words in one arena of fixed size."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.nets = len(plan.circuit.netlist.nets)
        self.source_nets = [net for net, _, _ in plan.sources]
        # All of the library's functions, so that one build does for all netlists.
        self._library = _load(plan.circuit.functions)
        self._drivers, self._tasks, rows, scratch = _lay_out(plan)
        self._arena = _aligned(rows)
        self._arena[:BLOCK] = 0
        self._arena[BLOCK : 2 * BLOCK] = ONES
        self._scratch = _aligned(scratch)

    def count(
        self, initial: Mapping[int, Words], final: Mapping[int, Words], batches: int = 1
    ) -> Counts:
        """As flows.waveform.count."""
        counts = self._count_words(initial, final)
        total: Counts = counts.reshape(4, self.nets, batches, -1).sum(3, dtype=np.int64)
        return total.transpose(2, 1, 0)

    def _count_words(
        self, initial: Mapping[int, Words], final: Mapping[int, Words]
    ) -> NDArray[np.uint32]:
        """Shape (4, nets, words): transitions, settled transitions, ones at start and at end."""
        words = len(next(iter(final.values()))) if self.source_nets else 0
        padded = -(-words // BLOCK) * BLOCK
        counts = np.zeros((4, self.nets, padded), np.uint32)
        start, end = (
            _stack([values[net] for net in self.source_nets], padded) for values in (initial, final)
        )
        for at in range(0, padded, BLOCK):
            self._library.simulate(
                self._drivers.ctypes.data,
                len(self._drivers),
                self._tasks.ctypes.data,
                len(self._tasks),
                start[:, at:].ctypes.data,
                end[:, at:].ctypes.data,
                padded,
                self.nets,
                self._arena.ctypes.data,
                self._scratch.ctypes.data,
                counts[:, :, at:].ctypes.data,
            )
        return counts[:, :, :words]


def _stack(words: list[Words], padded: int) -> Words:
    stacked = np.zeros((len(words), padded), np.uint64)
    for row, values in zip(stacked, words, strict=True):
        row[: len(values)] = values
    return stacked


def _aligned(rows: int) -> Words:
    """Rows of BLOCK words whose first address is a multiple of 64 bytes."""
    raw = np.empty(rows * BLOCK + 8, np.uint64)
    skip = -(raw.ctypes.data // 8) % 8
    return raw[skip : skip + rows * BLOCK]


class _Arena:
    """Places for the nets' rows; a place is free again after its last reader."""

    def __init__(self) -> None:
        self.size = 2  # rows 0 and 1: the constants
        self.free: dict[int, list[int]] = {}

    def take(self, rows: int) -> int:
        if places := self.free.get(rows):
            return places.pop()
        self.size += rows
        return self.size - rows

    def give(self, place: int, rows: int) -> None:
        self.free.setdefault(rows, []).append(place)


def _lay_out(
    plan: Plan,
) -> tuple[NDArray[np.void], NDArray[np.void], int, int]:
    """The plan as arrays of the kernel's structures, with the rows of arena and scratch."""
    number = {text: i for i, text in enumerate(plan.circuit.functions)}
    readers = dict.fromkeys(plan.windows, 0)
    for task in plan.tasks:
        for net in set(task.gate.inputs) & readers.keys():
            readers[net] += 1
    arena, place, scratch = _Arena(), {}, 1
    drivers, tasks = np.zeros(len(plan.sources), DRIVER), np.zeros(len(plan.tasks), TASK)
    for index, (net, rise, fall) in enumerate(plan.sources):
        place[net] = arena.take(_rounded(plan.windows[net]))
        drivers[index] = (place[net], net, index, rise, fall)
    for entry, task in zip(tasks, plan.tasks, strict=True):
        gate, delay, out = task.gate, task.delay, task.output
        place[gate.output] = arena.take(_rounded(out))
        base = out.first - min(delay.rise, delay.fall)
        for k, (net, window, d) in enumerate(
            zip(gate.inputs, task.inputs, delay.inputs, strict=True)
        ):
            entry["input"][k] = place[net] if net in place else plan.static[net]
            entry["offset"][k] = base - d - window.first
            entry["last"][k] = window.rows - 1
        entry["output"], entry["net"], entry["rows"] = place[gate.output], gate.output, out.rows
        entry["function"] = number[gate.function.text]
        entry["rise"], entry["fall"] = delay.rise, delay.fall
        scratch = max(scratch, out.rows + delay.rise + delay.fall + max(delay.rise, delay.fall))
        for net in set(gate.inputs) & readers.keys():
            readers[net] -= 1
            if readers[net] == 0:
                arena.give(place[net], _rounded(plan.windows[net]))
    return drivers, tasks, arena.size, scratch


def _rounded(window: Window) -> int:
    """Rows to reserve: a multiple of 8, so that places are used again."""
    return -(-window.rows // 8) * 8


@cache
def _load(functions: tuple[str, ...]) -> ctypes.CDLL:
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
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.simulate.argtypes = [
        *(pointer, number, pointer, number),
        *(pointer, pointer, size, number),
        *(pointer, pointer, pointer),
    ]
    library.simulate.restype = None
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
    names = ", ".join(f"f{i}" for i in range(len(texts)))
    return "\n".join([*texts, f"static evaluator *const evaluators[] = {{{names}}};", ""])


def _evaluator(i: int, function: Function) -> str:
    rows = "".join(
        f"  const vec *p{k} = in[{k}] + clip(j + offset[{k}], last[{k}]) * NV;\n"
        for k in range(len(function.inputs))
    )
    names = {pin: f"p{k}[v]" for k, pin in enumerate(function.inputs)}
    return (
        f"static void f{i}(const vec *const *in, const int32_t *offset, const int32_t *last,"
        f" int rows, vec *z) {{\n for (int j = 0; j < rows; j++, z += NV) {{\n{rows}"
        f"  for (int v = 0; v < NV; v++) z[v] = {function.expression(names)};\n }}\n}}"
    )

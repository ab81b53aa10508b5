"""Spoilt files: every parser reads them or refuses them with its own error, one sentence that names
the file; never another exception, a hang, or memory without bound.

`nox -s fuzz` spoils each file 10,000 times (QUANOS_FUZZ), the ordinary tests fewer.
"""

import contextlib
import gzip
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import good_files as good
import pytest
import tomli_w
from good_files import LIBRARY, NETLIST, as_json
from hypothesis import HealthCheck, given, settings
from mutations import STEPS, spoil_bytes, spoil_tree
from test_flows_netlist import CHAIN, module
from test_quanos_report import summary, write_run

from flows import liberty, stimulus
from flows.boolean import Function
from flows.console import FlowError
from flows.library import Library
from flows.netlist import Netlist
from flows.netlist_write import to_verilog
from flows.saif import read_saif
from flows.table import EnergyTable, TableError
from hw.rtl.layers import read_layer
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import read_spec
from quanos import checkpoint, config, integers, measurement
from quanos.checkpoint import CheckpointError
from quanos.commands.energy import read_bits
from quanos.config import ConfigError
from quanos.data_formats import DataError, read_cifar, read_idx
from quanos.integers import ExportError
from quanos.jsonfile import FileContentError
from quanos.results import read_run

EXAMPLES = int(os.environ.get("QUANOS_FUZZ", "60"))
SHOW = 1000
CPU_S = 10.0
MEMORY = 1 << 30


class HangError(BaseException):
    """A parser took longer than it may; none can catch this."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most `CPU_S` seconds of processor time, and on Linux `MEMORY` bytes more than now."""

    def stop(*_: object) -> None:
        raise HangError(f"more than {CPU_S} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


@dataclass(frozen=True)
class Case:
    """A parser and a good file of its: bytes, or a tree of JSON that `pack` turns into bytes.

    An error begins with the file's path, or with something of `named` that stands in it.
    """

    name: str
    good: Any
    read: Callable[[Path], object]
    refuses: type[Exception]
    pack: Callable[[Any], bytes] | None = None
    named: tuple[str, ...] = ()

    def spoilt(self, steps: list[Any]) -> bytes:
        """The file after the steps of a mutation."""
        if self.pack is None:
            return spoil_bytes(self.good, steps)
        return self.pack(spoil_tree(self.good, steps))


def read_liberty(path: Path) -> Library:
    """The library, with every function understood, as synthesis does."""
    library = liberty.read(path.read_bytes(), str(path), "0" * 64)
    for cell in library.cells.values():
        functions = [cell.pins[pin].function for pin in cell.outputs]
        functions += [cell.register.next_state, cell.register.clear] if cell.register else []
        for function in filter(None, functions):
            function.truth_table()
    return library


def read_function(path: Path) -> object:
    """A Boolean function; it has no file in its error, as it stands for a few words in one."""
    try:
        return Function(path.read_text("utf-8", "replace")).truth_table()
    except FlowError as error:
        raise FlowError(f"{path}: {error}") from None


def read_netlist(path: Path) -> str:
    """The netlist, written out again."""
    return to_verilog(Netlist.load(path, LIBRARY))


def read_cifar_file(path: Path) -> object:
    return read_cifar(path, ["a.bin"], records=2, label_bytes=1, classes=10)


def read_summary(path: Path) -> object:
    """A run folder with this summary."""
    folder = path.parent / "run"
    if not folder.exists():
        write_run(folder, summary())
    (folder / "summary.json").write_bytes(path.read_bytes())
    return read_run(folder)


def read_metrics(path: Path) -> object:
    """A run folder with these metrics."""
    folder = path.parent / "run"
    if not folder.exists():
        write_run(folder, summary())
    (folder / "metrics.jsonl").write_bytes(path.read_bytes())
    return read_run(folder)


def read_parts(path: Path) -> object:
    """A split checkpoint with this index."""
    index = path.read_bytes()
    good.small_checkpoint(path, shard_mb=0.005)
    path.write_bytes(index)
    return checkpoint.load(path)


with good.scratch() as place:
    WHOLE, INDEX = good.small_checkpoint(place), good.small_checkpoint(place, shard_mb=0.005)
METRICS = b'{"epoch": 1, "loss": 0.5, "test_accuracy": 0.25}\n' * 3
TOML = tomli_w.dumps(asdict(config.Config())).encode()
MEASURED = {
    "schema": measurement.SCHEMA, "kind": "ans", "layers": {"0": 0.25, "1": 0.5},
    "losses": {"0": [1.0, 0.5]},
}  # fmt: skip
FUNCTION = b"!(A1 & A2) | B' ^ (C D + 1)"
SPEC = asdict(MacSpec(scheme="dvafs"))
NET = module(CHAIN)
TOP = ("top",)
load_netlist = partial(Netlist.load, library=LIBRARY)
load_saif = partial(read_saif, netlist=NETLIST)

CASES = (
    Case("table", as_json(good.table()), EnergyTable.load, TableError),
    Case("table, forged", good.table(), EnergyTable.load, TableError, good.as_table),
    Case("checkpoint", WHOLE, checkpoint.load, CheckpointError),
    Case(
        "checkpoint, forged",
        good.META,
        checkpoint.load_network,
        CheckpointError,
        good.as_checkpoint,
    ),
    Case("checkpoint, parts", INDEX, read_parts, CheckpointError),
    Case("liberty", good.LIBERTY, read_liberty, FlowError),
    Case("function", FUNCTION, read_function, FlowError),
    Case("netlist", as_json(NET), read_netlist, FlowError, named=TOP),
    Case("netlist, forged", NET, read_netlist, FlowError, as_json, TOP),
    Case("saif", good.saif(), load_saif, FlowError),
    Case("stimulus", good.as_npz({"w": [1, 2], "a": [3, 4]}), stimulus.load, FlowError),
    Case("operands", good.as_npz(good.OPERANDS), stimulus.OperandFile.load, FlowError),
    Case("operands, forged", good.OPERANDS, stimulus.OperandFile.load, FlowError, good.as_npz),
    Case("layer", good.as_npz(good.LAYER), read_layer, ValueError),
    Case("layer, forged", good.LAYER, read_layer, ValueError, good.as_npz),
    Case("mac spec", as_json(SPEC), read_spec, ValueError),
    Case("mac spec, forged", SPEC, read_spec, ValueError, as_json),
    Case("idx", good.IDX, read_idx, DataError),
    Case("idx.gz", gzip.compress(good.IDX, mtime=0), read_idx, DataError),
    Case("cifar.tar", good.tar(), read_cifar_file, DataError),
    Case("cifar.tar.gz", gzip.compress(good.tar(), mtime=0), read_cifar_file, DataError),
    Case("config", TOML, config.load, ConfigError),
    Case("integers", good.as_program(good.HEAD), integers.load, ExportError),
    Case("integers, forged", good.HEAD, integers.load, ExportError, good.as_program),
    Case("summary", as_json(summary()), read_summary, FileContentError),
    Case("summary, forged", summary(), read_summary, FileContentError, as_json),
    Case("metrics", METRICS, read_metrics, FileContentError),
    Case("measurement", as_json(MEASURED), measurement.load, FileContentError),
    Case("measurement, forged", MEASURED, measurement.load, FileContentError, as_json),
    Case("bits", b'{"bits": {"a": 4, "b": 8}}', lambda p: read_bits(str(p)), ValueError),
)


def outcome(case: Case, path: Path, raw: bytes) -> str:
    """ "read" or "refused"; whatever else the parser does goes on as it is."""
    path.write_bytes(raw)
    error = None
    try:
        with bounded():
            case.read(path)
    except case.refuses as refusal:
        error = refusal
    if error is None:
        return "read"
    said = str(error)
    assert type(error) is case.refuses, f"{type(error).__name__}: {said}"
    assert str(path.parent) in said or said.startswith(case.named), said
    assert said.endswith((".", "?")), said
    return "refused"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_spoilt_file_is_read_or_refused_in_a_sentence(case: Case, tmp_path: Path) -> None:
    whole = case.good if case.pack is None else case.pack(case.good)
    path = tmp_path / "file"
    assert outcome(case, path, whole) == "read"
    counts: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize="QUANOS_FUZZ" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def spoil(steps: list[Any]) -> None:
        counts[outcome(case, path, case.spoilt(steps))] += 1
        if (done := counts.total()) % SHOW == 0:
            print(f"{case.name} {done}: {dict(counts)}", file=sys.__stderr__, flush=True)

    spoil()
    assert counts["refused"] > 0.2 * counts.total()
    assert counts["read"] > 0 or case.name in ("table", "checkpoint, parts")  # a hash guards these

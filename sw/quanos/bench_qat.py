"""What quantized training costs: a step at a few bits over the float step, side by side.

`python -m quanos.bench_qat [--model vgg16] [--bits 4] [--brevitas PYTHON] [--out FILE.md]` trains
the float network and one of every kind of quantizer in turns, a step each, and takes the median of
the steps' ratios: what disturbs one step disturbs its neighbours. Brevitas runs in the environment
whose Python is given, in turns with a float network of its own.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hw.command import Parser
from quanos import models
from quanos.cli import guarded, print_json
from quanos.layers import quantize
from quanos.models import build_model
from quanos.quantizers.kinds import QUANTIZERS
from quanos.run import write_text

WARMUP = 2
LIMIT = {"cpu": 1.25, "cuda": 1.3}
"""The most that the uniform quantizer's step may cost, over the float step."""


@dataclass(frozen=True)
class Row:
    """Seconds of a quantized step and of the float step beside it, turn by turn."""

    name: str
    quantized: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Quantized over float, turn by turn, sorted."""
        return sorted(q / p for q, p in zip(self.quantized, self.plain, strict=True))

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.ratios)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is timed."""

    model: str
    bits: int
    batch: int
    steps: int
    threads: int
    device: str
    compile: bool = False


def step_times(networks: Sequence[nn.Module], setting: Setting) -> list[tuple[float, ...]]:
    """Seconds of every training step (forward, backward, SGD) of every network, in turns."""
    images = torch.rand(setting.batch, 3, 32, 32, device=setting.device)
    labels = torch.randint(10, (setting.batch,), device=setting.device)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in networks]
    forwards: list[Any] = [torch.compile(model) if setting.compile else model for model in networks]
    seconds: list[list[float]] = [[] for _ in networks]
    for turn in range(WARMUP + setting.steps):
        for forward, optimizer, times in zip(forwards, optimizers, seconds, strict=True):
            start = time.perf_counter()
            optimizer.zero_grad()
            functional.cross_entropy(forward(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if setting.device == "cuda":
                torch.cuda.synchronize()
            if turn >= WARMUP:
                times.append(time.perf_counter() - start)
    return [tuple(times) for times in seconds]


def ours(setting: Setting) -> Iterator[Row]:
    """Every kind of quantizer, all in turns with one float network."""
    torch.manual_seed(0)
    plain = build_model(setting.model, (3, 32, 32), 10).to(setting.device)
    networks = [plain, *(quantize(plain, setting.bits, quantizer=kind) for kind in QUANTIZERS)]
    base, *quantized = step_times([network.train() for network in networks], setting)
    for kind, times in zip(QUANTIZERS, quantized, strict=True):
        yield Row(f"quanos, {kind}", times, base)


def brevitas(python: str, setting: Setting) -> tuple[list[Row], str]:
    """Brevitas as it comes and past its first statistics, and the versions of its environment.

    Raises ValueError where that Python cannot run it.
    """
    script = Path(__file__).with_name("brevitas_step.py")
    wanted = vars(setting) | {"widths": models.vgg_widths(setting.model), "warmup": WARMUP}
    command = [python, str(script), json.dumps(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise ValueError(f"Brevitas did not run with {python}: {said[-1]}.") from None
    answer = json.loads(done.stdout.splitlines()[-1])
    base, gathering, after = (tuple(times) for times in answer["seconds"])
    versions = ", ".join(f"{name} {number}" for name, number in answer["versions"].items())
    rows = [
        Row("Brevitas, its first 300 steps", gathering, base),
        Row("Brevitas, after those", after, base),
    ]
    return rows, versions


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
    rows = list(ours(setting))
    limit = LIMIT[setting.device]
    kept = "within" if rows[0].median <= limit else "above"
    notes = [f"The uniform quantizer's {rows[0].median:.2f} is {kept} the {limit} asked for."]
    if python is None:
        notes.append("Brevitas was not measured: no `--brevitas PYTHON` of its environment.")
    else:
        theirs, versions = brevitas(python, setting)
        rows += theirs
        notes.append(f"Brevitas' environment: {versions}; its float step is its own.")
    return rows, notes


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the page."""
    parser = Parser("python -m quanos.bench_qat", __doc__)
    parser.add_argument(
        "--model", default="vgg16", choices=[n for n in models.MODELS if "vgg" in n]
    )
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32, help="images a step")
    parser.add_argument("--steps", type=int, default=9, help="steps timed of each network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=sorted(LIMIT))
    parser.add_argument("--compile", action="store_true", help="torch.compile every network")
    parser.add_argument(
        "--brevitas",
        metavar="PYTHON",
        default=os.environ.get("QUANOS_BREVITAS"),
        help="Python of an environment with Brevitas and setuptools<81; default $QUANOS_BREVITAS",
    )
    parser.add_argument("--out", type=Path, help="page to write, docs/benchmarks_qat.md say")
    parser.add_json()
    given = vars(parser.parse_args(arguments))
    python, out, as_json = (given.pop(name) for name in ("brevitas", "out", "json"))
    for name in ("bits", "batch", "steps", "threads"):
        if given[name] < 1:
            parser.error(f"--{name} must be 1 or more, not {given[name]}")
    setting = Setting(**given)

    def body() -> None:
        torch.set_num_threads(setting.threads)
        rows, notes = measure(setting, python)
        if as_json:
            medians = {row.name: row.median for row in rows}
            print_json({"setting": vars(setting), "medians": medians, "notes": notes})
        else:
            print("\n".join([*table(rows), "", *notes]))
        if out:
            words = [f"--{name} {value}" for name, value in given.items() if name != "compile"]
            flags = ["--compile"] * setting.compile + ["--brevitas PYTHON"] * (python is not None)
            command = " ".join(
                ["python -m quanos.bench_qat", *words, *flags, f"--out docs/{out.name}"]
            )
            write_text(out, page(setting, rows, notes, command))

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())

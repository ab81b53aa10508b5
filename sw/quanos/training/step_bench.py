"""Seconds of training steps, float and quantized, in turns: what `quanos.bench_qat` prints."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from quanos import models
from quanos.layers import quantize
from quanos.models import build_model
from quanos.quantizers.kinds import QUANTIZERS

WARMUP = 2
"""Steps of each network before those that count."""

BREVITAS_STEP = Path(__file__).parents[1] / "brevitas_step.py"


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


def step_times(
    networks: Sequence[nn.Module],
    setting: Setting,
    *,
    warmup: int = WARMUP,
    done: Callable[[int], None] = lambda steps: None,
) -> list[tuple[float, ...]]:
    """Seconds of every training step (forward, backward, SGD) of every network, in turns.

    `done` hears of the steps as they are made.
    """
    images = torch.rand(setting.batch, 3, 32, 32, device=setting.device)
    labels = torch.randint(10, (setting.batch,), device=setting.device)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in networks]
    forwards: list[Any] = [torch.compile(model) if setting.compile else model for model in networks]
    seconds: list[list[float]] = [[] for _ in networks]
    for turn in range(warmup + setting.steps):
        for forward, optimizer, times in zip(forwards, optimizers, seconds, strict=True):
            start = time.perf_counter()
            optimizer.zero_grad()
            functional.cross_entropy(forward(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if setting.device == "cuda":
                torch.cuda.synchronize()
            if turn >= warmup:
                times.append(time.perf_counter() - start)
            done(1)
    return [tuple(times) for times in seconds]


def networks(setting: Setting) -> list[nn.Module]:
    """The float network, and it quantized in every kind, in training mode."""
    torch.manual_seed(0)
    plain = build_model(setting.model, (3, 32, 32), 10).to(setting.device)
    quantized = (quantize(plain, setting.bits, quantizer=kind) for kind in QUANTIZERS)
    return [network.train() for network in (plain, *quantized)]


def ours(setting: Setting, done: Callable[[int], None]) -> Iterator[Row]:
    """Every kind of quantizer, all in turns with one float network; `done` as in `step_times`."""
    base, *quantized = step_times(networks(setting), setting, done=done)
    for kind, times in zip(QUANTIZERS, quantized, strict=True):
        yield Row(f"quanos, {kind}", times, base)


def brevitas(python: str, setting: Setting) -> tuple[list[Row], str]:
    """Brevitas as it comes and past its first statistics, and the versions of its environment.

    Raises ValueError where that Python cannot run it.
    """
    wanted = vars(setting) | {"widths": models.vgg_widths(setting.model), "warmup": WARMUP}
    command = [python, str(BREVITAS_STEP), json.dumps(wanted)]
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

"""A finished run as `quanos train` leaves it, without training: numbers of the right shape."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from flows.table import EnergyTable
from quanos.allocation.prices import priced
from quanos.models import build_model

SHAPE = (1, 8, 8)
LAYERS = ("features.0", "features.3", "features.7", "features.10", "features.14", "features.17")
BITS = {"quanos": (8, 7, 6, 5, 4, 3), "16": (16,) * 6, "mean": (6,) * 6}
ACCURACY = {"quanos": 0.9711, "16": 0.9822, "mean": 0.9622}


@cache
def cost(name: str) -> dict[str, Any]:
    """What a column costs, by the shipped table."""
    model = build_model("vgg-small", input_shape=SHAPE, classes=10)
    return priced(model, SHAPE, dict(zip(LAYERS, BITS[name], strict=True)), EnergyTable.load())


def attacked(name: str, attack: str, epsilon: float) -> dict[str, Any]:
    accuracy = ACCURACY[name] - 2 * epsilon
    return {
        "attack": attack,
        "epsilon": epsilon,
        "accuracy": accuracy,
        "adversarial_loss": 2 * epsilon,
    }


def sensed(epoch: int, ans: float, bits: int) -> dict[str, Any]:
    measured = {layer: ans * (n + 1) for n, layer in enumerate(LAYERS)}
    return {"epoch": epoch, "ans": measured, "bits": dict.fromkeys(LAYERS, bits)}


def column(name: str) -> dict[str, Any]:
    paper = [attacked(name, "fgsm", 0.05), attacked(name, "fgsm", 0.1), attacked(name, "pgd", 0.02)]
    strong = [attacked(name, attack, e) for e in (8 / 255, 0.1) for attack in ("pgd", "worst_case")]
    row = {"epsilon": 0.1, "fgsm_accuracy": 0.8, "noise_accuracy": 0.97, "pgd_accuracy": 0.77}
    if name == "quanos":  # a summary of this version; the others' are older
        row |= {"white_box_accuracy": 0.76, "worst_accuracy": 0.75, "survives_rounding": 0.9}
    return {
        "policy": "ans" if name == "quanos" else "uniform",
        "bits": dict(zip(LAYERS, BITS[name], strict=True)),
        "mean_bits": sum(BITS[name]) / 6,
        "epochs": 3,
        "sense_epoch": 1,
        "rounds": [sensed(1, 0.111, 9), sensed(2, 0.132, 5)],
        "ans_final": {layer: 0.123 * (n + 1) for n, layer in enumerate(LAYERS)},
        "clean_accuracy": ACCURACY[name],
        "attacked_images": 450,
        "attacked_clean_accuracy": ACCURACY[name],
        "paper": paper,
        "strong": strong,
        "gate": {
            "verdict": "passes",
            "zero_gradient_share": 0.0,
            "accuracy_at_0.5": 0.01,
            "rows": [row],
            "longer": {"epsilon": 0.1, "before": 0.75, "after": 0.74},
            "absent": {"transfer_seed": "it was not given"},
        },
    } | deepcopy(cost(name))


def summary() -> dict[str, Any]:
    return {
        "schema": "quanos.summary/1",
        "dataset": "digits",
        "model": "vgg-small",
        "input_shape": list(SHAPE),
        "classes": 10,
        "seed": 7,
        "table_sha256": EnergyTable.load().sha256,
        "seconds": {"train": 1.0, "evaluate": 1.0},
        "columns": {name: column(name) for name in BITS},
    }


def write_run(folder: Path, content: Any) -> Path:
    """A run folder as `quanos train` leaves it, with `content` as its summary."""
    lines = [
        json.dumps({"epoch": e, "loss": 0.5, "test_accuracy": 0.9 + e / 100}) for e in (1, 2, 3)
    ]
    for place in (folder, folder / "16"):
        place.mkdir(parents=True)
        (place / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "config.toml").write_text('dataset = "digits"\nlr = 0.1234\n')
    origin = {"commit": "0123abcd", "seed": 7, "versions": {"torch": "2.13.0"}, "finished": "now"}
    (folder / "run.json").write_text(json.dumps(origin))
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "summary.json").write_text(text)
    return folder

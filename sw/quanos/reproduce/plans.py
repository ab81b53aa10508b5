"""The experiments: what each runs at which scale, from `experiments/NAME.toml`.

A file has `title`, `fills` (the tables and figures that it gives), `place` in the queue, optionally
`seeds` and `alone` (run only where it is named), keys of the configuration that hold at every scale
in `common`, and a table per scale, `cpu`, `fast` or `full`, with a `preset` and keys before it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from quanos.config import Config, ConfigError, override, preset

SCALES = ("cpu", "fast", "full")
FOLDER = resources.files("quanos").joinpath("reproduce", "experiments")

SMOKE = {
    "epochs": 2,
    "sense_epoch": 1,
    "rounds": 1,
    "batch_size": 4,
    "warmup_epochs": 0.0,
    "ans_images": 2,
    "attack_images": 2,
    "watch_images": 2,
    "adversarial_epoch": 1,
    "adversarial_steps": 1,
    "fgsm_epsilons": [0.1],
    "pgd_epsilons": [0.1],
    "pgd_steps": 1,
    "strong_steps": 1,
    "strong_restarts": 1,
    "apgd_steps": 1,
    "apgd_targets": 1,
    "square_queries": 1,
    "threads": 1,
}
"""One step of everything: whether it runs, not what comes out."""

SMOKE_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment; `scales` holds the keys of its configuration, with its preset, by scale."""

    name: str
    title: str
    fills: tuple[str, ...]
    place: int
    seeds: tuple[int, ...]
    alone: bool
    scales: dict[str, dict[str, Any]]

    def config(self, scale: str, seed: int, *, data_dir: str = "", smoke: bool = False) -> Config:
        """The configuration of one run. Raises ConfigError for keys that cannot be."""
        keys = dict(self.scales[scale])
        base = preset(keys.pop("preset"))
        own = {"seed": seed, "data_dir": data_dir}
        if smoke:
            held_out = {"validation_images": 2} if keys.get("validation_images") else {}
            own |= SMOKE | held_out
        return override(base | keys | own, f"experiment {self.name}")


def experiments() -> dict[str, Experiment]:
    """All experiments by name, in the order of the queue."""
    files = sorted(item.name for item in FOLDER.iterdir() if item.name.endswith(".toml"))
    found = [_read(name.removesuffix(".toml")) for name in files]
    return {item.name: item for item in sorted(found, key=lambda item: (item.place, item.name))}


def _read(name: str) -> Experiment:
    keys = tomllib.loads(FOLDER.joinpath(f"{name}.toml").read_text("utf-8"))
    common = keys.get("common", {})
    return Experiment(
        name=name,
        title=keys["title"],
        fills=tuple(keys["fills"]),
        place=keys["place"],
        seeds=tuple(keys.get("seeds", (0,))),
        alone=keys.get("alone", False),
        scales={scale: common | keys[scale] for scale in SCALES if scale in keys},
    )


def chosen(scale: str, only: list[str]) -> list[Experiment]:
    """The experiments of a scale, or those of them that are named. Raises ConfigError otherwise."""
    there = {name: item for name, item in experiments().items() if scale in item.scales}
    if unknown := [name for name in only if name not in there]:
        raise ConfigError(
            f"scale {scale} has no experiment {unknown[0]!r}; it has {', '.join(there)}."
        )
    return [item for name, item in there.items() if name in only or not (only or item.alone)]

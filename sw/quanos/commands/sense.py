"""`quanos sense`: what a policy goes by, measured of every layer of a trained network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from quanos.cli import print_json

if TYPE_CHECKING:
    from torch import nn

    from hw.plan import Plan
    from quanos.ablation import Ablation
    from quanos.config import Config
    from quanos.data import Split
    from quanos.sensing.measurement import Measurement


@dataclass(frozen=True, kw_only=True)
class Sense:
    """Measure every layer on training images: ANS (Eq. 2 of the paper) under FGSM, the density of
    activations, the Hessian's trace, or Lipschitz constants; each is for the policy of its name.

    Example: quanos sense runs/digits --out ans.json --figure ans.svg
    """

    network: tyro.conf.Positional[Path]
    """Run folder or checkpoint."""
    measure: Literal["ans", "activation-density", "hessian", "lipschitz"] = "ans"
    """What to measure: adversarial noise sensitivity, share of activations that are not zero, trace
    of the loss's Hessian, or Lipschitz constant."""
    ablation: bool = False
    """Measure the accuracy under FGSM with part of each layer's units clamped to zero instead
    (Fig. 1(b) of the paper)."""
    images: int | None = None
    """Training images; without it as many as in the run."""
    epsilon: float | None = None
    """Epsilon of FGSM, pixels in [0, 1]; without it the run's."""
    eps_space: Literal["pixel", "normalized"] = "pixel"
    """What epsilon counts: pixels in [0, 1], or values after the data set's normalisation."""
    reduction: Literal["sample", "images"] | None = None
    """ANS as one norm over all images (sample), or as the mean over images of each one's ratio;
    without it the run's."""
    data_dir: Path | None = None
    """Folder of the data set's files; without it the run's."""
    seed: int = 0
    """Seed of what is drawn by chance (hessian, ablation)."""
    out: Path | None = None
    """File to write the measurement to, for quanos assign."""
    figure: Path | None = None
    """File to draw the measurement to, as SVG; without it beside --out."""
    plan: bool = False
    """Say what would be done and how long it may take, and stop."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Measure, and print, write and draw the result."""
        from quanos.config import LARGEST_SEED, override
        from quanos.data import load_dataset
        from quanos.storage.checkpoint import load_network

        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"--seed must be from 0 to {LARGEST_SEED}, not {self.seed}.")
        model, meta = load_network(self.network)
        given = {
            "ans_images": self.images,
            "ans_epsilon": self.epsilon,
            "ans_reduction": self.reduction,
            "data_dir": str(self.data_dir) if self.data_dir else None,
        }
        keys = meta["config"] | {name: value for name, value in given.items() if value is not None}
        config = override(keys, "command line")
        split = load_dataset(config.dataset, config.data_path).train.first(config.ans_images)
        about = {
            "bits": meta["bits"],
            "model": config.model,
            "input_shape": meta["input_shape"],
            "classes": meta["classes"],
            "epoch": meta["epoch"],
            "epsilon": config.ans_epsilon,
            "eps_space": self.eps_space,
            "seed": self.seed,
            "images": len(split),
        }
        if self.plan:
            self._plan(model, split, config).give(as_json=self.json)
        elif self.ablation:
            self._ablate(model, split, config, about)
        else:
            self._measure(model, split, config, about)

    def _plan(self, model: nn.Module, split: Split, config: Config) -> Plan:
        from quanos.training.planning import sample_plan

        work = self._rows if self.ablation else self._found
        return sample_plan(
            lambda count: work(model, split.first(count), config),
            len(split),
            "ablation" if self.ablation else self.measure,
            [path for path in (self.out, self._figure_path()) if path],
        )

    def _found(self, model: nn.Module, split: Split, config: Config) -> Measurement:
        from quanos.attacks import fgsm
        from quanos.sensing.sensitivities import measure

        return measure(
            self.measure,
            model,
            split.batches(256),
            attack=replace(fgsm(config.ans_epsilon), eps_space=self.eps_space),
            reduction=config.ans_reduction,
            seed=self.seed,
        )

    def _rows(self, model: nn.Module, split: Split, config: Config) -> list[Ablation]:
        from quanos.ablation import ablate
        from quanos.attacks import fgsm

        attack = replace(fgsm(config.ans_epsilon), eps_space=self.eps_space)
        return ablate(model, split.batches(256), attack, seed=self.seed)

    def _measure(
        self, model: nn.Module, split: Split, config: Config, about: dict[str, Any]
    ) -> None:
        from quanos.sensing.figures import measurement_figure

        found = self._found(model, split, config)
        options = {"reduction": config.ans_reduction} if self.measure == "ans" else {}
        self._give(found.to_json() | about | options, measurement_figure(found))
        if not self.json:
            for name, value in found.layers.items():
                print(f"{name:32} {self.measure} {value:.4g}   {about['bits'][name]:2} bit")

    def _ablate(
        self, model: nn.Module, split: Split, config: Config, about: dict[str, Any]
    ) -> None:
        from dataclasses import asdict

        from quanos.sensing.figures import ablation_figure

        rows = self._rows(model, split, config)
        content = {"schema": "quanos.ablation/1", "rows": [asdict(row) for row in rows]}
        self._give(content | about, ablation_figure(rows))
        if not self.json:
            for row in rows:
                print(
                    f"{row.layer:32} {row.order:9} {100 * row.fraction:3.0f} % of {row.units:4} "
                    f"units: {100 * row.accuracy:6.2f} % under FGSM"
                )

    def _give(self, content: dict[str, Any], drawing: str) -> None:
        from quanos.run import write_json, write_text

        if self.out:
            write_json(self.out, content)
        if place := self._figure_path():
            write_text(place, drawing)
        if self.json:
            print_json(content)

    def _figure_path(self) -> Path | None:
        return self.figure or (self.out.with_suffix(".svg") if self.out else None)

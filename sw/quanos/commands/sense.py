"""`quanos sense`: the adversarial noise sensitivity of every layer of a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from quanos.cli import print_json


@dataclass(frozen=True, kw_only=True)
class Sense:
    """Measure every layer's ANS (Eq. 2 of the paper) on training images, under FGSM.

    Example: quanos sense runs/digits --out ans.json
    """

    network: tyro.conf.Positional[Path]
    """Run folder or checkpoint."""
    images: int | None = None
    """Training images; without it as many as in the run."""
    epsilon: float | None = None
    """Epsilon of FGSM, pixels in [0, 1]; without it the run's."""
    reduction: Literal["sample", "images"] | None = None
    """One norm over all images, or the mean over images of each one's ratio."""
    data_dir: Path | None = None
    """Folder of the data set's files; without it the run's."""
    out: Path | None = None
    """File to write the measurement to, for quanos assign."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Measure, and print or write the result."""
        from quanos.checkpoint import load_network
        from quanos.config import override
        from quanos.data import load_dataset
        from quanos.run import write_json
        from quanos.trainer import sense

        model, meta = load_network(self.network)
        given = {
            "ans_images": self.images,
            "ans_epsilon": self.epsilon,
            "ans_reduction": self.reduction,
            "data_dir": str(self.data_dir) if self.data_dir else None,
        }
        keys = meta["config"] | {name: value for name, value in given.items() if value is not None}
        config = override(keys, "command line")
        ans = sense(model, load_dataset(config.dataset, config.data_path).train, config)
        result: dict[str, Any] = {
            "ans": ans,
            "bits": meta["bits"],
            "model": config.model,
            "input_shape": meta["input_shape"],
            "classes": meta["classes"],
            "epoch": meta["epoch"],
            "epsilon": config.ans_epsilon,
            "images": config.ans_images,
            "reduction": config.ans_reduction,
        }
        if self.out:
            write_json(self.out, result)
        if self.json:
            print_json(result)
        else:
            for name, value in ans.items():
                print(f"{name:32} ANS {value:.4f}   {meta['bits'][name]:2} bit")

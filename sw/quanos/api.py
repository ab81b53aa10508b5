"""The whole flow for a module of your own, in one call: bits, training, verdict, energy.

    data = quanos.image_folder("shapes")
    run = quanos.train(net, data, "runs/net", epochs=12, sense_epoch=4, mean_bits=5)
    print(run)

`run.model` is the trained hybrid network. The folder is one of `quanos train`; for commands that
read it (`quanos report` does without) register the network under the name of its class.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from flows.table import EnergyTable
from quanos.adversary.ledger import Ledger, fingerprint
from quanos.attacks import evaluating
from quanos.config import Config, override
from quanos.data import Dataset, load_dataset
from quanos.models import MODELS, register
from quanos.reporting.summary_table import summary_table
from quanos.results import PASSES, Run, read_run
from quanos.robustness import Evaluation, evaluate
from quanos.storage.checkpoint import load_network
from quanos.training.experiment import run_experiment


@dataclass(frozen=True)
class Trained:
    """A trained hybrid network, in evaluation mode on the CPU, and the run that it comes from."""

    model: nn.Module
    run: Run

    @property
    def bits(self) -> dict[str, int]:
        """Bits by layer."""
        return self.run.main.bits

    @property
    def clean_accuracy(self) -> float:
        """On all test images, 0..1."""
        return self.run.main.clean_accuracy

    @property
    def verdict(self) -> str:
        """The gate's: `passes`, or `masked: reason`."""
        return self.run.main.gate.verdict

    @property
    def robust_accuracy(self) -> dict[float, float] | None:
        """Epsilon -> accuracy in the worst case, 0..1; None where gradients are masked."""
        if self.verdict != PASSES:
            return None
        return {row.epsilon: row.accuracy for row in self.run.main.worst_case}

    def energy_mj(self, scheme: str = "dvafs", supply: str = "nominal") -> float:
        """Energy of one image on a MAC, measured reading. Raises ValueError for one not priced."""
        prices = self.run.main.prices
        key = (scheme, "measured", supply)
        if key not in prices:
            there = sorted({f"{one} {voltage}" for one, _, voltage in prices if one != "standard"})
            raise ValueError(
                f"there is no price for {scheme} {supply}; there are {', '.join(there)}."
            )
        return prices[key].energy_mj

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=100).print(summary_table(self.run.summary))
        return text.getvalue()


def train(
    model: nn.Module | str,
    data: Dataset | str,
    out: Path | str,
    *,
    table: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **keys: Any,
) -> Trained:
    """Algorithm 1 on `model` and its baselines, attacked by both protocols, judged and priced.

    `model` takes images (B, C, H, W) in [0, 1], normalises inside and gives logits (B, classes). It
    stays as it is; every network of the run starts from its weights. A name is one of the zoo's or
    a registered one. `data` is a data set (`dataset`, `image_folder`, `load_dataset`) or the name
    of one, `out` the run folder, `keys` are those of the configuration (`quanos train --help`).
    With `resume` a run that was cut off goes on, given the same arguments.

    Raises ValueError, with what is allowed, for a model that cannot be quantized or does not fit
    the data, unknown keys, and a folder that is in use or holds another run.
    """
    given = load_dataset(data, _folder_of(keys)) if isinstance(data, str) else _checked(data)
    config = override({**keys, "dataset": given.name, "model": _named(model, given)}, "train")
    run_experiment(
        config,
        Path(out),
        EnergyTable.load(table),
        resume=resume,
        overwrite=overwrite,
        command=f"quanos.train({config.model!r}, {given.name!r}, ...)",
        data=given,
    )
    return Trained(load_network(Path(out))[0], read_run(Path(out)))


def _checked(data: object) -> Dataset:
    """`data` itself; ValueError for what is no data set of ours."""
    if not isinstance(data, Dataset):
        raise ValueError(
            f"data must be a data set, not {type(data).__name__}; make one with quanos.dataset, "
            "quanos.image_folder or quanos.load_dataset."
        )
    return data


def _instance(model: object) -> None:
    """ValueError for what is no module, such as its class."""
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise ValueError(f"the model must be an nn.Module, not {what}; make one of it first.")


def _folder_of(keys: Mapping[str, Any]) -> Path | None:
    return Path(keys["data_dir"]) if keys.get("data_dir") else None


def _named(model: nn.Module | str, data: Dataset) -> str:
    """The model's name; a module goes by that of its class from here on."""
    if isinstance(model, str):
        return model
    _check(model, data)
    name = type(model).__name__
    if name in MODELS:
        raise ValueError(
            f"the network {name!r} comes with the package; give the class another name."
        )
    own = copy.deepcopy(model).cpu()
    register(name)(lambda shape, classes: copy.deepcopy(own))
    return name


def _check(model: nn.Module, data: Dataset) -> None:
    """ValueError for a module that does not give a logit for each class."""
    _instance(model)
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    images = data.train.images(slice(0, 2)).to(place)
    try:
        with torch.no_grad(), evaluating(model):
            logits = model(images)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the model cannot take images {tuple(images.shape)}: {reason}") from None
    wanted = (len(images), data.classes)
    if not isinstance(logits, torch.Tensor) or logits.shape != wanted:
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(
            f"the model must give logits {wanted} for {len(images)} images of {data.classes} "
            f"classes, not {shape}; wrap it in a module whose forward gives the logits alone."
        )
    if bool((logits >= 0).all()) and torch.allclose(
        logits.sum(1), torch.ones(len(logits)).to(place)
    ):
        raise ValueError("the model gives probabilities; leave the softmax out: logits are asked.")


def attack(
    model: nn.Module,
    data: Dataset,
    *,
    twin: nn.Module | None = None,
    other_seed: nn.Module | None = None,
    part: Path | None = None,
    **keys: Any,
) -> Evaluation:
    """Both protocols on the test images of `data`, and the gate's verdict, for any network.

    `model` takes images (B, C, H, W) in [0, 1] and gives logits (B, classes); it stays as it is.
    `twin` is the same network at 16 bits, `other_seed` from another seed: transfer attacks are made
    on those that are given. `keys` are those of the configuration (`attack_images`,
    `strong_steps`, ...). With `part` every attack that was made is kept in that file until all are,
    and after a kill the same call goes on. Raises ValueError for unknown keys.
    """
    config: Config = override(keys, "attack")
    _check(model, _checked(data))
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    split = data.test.first(config.attack_images).to(place)
    about = fingerprint([model, twin, other_seed], config, split.codes) if part else ""
    ledger = Ledger(part, about)
    result = evaluate(
        model,
        split,
        config,
        classes=data.classes,
        twin=twin,
        other_seed=other_seed,
        ledger=ledger,
    )
    ledger.remove()
    return result

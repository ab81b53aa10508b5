"""A network under evaluation, with all that the attacks on it share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from quanos.accuracy import subset, under_attack
from quanos.adversary.ledger import Ledger
from quanos.attacks import Attack
from quanos.config import Config
from quanos.data import Split


@dataclass(frozen=True)
class Subject:
    """The network `model`, and the images of `split` that it is attacked on.

    `clean` (N,) says which of them it has right, `others` are the networks that adversarial images
    may be made on, by name, and `ledger` knows what was made before.
    """

    model: nn.Module
    split: Split
    clean: Tensor
    config: Config
    others: Mapping[str, nn.Module]
    ledger: Ledger

    def withstood(
        self,
        name: str,
        attack: Attack,
        tried: Tensor | None = None,
        *,
        twin: str | None = None,
        reseed: int = 0,
    ) -> Tensor:
        """Which of the images that `tried` (N,) picks (default: all) withstand `attack`.

        Made once under its `name`, with the run's seed plus `reseed`, on the `twin` where one is
        named; see `quanos.adversary.twins`.
        """
        some = self.split if tried is None else subset(self.split, tried)
        make = partial(
            under_attack,
            self.model,
            some,
            attack,
            seed=self.config.seed + reseed,
            source=self.others.get(twin or ""),
            twin=twin,
            batch=self.config.attack_batch,
        )
        return self.ledger.once(name, make)

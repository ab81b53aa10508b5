"""`quanos assign`: a measurement and a policy become bits per layer, with their price."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from quanos.cli import print_json


@dataclass(frozen=True, kw_only=True)
class Assign:
    """Turn what quanos sense measured into bits per layer, and say what they cost.

    Example: quanos assign ans.json --mean-bits 5 --out bits.json
    """

    measurement: tyro.conf.Positional[Path]
    """File that quanos sense --out wrote."""
    policy: Literal["ans", "uniform", "random"] = "ans"
    """Eq. 3 on ANS, the same bits everywhere, or Eq. 3 on numbers drawn by chance."""
    k0: int = 16
    """Bits of a layer with ANS zero."""
    mean_bits: float | None = None
    """Upper limit of the mean bits over layers."""
    seed: int = 0
    """Seed of policy random."""
    scheme: Literal["standard", "fixed", "dg", "dvafs", "dvafs_st"] = "standard"
    """MAC that the network is priced with."""
    table: Path | None = None
    """Energy table; without it the one that ships with the package."""
    out: Path | None = None
    """File to write the bits to, for quanos energy --bits."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Assign, price, and print or write the result."""
        from dataclasses import asdict

        from flows.table import EnergyTable
        from quanos.energy import model_energy, resolve_bits
        from quanos.jsonfile import read_json
        from quanos.models import build_model
        from quanos.policies import Budget, assign
        from quanos.run import write_json

        file = read_json(self.measurement)
        shape = [size.whole() for size in file["input_shape"]]
        model = build_model(file["model"].text(), shape, file["classes"].whole())
        ans = {name: value.number() for name, value in file["ans"].items()}
        own = {name: value for name, value in ans.items() if name not in model.feeds}
        budget = Budget(k0=self.k0, mean_bits=self.mean_bits, seed=self.seed)
        bits = resolve_bits(list(ans), assign(self.policy, own, budget), model.feeds)
        table = None if self.scheme == "standard" else EnergyTable.load(self.table)
        price = model_energy(model, shape, bits, scheme=self.scheme, table=table)
        result: dict[str, Any] = {"bits": bits, "policy": self.policy, "scheme": self.scheme}
        result |= {key: value for key, value in asdict(price).items() if key != "layers"}
        if self.out:
            write_json(self.out, result)
        if self.json:
            print_json(result)
            return
        for layer in price.layers:
            print(
                f"{layer.name:32} ANS {ans[layer.name]:.4f}   {layer.bits:2} bit"
                f"   {layer.energy_uj:10.4f} uJ   {layer.memory_bits:10} bit of weights"
            )
        print(f"mean {price.mean_bits:.2f} bit, {price.energy_mj:.4g} mJ ({self.scheme}),", end=" ")
        print(f"{price.memory_gbit:.4g} Gbit of weights")

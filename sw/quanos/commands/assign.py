"""`quanos assign`: a measurement and a policy become bits per layer, with their price."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from quanos.cli import print_json

if TYPE_CHECKING:
    from quanos.allocation.budgets import Budget
    from quanos.energy import LayerShape, MacEnergy, ModelEnergy
    from quanos.models import Network
    from quanos.sensing.measurement import Measurement


@dataclass(frozen=True, kw_only=True)
class Assign:
    """Turn what quanos sense measured into bits per layer, and say what they cost.

    With a budget the bits meet it as nearly as whole bits can, and never exceed it, whatever the
    policy; hessian and lipschitz need one.

    Example: quanos assign ans.json --budget-mean-bits 5 --out bits.json
    """

    measurement: tyro.conf.Positional[Path]
    """File that quanos sense --out wrote."""
    policy: Literal["ans", "lipschitz", "activation-density", "hessian", "uniform", "random"] = (
        "ans"
    )
    """ans: Eq. 3 of the paper on ANS; lipschitz: least loss by Lipschitz constants (after Song et
    al.); activation-density: k0 times the density; hessian: least loss by the Hessian's trace;
    uniform: the same bits everywhere; random: Eq. 3 on numbers drawn by chance."""
    k0: int = 16
    """Bits that the policy starts from, 1 to 32: those of a layer with ANS zero."""
    budget_mean_bits: Annotated[
        float | None, tyro.conf.arg(aliases=["--mean-bits"], help_behavior_hint="")
    ] = None
    """Budget: mean bits over layers."""
    budget_mj: float | None = None
    """Budget: energy of one image in mJ, by --scheme, --reading and --supply."""
    search: Literal["greedy", "exact"] = "greedy"
    """How hessian and lipschitz spend the budget: bit by bit, or with the least loss there is (an
    integer programme)."""
    seed: int = 0
    """Seed of policy random."""
    scheme: Literal["standard", "fixed", "dg", "dvafs", "dvafs_st"] = "standard"
    """MAC that the network is priced with: the paper's linear law (standard, needs no table),
    conventional (fixed), data-gated (dg), or subword-parallel with products apart (dvafs) or summed
    together (dvafs_st)."""
    reading: Literal["paper", "measured"] = "measured"
    """Eq. 5 as printed (the linear law times the energy relative to the conventional 16-bit MAC),
    or the measured energy of each MAC. Does not touch scheme standard."""
    supply: Literal["nominal", "scaled"] = "nominal"
    """Supply voltage: nominal, or the lowest that keeps the throughput."""
    table: Path | None = None
    """Energy table; without it the one that ships with the package."""
    out: Path | None = None
    """File to write the bits to, for quanos energy --bits."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Assign, price, and print or write the result."""
        from quanos.energy import layer_shapes, price, resolve_bits
        from quanos.models import skeleton
        from quanos.policies import assign
        from quanos.run import write_json
        from quanos.sensing.measurement import load

        measurement, file = load(self.measurement)
        shape = [size.whole() for size in file["input_shape"]]
        model = skeleton(file["model"].text(), shape, file["classes"].whole())
        mac = self._mac()
        shapes = layer_shapes(model, shape)
        budget = self._budget(shapes, mac, model)
        bits = assign(self.policy, measurement.without(model.feeds), budget)
        bits = resolve_bits([one.name for one in shapes], bits, model.feeds)
        cost = price(shapes, bits, mac, feeds=model.feeds)
        result = self._result(cost, bits, budget, model)
        if self.out:
            write_json(self.out, result)
        if self.json:
            print_json(result)
        else:
            self._print(cost, result, measurement)

    def _mac(self) -> MacEnergy:
        from flows.table import EnergyTable
        from quanos.energy import mac_energy

        table = None if self.scheme == "standard" else EnergyTable.load(self.table)
        return mac_energy(self.scheme, self.reading, table, supply=self.supply)

    def _budget(self, shapes: tuple[LayerShape, ...], mac: MacEnergy, model: Network) -> Budget:
        from quanos.allocation.budgets import Budget
        from quanos.energy import energy_costs

        return Budget(
            k0=self.k0,
            mean_bits=self.budget_mean_bits,
            energy_mj=self.budget_mj,
            costs_mj=None if self.budget_mj is None else energy_costs(shapes, mac, model.feeds),
            seed=self.seed,
            exact=self.search == "exact",
        )

    def _result(
        self, cost: ModelEnergy, bits: dict[str, int], budget: Budget, model: Network
    ) -> dict[str, Any]:
        """What is printed and written: bits, totals, and how much of the budget they use."""
        own = {name: k for name, k in bits.items() if name not in model.feeds}
        used = budget.total(own) / budget.limit if budget.limited else None
        setting: dict[str, str] = {"policy": self.policy, "search": self.search}
        setting |= {"scheme": self.scheme, "reading": self.reading}
        limits = {"mean_bits": self.budget_mean_bits, "energy_mj": self.budget_mj}
        return {
            "bits": bits,
            **setting,
            "supply": self.supply,
            "energy_mj": cost.energy_mj,
            "memory_gbit": cost.memory_gbit,
            "macs": cost.macs,
            "mean_bits": cost.mean_bits,
            "budget": {name: value for name, value in limits.items() if value is not None},
            "budget_used": used,
        }

    def _print(self, cost: ModelEnergy, result: dict[str, Any], measurement: Measurement) -> None:
        for layer in cost.layers:
            print(
                f"{layer.name:32} {measurement.kind} {measurement.layers[layer.name]:.4g}"
                f"   {layer.bits:2} bit   {layer.energy_uj:10.4f} uJ"
                f"   {layer.memory_bits:10} bit of weights"
            )
        print(f"mean {cost.mean_bits:.2f} bit, {cost.energy_mj:.4g} mJ ({self.scheme}),", end=" ")
        print(f"{cost.memory_gbit:.4g} Gbit of weights", end="")
        used = result["budget_used"]
        print("" if used is None else f", {100 * used:.1f} % of the budget")

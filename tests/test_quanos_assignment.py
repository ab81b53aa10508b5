"""Policies in a training run: each trains at the energy of the first network, from its epochs."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.table import EnergyTable
from quanos.allocation.assignment import energy_costs_mj
from quanos.config import Config, ConfigError, override
from quanos.policies import POLICIES
from quanos.trainer import train
from quanos.training.experiment import run_experiment

CONFIG = Config(
    epochs=2, sense_epoch=1, batch_size=64, warmup_epochs=1, ans_images=64, device="cpu", threads=1,
    mean_bits=5, attack_images=4, fgsm_epsilons=(0.1,), pgd_epsilons=(), baselines=tuple(POLICIES),
)  # fmt: skip


@pytest.fixture(scope="module")
def summary(tmp_path_factory) -> dict:
    folder: Path = tmp_path_factory.mktemp("runs") / "policies"
    return run_experiment(CONFIG, folder, EnergyTable.load(), limit=130)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_keeps_within_the_energy_of_the_first(summary, policy) -> None:
    def energy(column: str) -> float:
        point = ("dvafs", "measured", "nominal")
        rows = summary["columns"][column]["energy"]
        return next(
            r["energy_mj"] for r in rows if (r["scheme"], r["reading"], r["supply"]) == point
        )

    column = summary["columns"][policy]
    assert column["policy"] == policy
    assert energy(policy) <= energy("quanos") * (1 + 1e-9)
    assert energy(policy) > 0.5 * energy("quanos")
    assert column["rounds"][0]["ans"] == summary["columns"]["quanos"]["rounds"][0]["ans"]
    if policy == "ans":  # the same measurement and no less energy
        assert column["bits"] == summary["columns"]["quanos"]["bits"]


def test_policies_differ(summary) -> None:
    bits = {name: tuple(c["bits"].values()) for name, c in summary["columns"].items()}
    assert len({bits[name] for name in POLICIES}) >= 4


@pytest.mark.parametrize("scheme", ["standard", "fixed", "dg", "dvafs"])
def test_an_energy_limit_holds_in_its_scheme(tmp_path, scheme) -> None:
    from quanos.data import load_dataset

    data = load_dataset("digits").limit(130)
    state = train(replace(CONFIG, epochs=1), data, tmp_path, label="free")
    config = replace(CONFIG, epochs=1, mean_bits=0.0, energy_scheme=scheme)
    costs = energy_costs_mj(state.model, data.input_shape, config, None)
    limit = sum(row[5] for row in costs.values())  # that of 6 bits everywhere
    (limited := tmp_path / "limited").mkdir()
    found = train(replace(config, energy_mj=limit), data, limited, label="limited")
    spent = sum(costs[name][k - 1] for name, k in found.rounds[0]["bits"].items())
    assert 0.8 * limit < spent <= limit * (1 + 1e-9)


def test_two_budgets_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        override({"mean_bits": 5, "energy_mj": 0.1}, "here")


def test_columns_trained_together_are_those_trained_alone(tmp_path) -> None:
    config = replace(CONFIG, epochs=2, baselines=("16",))
    runs = {}
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        runs[jobs] = run_experiment(config, folder, EnergyTable.load(), limit=130, jobs=jobs)
        runs[jobs].pop("seconds")
    assert runs[1] == runs[2]

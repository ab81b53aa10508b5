"""Every policy in the training loop: its measurement, its budget, and its place in the round."""

import json
from pathlib import Path

import pytest
import torch

from quanos.allocation.assignment import energy_costs_mj
from quanos.config import ConfigError, override
from quanos.data import Dataset, Split, load_dataset
from quanos.layers import get_bits
from quanos.policies import KIND, POLICIES
from quanos.sensing.measurement import parse
from quanos.storage import checkpoint
from quanos.storage.jsonfile import parse_json
from quanos.trainer import train

KEYS = {
    "epochs": 1, "sense_epoch": 1, "ans_images": 16, "batch_size": 16, "device": "cpu",
    "threads": 1, "warmup_epochs": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load_dataset("digits")
    few = Split(digits.train.codes[:32], digits.train.labels[:32], 16)
    return Dataset("digits", few, digits.test.first(10), 10)


@pytest.mark.parametrize("limit", [{"mean_bits": 4.5}, {"energy_mj": 0.003}])
@pytest.mark.parametrize("policy", POLICIES)
def test_training_ends_within_the_budget(policy, limit, data: Dataset, tmp_path: Path) -> None:
    config = override(KEYS | limit | {"policy": policy, "quantizer": "lsq"}, "test")
    state = train(config, data, tmp_path, label=policy)
    bits = get_bits(state.model)
    if "mean_bits" in limit:
        spent = sum(bits.values()) / len(bits)
    else:
        costs = energy_costs_mj(state.model, data.input_shape, config, None)
        spent = sum(costs[name][k - 1] for name, k in bits.items())
    (allowed,) = limit.values()
    assert (0.5 if policy == "uniform" else 0.85) * allowed < spent <= allowed * (1 + 1e-9)
    (last,) = json.loads(json.dumps(state.rounds))
    assert last["bits"] == bits
    if KIND[policy] in (None, "ans"):
        assert "measured" not in last
    else:
        assert parse(parse_json(json.dumps(last["measured"]), "x")).kind == policy
    kept, _ = checkpoint.load_network(tmp_path)
    assert get_bits(kept) == bits
    images = data.test.images(torch.arange(4))
    with torch.no_grad():  # a learned step comes back for the bits that it was saved with
        assert torch.equal(kept(images), state.model.eval()(images))


@pytest.mark.parametrize("policy", ["hessian", "lipschitz"])
def test_a_policy_that_needs_a_budget_says_so_before_training(policy: str) -> None:
    with pytest.raises(ConfigError, match=f"policy {policy} needs a budget"):
        override(KEYS | {"policy": policy}, "test")

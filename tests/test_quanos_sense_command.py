"""`quanos sense` and `quanos assign` by their files: kinds, policies, figures, refusals."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch

from quanos import cli
from quanos.ablation import ablate, clamped, unit_sensitivity
from quanos.ans import activations
from quanos.attacks import fgsm
from quanos.config import override
from quanos.data import load_dataset
from quanos.layers import quantized_layers
from quanos.policies import KIND, POLICIES
from quanos.sensing.measurement import KINDS
from quanos.storage.checkpoint import NAME
from quanos.training import state as states


def quanos(*words: str) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main(words)
    return int(leave.value.code or 0)


def untrained(folder: Path, **keys: Any) -> Path:
    """The run folder of an untrained network of digits, quantizers started."""
    config = override({"ans_images": 24, "device": "cpu"} | keys, "test")
    data = load_dataset("digits", None)
    state = states.fresh(config, data)
    state.model(data.train.images(torch.arange(32)))
    states.save(folder / NAME, state, config, data)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("run"), model="resnet-small")


@pytest.fixture(scope="module")
def measured(network: Path) -> dict[str, Path]:
    files = {kind: network / f"{kind}.json" for kind in KINDS}
    for kind, path in files.items():
        assert quanos("sense", str(network), "--measure", kind, "--out", str(path)) == 0
    return files


@pytest.mark.parametrize("kind", KINDS)
def test_sense_writes_a_measurement_and_a_figure(kind: str, measured: dict[str, Path]) -> None:
    content = json.loads(measured[kind].read_text())
    assert (content["schema"], content["kind"]) == ("quanos.measurement/1", kind)
    assert list(content["layers"]) == list(content["bits"])
    assert content["images"] == 24
    drawing = ET.parse(measured[kind].with_suffix(".svg")).getroot()
    titles = [one.text or "" for one in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert [text.partition(":")[0] for text in titles] == list(content["layers"])


@pytest.mark.parametrize("limit", [("--budget-mean-bits", "5"), ("--budget-mj", "0.004")])
@pytest.mark.parametrize("policy", POLICIES)
def test_assign_meets_the_budget_and_says_what_it_costs(policy, limit, measured, capsys) -> None:
    path = measured[KIND[policy] or "ans"]
    words = ("assign", str(path), "--policy", policy, "--scheme", "dvafs", *limit)
    assert quanos(*words, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    spent = result["mean_bits"] if "mean_bits" in result["budget"] else result["energy_mj"]
    assert spent == pytest.approx(float(limit[1]) * result["budget_used"])
    assert result["budget_used"] <= 1 + 1e-9
    if policy != "uniform":
        assert result["budget_used"] > 0.9
    bits = path.with_name("bits.json")
    assert quanos(*words, "--out", str(bits)) == 0
    assert "of the budget" in capsys.readouterr().out
    priced = ("--model", "resnet-small", "--input", "1", "8", "8", "--scheme", "dvafs", "--json")
    assert quanos("energy", *priced, "--bits", str(bits)) == 0
    assert json.loads(capsys.readouterr().out)["energy_mj"] == pytest.approx(result["energy_mj"])


def test_a_shortcut_gets_the_bits_of_the_layer_that_it_feeds(measured, capsys) -> None:
    assert quanos("assign", str(measured["ans"]), "--budget-mean-bits", "6", "--json") == 0
    bits = json.loads(capsys.readouterr().out)["bits"]
    shortcut = next(name for name in bits if "shortcut" in name)
    assert bits[shortcut] == bits[shortcut.replace("shortcut.0", "branch.3")]


@pytest.mark.parametrize(
    ("kind", "words", "complaint"),
    [
        ("ans", ["--policy", "hessian"], "needs a measurement of hessian, and this one is of ans"),
        ("hessian", ["--policy", "hessian"], "policy hessian needs a budget"),
        ("ans", ["--budget-mj", "1e-9"], "the least this network can cost is"),
        ("ans", ["--budget-mj", "1", "--budget-mean-bits", "4"], "not in both"),
        ("ans", ["--budget-mean-bits", "0.5"], "from 1 to 16, not 0.5"),
    ],
)
def test_what_cannot_be_assigned_is_one_sentence(kind, words, complaint, measured, capsys) -> None:
    assert quanos("assign", str(measured[kind]), *words) == 2
    out, err = capsys.readouterr()
    assert complaint in err
    assert out == ""
    assert err.count("\n") == 1


def test_a_file_of_something_else_is_refused(network: Path, capsys) -> None:
    path = network / "other.json"
    path.write_text('{"ans": {"a": 1}}')
    assert quanos("assign", str(path)) == 2
    assert "is no measurement of this version" in capsys.readouterr().err


def test_epsilon_after_normalisation_moves_less_than_in_pixels(network: Path, capsys) -> None:
    values = []
    for space in ("pixel", "normalized"):
        assert quanos("sense", str(network), "--eps-space", space, "--json") == 0
        content = json.loads(capsys.readouterr().out)
        assert content["eps_space"] == space
        values.append(content["layers"]["features.0"])
    assert values[1] < 0.5 * values[0]


def test_the_ablation_command_writes_rows_and_a_figure(network: Path, capsys) -> None:
    path = network / "ablation.json"
    assert quanos("sense", str(network), "--ablation", "--images", "8", "--out", str(path)) == 0
    content = json.loads(path.read_text())
    assert len(content["rows"]) == 1 + 9 * 2 * 3
    assert "units" in capsys.readouterr().out
    assert "most sensitive units" in path.with_suffix(".svg").read_text()


def test_clamped_units_are_zero_inside_and_back_outside(network: Path) -> None:
    from quanos.storage.checkpoint import load_network

    model, _ = load_network(network)
    x = torch.rand(3, 1, 8, 8)
    before = model(x)
    name = list(quantized_layers(model))[1]
    mask = (torch.arange(16) % 2).float()
    with clamped(model, {name: mask}):
        seen = activations(model, x)
        assert not torch.equal(model(x), before)
        images = x.clone().requires_grad_()
        model(images).sum().backward()  # the gradient passes the clamp, for the attack
        assert images.grad.abs().sum() > 0
    assert torch.equal(model(x), before)
    free = activations(model, x)
    assert torch.equal(seen[next(iter(free))], free[next(iter(free))])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_ablation_of_nothing_changes_nothing_and_of_all_units_leaves_chance(network: Path) -> None:
    from quanos.storage.checkpoint import load_network

    model, _ = load_network(network)
    x, labels = torch.rand(8, 1, 8, 8), torch.arange(8) % 10
    rows = ablate(model, [(x, labels)], fgsm(0.05), fractions=(0.0, 1.0))
    whole = rows[0].accuracy
    assert all(row.accuracy == whole for row in rows if row.fraction == 0)
    stem = [row for row in rows if row.layer == "features.0" and row.fraction == 1]
    assert len({row.accuracy for row in stem}) == 1
    assert [row.units for row in stem] == [16, 16]
    sensitivity = unit_sensitivity(model, [(x, labels)], fgsm(0.05))
    assert all((value >= 0).all() for value in sensitivity.values())
    with pytest.raises(ValueError, match="from 0 to 1, not 2"):
        ablate(model, [(x, labels)], fractions=(2.0,))
    with pytest.raises(ValueError, match="at least one image"):
        ablate(model, [])

"""A module and images of one's own through everything, by one call each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

import quanos
from quanos import models
from quanos.adversary.ledger import Ledger
from quanos.data import DataError, Dataset

FEW: dict[str, Any] = {
    "epochs": 2,
    "sense_epoch": 1,
    "warmup_epochs": 1.0,
    "threads": 1,
    "device": "cpu",
    "baselines": ("16",),
    "batch_size": 16,
    "ans_images": 16,
    "fgsm_epsilons": (0.1,),
    "pgd_epsilons": (0.05,),
    "pgd_steps": 1,
    "strong_steps": 2,
    "strong_restarts": 1,
    "apgd_steps": 0,
    "square_queries": 0,
}


class Small(nn.Module):
    """Two convolutions of odd sizes, of which nobody registered anything."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 5, 3, padding=1)
        self.tip = nn.Conv2d(5, 4, 2, stride=2)
        self.verdict = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.tip(torch.relu(self.stem(x - 0.5))))
        return self.verdict(y.mean((2, 3)))


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(models, "_ZOO", dict(models._ZOO))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(count)
    return torch.rand(count, 2, 7, 9), torch.arange(count) % 3


def shapes() -> Dataset:
    return quanos.dataset(images(48), images(12))


def test_three_lines_train_judge_and_price_a_module(tmp_path: Path) -> None:
    net, data = Small(), shapes()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run = quanos.train(net, data, tmp_path / "run", **FEW)
    print(run)
    assert set(run.bits) == {"stem", "tip"}
    assert run.bits == quanos.get_bits(run.model)
    assert 0 <= run.clean_accuracy <= 1
    masked = run.verdict != "passes"
    assert (run.robust_accuracy is None) == masked
    if not masked:
        assert list(run.robust_accuracy) == [0.05]
    sixteen = run.run.baselines[0].prices["dvafs", "measured", "nominal"].energy_mj
    assert 0 < run.energy_mj() <= sixteen
    with pytest.raises(ValueError, match=r"no price for analog nominal; .*dvafs nominal"):
        run.energy_mj("analog")
    assert run.verdict[:6] in str(run)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    again = quanos.train(net, data, tmp_path / "run", resume=True, **FEW)
    assert again.run.columns == run.run.columns


def test_the_example_of_the_documentation_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "training.md"
    code = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    train = quanos.train
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quanos, "image_folder", lambda path: shapes(), raising=False)
    monkeypatch.setattr(quanos, "train", lambda *a, **k: train(*a, **FEW | k), raising=False)
    known = {"net": Small()}
    exec(code, known)
    assert "gate" in capsys.readouterr().out
    run = known["run"]
    assert sum(run.bits.values()) / 2 <= 5
    wanted = ("model", "bits", "clean_accuracy", "verdict", "robust_accuracy", "energy_mj", "run")
    assert all(hasattr(run, name) and f"run.{name}" in page.read_text() for name in wanted)


def test_training_starts_from_the_weights_that_the_module_has(tmp_path: Path) -> None:
    net = Small()
    run = quanos.train(net, shapes(), tmp_path / "run", **FEW | {"lr": 0.0, "baselines": ()})
    weights = dict(run.model.named_parameters())
    assert all(torch.equal(weights[name], value) for name, value in net.named_parameters())


def test_a_zoo_network_keeps_the_statistics_that_it_was_built_with(tmp_path: Path) -> None:
    net = quanos.build_model("vgg-small", (2, 7, 9), 3, mean=[0.1, 0.2], std=[0.3, 0.4])
    run = quanos.train(net, shapes(), tmp_path / "run", **FEW | {"baselines": ()})
    assert torch.equal(run.model.normalize.mean, net.normalize.mean)


def test_any_network_is_judged(tmp_path: Path) -> None:
    keys = {name: value for name, value in FEW.items() if "s" in name and name != "baselines"}
    net = Small()
    model = quanos.quantize(net, 4, example=torch.rand(2, 2, 7, 9))
    result = quanos.attack(model, shapes(), twin=net, **keys)
    assert result.verdict == result.gate["verdict"]
    assert list(result.gate["absent"]) == ["transfer_seed"]
    masked = result.verdict != "passes"
    assert (result.robust_accuracy is None) == masked
    kill = patch.object(Ledger, "remove", side_effect=KeyboardInterrupt)
    with kill, pytest.raises(KeyboardInterrupt):
        quanos.attack(model, shapes(), twin=net, part=tmp_path / "part", **keys)
    with patch("quanos.robustness.under_attack", side_effect=AssertionError("made twice")):
        again = quanos.attack(model, shapes(), twin=net, part=tmp_path / "part", **keys)
    assert again == result
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda out: quanos.train(Small(4), shapes(), out),
            r"logits \(2, 3\) for 2 images of 3 classes, not \(2, 4",
        ),
        (lambda out: quanos.train(Small, shapes(), out), "not the class Small"),
        (
            lambda out: quanos.train(nn.Sequential(Small(), nn.Softmax(1)), shapes(), out),
            "gives probabilities; leave the softmax out",
        ),
        (lambda out: quanos.train(Small(), images(3), out), "not tuple; make one with quanos.dat"),
        (lambda out: quanos.attack(Small(), images(3)), "not tuple; make one with quanos.dataset"),
        (lambda out: quanos.attack(Small(4), shapes()), r"not \(2, 4\); wrap it in a module"),
        (lambda out: quanos.train(nn.Linear(3, 3), shapes(), out), "cannot take images"),
        (lambda out: quanos.train(Small(), shapes(), out, epoch=3), "config key epoch is unknown"),
        (lambda out: quanos.train(Small(), "tensors", out), "handed over in Python"),
        (lambda out: quanos.attack(Small(), shapes(), steps=3), "config key steps is unknown"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_nothing_written(tmp_path: Path, call, words) -> None:
    with pytest.raises(ValueError, match=words):
        call(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_images_come_as_tensors_arrays_or_pairs() -> None:
    x, y = images(6)
    pairs = torch.utils.data.TensorDataset(x, y)
    arrays = ((x * 255).round().byte().numpy(), y.numpy())
    found = [quanos.dataset(given, given) for given in ((x, y), pairs, arrays)]
    assert all(torch.equal(one.train.codes, found[0].train.codes) for one in found)
    assert found[0].classes == 3
    assert (found[0].train.images() - x).abs().max() <= 0.5 / 255 + 1e-6
    assert quanos.dataset(arrays, arrays, classes=7).classes == 7


@pytest.mark.parametrize(
    ("train", "classes", "words"),
    [
        (
            (torch.rand(3, 2, 7, 9) - 0.5, torch.zeros(3)),
            0,
            r"floats in \[0, 1\], not float32 from -.*; normalise inside",
        ),
        ((torch.full((3, 2, 7, 9), 200.0), torch.zeros(3)), 0, "divide them by 255"),
        ((torch.zeros(3, 8, 8, 3), torch.zeros(3)), 0, r"images\.permute\(0, 3, 1, 2\)"),
        ((torch.zeros(3, 2, 7, 9), torch.eye(3)), 0, r"labels\.argmax\(1\)"),
        ((torch.zeros(3, 2, 7, 9), torch.zeros(3, 1)), 0, r"labels\[:, 0\]"),
        ((torch.zeros(3, 2, 7, 9), torch.full((3,), 0.5)), 0, "some are no whole numbers"),
        (torch.utils.data.DataLoader([]), 0, r"loader\.dataset"),
        ((torch.full((3, 2, 7, 9), float("nan")), torch.zeros(3)), 0, "train: images must be"),
        ((torch.zeros(3, 2, 7, 9, dtype=torch.int32), torch.zeros(3)), 0, "must be uint8"),
        ((torch.rand(3, 7, 9), torch.zeros(3)), 0, r"with labels.*images\[:, None\]"),
        ((torch.rand(3, 2, 7, 9), torch.zeros(2)), 0, r"not \(3, 2, 7, 9\) with \(2,\)"),
        ((torch.rand(3, 2, 7, 8), torch.zeros(3)), 0, "make them alike"),
        (
            (torch.rand(3, 2, 7, 9), torch.tensor([0, -1, 2])),
            0,
            "from 0 to classes - 1, not from -1 to 2",
        ),
        (images(3), 2, "labels must be from 0 to 1, not from 0 to 2"),
        ([], 0, "train must be images"),
    ],
)
def test_images_that_are_none_are_refused(train, classes: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        quanos.dataset(train, images(3), classes=classes)


def test_labels_that_count_from_one_are_refused_unless_meant() -> None:
    x, y = images(6)
    with pytest.raises(DataError, match=r"from 1 to 3; subtract 1, or say classes=4"):
        quanos.dataset((x, y + 1), (x, y + 1))
    data = quanos.dataset((x, y + 1), (x, y + 1), classes=4)
    assert data.classes == 4
    assert "train=Split(6 images of 2 x 7 x 9)" in repr(data)

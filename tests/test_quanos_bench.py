"""The bench of the training step: what it prints and writes, without saying how fast it is."""

import json
import sys
from pathlib import Path

import pytest

from quanos import bench_qat
from quanos.bench_qat import Row
from quanos.console.progress import Progress
from quanos.models import vgg_widths

SMALL = ["--model", "vgg-small", "--batch", "2", "--steps", "2"]


def test_ratios_are_taken_turn_by_turn() -> None:
    row = Row("x", quantized=(2.0, 30.0, 4.0), plain=(1.0, 10.0, 4.0))
    assert row.ratios == [1.0, 2.0, 3.0]
    assert row.median == 2.0
    assert "| x | 4000 | 4000 | **2.00** | 1.00 to 3.00 |" in bench_qat.table([row])


def test_the_page_has_every_quantizer_and_says_what_is_missing(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.delenv("QUANOS_BREVITAS", raising=False)
    out = tmp_path / "page.md"
    assert bench_qat.main([*SMALL, "--out", str(out)]) == 0
    assert "Brevitas was not measured" in capsys.readouterr().out
    text = out.read_text()
    for words in ("quanos, uniform", "quanos, lsq", "quanos, dorefa", "vgg-small", "4 bits"):
        assert words in text
    assert str(tmp_path) not in text


def test_the_plan_has_a_step_for_every_network_and_writes_nothing(tmp_path: Path, capsys) -> None:
    out = tmp_path / "page.md"
    words = [*SMALL, "--brevitas", "/no/such/python", "--out", str(out), "--plan", "--json"]
    assert bench_qat.main(words) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    names = [step["name"] for step in plan["steps"]]
    assert names == ["float", "uniform", "lsq", "dorefa", "Brevitas"]
    assert all(step["work"].startswith("4 steps of 2 images") for step in plan["steps"])
    assert plan["seconds"] == pytest.approx(sum(step["seconds"] for step in plan["steps"]))
    assert plan["writes"] == [str(out)]
    assert not out.exists()


def test_the_progress_comes_to_its_total(monkeypatch) -> None:
    seen, totals = [], []

    class Heard(Progress):
        def __init__(self, label: str, total: int) -> None:
            super().__init__(label, total, quiet=True)
            totals.append(total)

        def advance(self, amount: int, info: str = "") -> None:
            seen.append(amount)

    monkeypatch.setattr(bench_qat, "Progress", Heard)
    monkeypatch.delenv("QUANOS_BREVITAS", raising=False)
    assert bench_qat.main(SMALL) == 0
    assert sum(seen) == totals[0]


@pytest.mark.parametrize("python", [sys.executable, "/no/such/python"])
def test_an_environment_without_brevitas_is_one_sentence(python: str, capsys) -> None:
    assert bench_qat.main([*SMALL, "--brevitas", python]) == 2
    assert "Brevitas did not run with" in capsys.readouterr().err


def test_widths_are_those_of_the_zoo() -> None:
    assert vgg_widths("vgg11") == [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]

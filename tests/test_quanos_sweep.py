"""Sweeps: one folder a run, done once; and the Pareto fronts of what came out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quanos import pareto
from quanos.config import ConfigError, override, preset
from quanos.pareto import Point
from quanos.results import read_run
from quanos.sweep import perform, sweep, tasks

TINY = override(
    preset("digits")
    | {
        "epochs": 1, "sense_epoch": 1, "rounds": 1, "batch_size": 256, "ans_images": 16,
        "attack_images": 8, "fgsm_epsilons": [0.1], "pgd_epsilons": [0.1], "strong_steps": 1,
        "strong_restarts": 1, "apgd_steps": 1, "apgd_targets": 0, "square_queries": 1,
        "warmup_epochs": 0.0, "validation_images": 0, "mean_bits": 0.0,
    },
    "test",
)  # fmt: skip
NOMINAL = ("dvafs", "measured", "nominal")


def test_every_policy_meets_every_budget_with_every_seed() -> None:
    found = tasks(TINY, ["ans", "uniform"], [0, 1], mean_bits=[4, 5.5], energies_mj=[0.002])
    assert len(found) == len({task.name for task in found}) == 12
    assert found[0].name == "ans-4bit-seed0"
    assert {(t.config.mean_bits, t.config.energy_mj) for t in found} == {
        (4, 0.0), (5.5, 0.0), (0.0, 0.002),
    }  # fmt: skip
    assert all(task.config.baselines == () for task in found)
    assert [task.name for task in tasks(TINY, ["ans"], [3])] == ["ans-seed3"]


def test_what_cannot_run_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="policy"):
        tasks(TINY, ["guess"], [0])


def test_finished_runs_are_kept(tmp_path: Path) -> None:
    wanted = tasks(TINY, ["uniform", "random"], [0], mean_bits=[4])
    assert list(sweep(wanted[:1], tmp_path)) == ["uniform-4bit-seed0"]
    summary = tmp_path / "uniform-4bit-seed0/summary.json"
    before = summary.stat().st_mtime_ns
    assert list(sweep(wanted, tmp_path)) == [task.name for task in wanted]
    assert summary.stat().st_mtime_ns == before
    runs = [read_run(tmp_path / task.name) for task in wanted]
    points = [pareto.point(run, run.columns[0], NOMINAL) for run in runs]
    assert [p.policy for p in points] == ["uniform", "random"]
    assert points[0].mean_bits == 4
    assert points[0].energy_mj == runs[0].columns[0].prices[NOMINAL].energy_mj
    with pytest.raises(ValueError, match="has no price for dg measured"):
        pareto.point(runs[0], runs[0].columns[0], ("dg", "measured", "low"))


def test_a_run_of_another_process_is_the_same(tmp_path: Path) -> None:
    """Two processes give what one gives: the summaries differ in their times alone."""
    wanted = tasks(TINY, ["uniform", "ans"], [1], mean_bits=[3])
    list(sweep(wanted, tmp_path / "two", workers=2))
    perform(wanted[1], tmp_path / "one", None)
    summaries = [
        json.loads((tmp_path / place / wanted[1].name / "summary.json").read_text("utf-8"))
        for place in ("one", "two")
    ]
    assert summaries[0].pop("seconds") != summaries[1].pop("seconds")
    assert summaries[0] == summaries[1]


def test_no_cluster_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(sweep(tasks(TINY, ["ans"], [0]), tmp_path, scheduler="tcp://127.0.0.1:9"))


def made(energy: float, clean: float, robust: float | None) -> Point:
    return Point(
        run=f"{energy}-{clean}", policy="ans", seed=0, mean_bits=4.0, energy_mj=energy,
        clean_accuracy=clean, robust_accuracy=robust, epsilon=0.1,
        verdict="passes" if robust is not None else "masked: a reason",
    )  # fmt: skip


POINTS = [made(3, 0.9, 0.2), made(1, 0.7, None), made(2, 0.9, 0.5), made(2, 0.8, 0.6),
          made(4, 0.95, 0.6)]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [("clean_accuracy", ["1-0.7", "2-0.9", "4-0.95"]), ("robust_accuracy", ["2-0.8"])],
)
def test_the_front_holds_what_nothing_beats(value: str, expected: list[str]) -> None:
    assert [point.run for point in pareto.front(POINTS, value)] == expected
    for point in POINTS:  # the definition, tried on every pair
        beaten = any(
            other.energy_mj <= point.energy_mj
            and (getattr(other, value) or 0) >= (getattr(point, value) or 0)
            and other != point
            and (other.energy_mj, getattr(other, value)) != (point.energy_mj, getattr(point, value))
            for other in POINTS
            if getattr(other, value) is not None
        )
        if getattr(point, value) is not None:
            assert (point.run in expected) == (not beaten)


def test_masked_networks_stand_apart() -> None:
    text = pareto.text(POINTS)
    assert "masked" in text
    result = pareto.summary(POINTS, NOMINAL)
    assert result["fronts"]["robust_accuracy"] == ["2-0.8"]
    for value in pareto.VALUES:
        assert "<svg" in pareto.figure(POINTS, value, NOMINAL)
    masked = [replace(point, robust_accuracy=None) for point in POINTS]
    with pytest.raises(ValueError, match="every gate found masked gradients"):
        pareto.figure(masked, "robust_accuracy", NOMINAL)

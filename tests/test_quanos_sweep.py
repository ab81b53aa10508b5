"""Sweeps: one folder a run, done once; and the Pareto fronts of what came out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quanos import pareto
from quanos.cli import parse
from quanos.commands.sweep import Sweep
from quanos.config import ConfigError, override, preset
from quanos.pareto import Point
from quanos.reporting.pareto_page import compare, page
from quanos.results import read_run
from quanos.sweep import perform, sweep, tasks

SMALL = {
        "epochs": 1, "sense_epoch": 1, "rounds": 1, "batch_size": 256, "ans_images": 16,
        "attack_images": 8, "fgsm_epsilons": [0.1], "pgd_epsilons": [0.1], "strong_steps": 1,
        "strong_restarts": 1, "apgd_steps": 1, "apgd_targets": 0, "square_queries": 1,
        "warmup_epochs": 0.0, "validation_images": 0,
}  # fmt: skip
TINY = override(preset("digits") | SMALL, "test")
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


def test_a_failing_run_is_told(tmp_path: Path) -> None:
    wanted = tasks(replace(TINY, model="absent"), ["uniform", "ans"], [0], mean_bits=[3])
    with pytest.raises(ValueError, match="absent"):
        list(sweep(wanted, tmp_path))


def test_no_cluster_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(sweep(tasks(TINY, ["ans"], [0]), tmp_path, scheduler="tcp://127.0.0.1:9"))


def made(policy: str, budget: int, seed: int, energy: float, clean: float, robust: float | None):
    return Point(
        run=f"{policy}-{budget}bit-seed{seed}", policy=policy, budget=f"{budget} mean bits",
        seed=seed, mean_bits=budget, energy_mj=energy, clean_accuracy=clean,
        robust_accuracy=robust, epsilon=0.1,
        verdict="passes" if robust is not None else "masked: a reason",
    )  # fmt: skip


POINTS = [
    made("ans", 3, 0, 1, 0.60, 0.2), made("ans", 3, 1, 1, 0.80, 0.4),
    made("ans", 5, 0, 3, 0.90, 0.5), made("ans", 5, 1, 3, 0.92, 0.5),
    made("hessian", 3, 0, 2, 0.70, 0.3), made("hessian", 3, 1, 2, 0.88, 0.5),
    made("hessian", 5, 0, 4, 0.93, 0.6), made("hessian", 5, 1, 4, 0.99, None),
    made("uniform", 3, 0, 2, 0.50, 0.1), made("uniform", 3, 1, 2, 0.60, 0.2),
]  # fmt: skip
MEANS = pareto.over_seeds(POINTS)


def test_networks_that_differ_in_the_seed_are_one_point() -> None:
    names = [f"{p}, {b} mean bits" for p, b in
             [("ans", 3), ("ans", 5), ("hessian", 3), ("hessian", 5), ("uniform", 3)]]  # fmt: skip
    assert [one.run for one in MEANS] == names
    assert MEANS[0].clean_accuracy == pytest.approx(0.7)
    assert MEANS[0].robust_accuracy == pytest.approx(0.3)
    assert MEANS[3].robust_accuracy is None  # one of its seeds is masked
    assert MEANS[3].verdict == "masked: a reason"
    assert {one.seed for one in MEANS} == {None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("clean_accuracy", ["ans, 3", "hessian, 3", "ans, 5", "hessian, 5"]),
        ("robust_accuracy", ["ans, 3", "hessian, 3", "ans, 5"]),
    ],
)
def test_the_front_holds_what_nothing_beats(value: str, expected: list[str]) -> None:
    on_front = [point.run for point in pareto.front(MEANS, value)]
    assert on_front == [f"{name} mean bits" for name in expected]
    there = [point for point in MEANS if getattr(point, value) is not None]
    for point in there:  # the definition, tried on every pair
        beaten = any(
            other.energy_mj <= point.energy_mj
            and getattr(other, value) >= getattr(point, value)
            and (other.energy_mj, getattr(other, value)) != (point.energy_mj, getattr(point, value))
            for other in there
        )
        assert (point.run in on_front) == (not beaten)


def test_of_two_equal_points_one_stands_on_the_front() -> None:
    twice = [MEANS[0], replace(MEANS[0], run="again"), MEANS[1]]
    assert [point.run for point in pareto.front(twice, "clean_accuracy")] == [
        MEANS[0].run, MEANS[1].run,
    ]  # fmt: skip


def test_masked_networks_stand_apart() -> None:
    assert "masked" in pareto.text(POINTS)
    result = pareto.summary(POINTS, NOMINAL)
    assert "hessian, 5 mean bits" not in result["fronts"]["robust_accuracy"]
    for value in pareto.VALUES:
        assert "<svg" in pareto.figure(POINTS, value, NOMINAL)
    masked = [replace(point, robust_accuracy=None) for point in POINTS]
    with pytest.raises(ValueError, match="every gate found masked gradients"):
        pareto.figure(masked, "robust_accuracy", NOMINAL)


@pytest.mark.parametrize(
    ("policy", "value", "differences", "verdict"),
    [
        ("hessian", "clean_accuracy", [-10, -8, -3, -7], "loses"),
        ("hessian", "robust_accuracy", [-10, -10, -10], "loses"),  # without the masked pair
        ("uniform", "clean_accuracy", [10, 20], "wins"),
        ("uniform", "robust_accuracy", [10, 20], "wins"),
        ("random", "clean_accuracy", [], "neither"),
    ],
)
def test_policies_are_compared_in_pairs_of_one_budget_and_seed(
    policy, value, differences, verdict
) -> None:
    found = compare(POINTS, policy, value)
    assert found.differences == pytest.approx(differences)
    assert found.verdict == verdict
    if policy == "hessian" and value == "clean_accuracy":
        assert found.energy_ratio == pytest.approx((1 / 2 + 3 / 4) / 2)
        assert found.error == pytest.approx(2.944 / 2, rel=1e-3)


def test_one_pair_decides_nothing() -> None:
    alone = [point for point in POINTS if point.seed == 0 and "5" not in point.budget]
    assert compare(alone, "uniform", "clean_accuracy").verdict == "neither"


def test_the_page_says_what_the_points_say() -> None:
    about = {
        "command": "quanos sweep", "commit": "abc", "table_sha256": "0" * 64, "model": "vgg-small",
        "dataset": "digits", "epochs": 1, "seeds": [0, 1],
    }  # fmt: skip
    text = page(
        POINTS, about | pareto.summary(POINTS, NOMINAL), {"clean_accuracy": "a.svg"}, "a.json"
    )
    row = next(line for line in text.splitlines() if line.startswith("| 3 mean bits | ans"))
    assert row == (
        "| 3 mean bits | ans | 3.00 | 1000.000 | **70.00** (60.00 to 80.00) | "
        "**30.00** (20.00 to 40.00) | 0 of 2 |"
    )
    assert "| 5 mean bits | hessian | 5.00 | 4000.000 | **96.00** (93.00 to 99.00) | - | 1" in text
    loses = next(line for line in text.splitlines() if "loses by" in line)
    assert "clean accuracy against `hessian`" in loses
    assert "uniform" not in loses
    assert "![clean accuracy against energy](a.svg)" in text


def test_the_command_plans_runs_keeps_and_writes(tmp_path, capsys, monkeypatch) -> None:
    words = ["--policies", "uniform", "--budgets-mean-bits", "4", "--out", str(tmp_path / "out")]
    keys = {name: getattr(TINY, name) for name in SMALL}
    words += [
        word
        for name, value in keys.items()
        for word in (
            f"--{name.replace('_', '-')}",
            *map(str, value if isinstance(value, tuple) else [value]),
        )
    ]
    states = []
    for state in ("to run", "finished"):
        command = parse(Sweep, "quanos sweep", [*words, "--plan"])
        command.run()
        states.append(f"{state}, 1 epochs" in capsys.readouterr().out)
        monkeypatch.setattr("sys.argv", ["quanos", "sweep", "--some"])
        parse(
            Sweep, "quanos sweep", [*words, "--page", str(tmp_path / "docs/p.md"), "--json"]
        ).run()
        result = json.loads(capsys.readouterr().out)
    assert states == [True, True]
    assert json.loads((tmp_path / "docs/p.json").read_text("utf-8")) == result
    assert result["command"] == "quanos sweep --some"
    assert (result["epochs"], result["seeds"]) == (1, [0])
    assert (tmp_path / "docs/p_clean.svg").exists()
    assert "clean, %" in (tmp_path / "docs/p.md").read_text("utf-8")


def test_keys_that_are_swept_are_no_options_of_their_own() -> None:
    for key in ("policy", "seed", "baselines", "mean-bits"):
        with pytest.raises(ValueError, match=f"there is no option --{key}"):
            parse(Sweep, "quanos sweep", [f"--{key}", "1"])

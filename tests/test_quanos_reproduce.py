"""The reproduction: every experiment runs on CIFAR's format, results merge, no part is left out."""

import json
import multiprocessing
import random
import shutil
import time
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.table import EnergyTable
from quanos import data
from quanos.adversary.protocols import FULL
from quanos.data import load_dataset
from quanos.energy import linear_law
from quanos.paper import (
    ENERGY_CONFIG,
    NET_MAC_ENERGY,
    PGD_EPSILONS_255,
    TABLE_II_III,
    TABLE_IV,
    TABLE_V_VI,
    TABLE_VII,
)
from quanos.reproduce import findings, plans, record
from quanos.reproduce.__main__ import main
from quanos.reproduce.audit import price, shapes
from quanos.reproduce.drive import Driver
from quanos.reproduce.page import write_page
from quanos.reproduce.plans import SCALES, experiments
from quanos.reproduce.policies_page import write_policies
from quanos.reproduce.tables import compared, networks
from quanos.run import SUMMARY
from quanos.training.slices import Paused, Slice

PLANS = experiments()
RUNS = [(name, scale) for name, plan in PLANS.items() for scale in plan.scales]


@pytest.fixture(scope="module")
def small_cifar(tmp_path_factory) -> Path:
    """Both CIFARs in their official layout with few records, which the loader is told of."""
    folder = tmp_path_factory.mktemp("cifar")
    draw = np.random.default_rng(0)
    layouts = {
        "cifar-10-batches-bin": ([f"data_batch_{n}.bin" for n in range(1, 6)], "test_batch.bin"),
        "cifar-100-binary": (["train.bin"], "test.bin"),
    }
    for name, (train, test) in layouts.items():
        (folder / name).mkdir()
        hundred = name == "cifar-100-binary"
        for file, count in [*((f, 20 // len(train)) for f in train), (test, 10)]:
            labels = draw.integers(0, 100 if hundred else 10, (count, 1))
            head = [labels // 5, labels] if hundred else [labels]
            pixels = draw.integers(0, 256, (count, 3072))
            records = np.concatenate([*head, pixels], axis=1).astype(np.uint8)
            records.tofile(folder / name / file)
    return folder


@pytest.fixture(autouse=True)
def _few_records(monkeypatch) -> None:
    monkeypatch.setattr(data, "RECORDS", {"train": 20, "test": 10})


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_small_files_of_the_format_are_read(small_cifar, name) -> None:
    there = load_dataset(name, small_cifar)
    assert (len(there.train), len(there.test)) == (20, 10)
    assert there.input_shape == (3, 32, 32)
    assert there.classes == (100 if name == "cifar100" else 10)
    assert int(there.train.labels.max()) > there.classes // 2


@pytest.mark.parametrize(("name", "scale"), RUNS)
def test_every_experiment_is_a_configuration_of_its_paper_table(name, scale) -> None:
    plan = PLANS[name]
    config = plan.config(scale, seed=3)
    assert config.seed == 3
    assert config.epochs == {"full": 210, "fast": 30}.get(scale, config.epochs)
    assert config.mean_bits <= 6
    if "Table II" in plan.fills:
        assert (config.model, config.dataset, config.baselines) == (
            ("vgg19", "cifar10", ("16", "8", "5"))
        )
    if "Table V" in plan.fills:
        assert (config.model, config.dataset, config.baselines) == (
            ("resnet18", "cifar100", ("16", "8", "4"))
        )
    if plan.fills[0] in ("Table IV", "Table VII"):
        assert config.adversarial in ("fgsm", "pgd")
        assert config.adversarial_epoch == config.sense_epoch  # bits come before it
        assert config.validation_images > 0
    if "AutoAttack strength" in plan.fills:
        assert {key: getattr(config, key) for key in FULL} == FULL
        assert config.attack_images in (0, 1000)


def driver(folder: Path, scale: str, data_dir: Path | str, **options) -> Driver:
    return Driver(
        scale=scale,
        runs=folder / "runs",
        results=folder / "results",
        table=EnergyTable.load(),
        data_dir=str(data_dir),
        smoke=True,
        **({"sitting": Slice()} | options),
    )


def small(plan: plans.Experiment, model: str) -> plans.Experiment:
    """The experiment with a network that a test has time for."""
    return replace(plan, scales={s: keys | {"model": model} for s, keys in plan.scales.items()})


@pytest.mark.parametrize(
    ("name", "scale"),
    [run for run in RUNS if run[1] != "full" and not run[0].startswith("fashion")],
)
def test_every_experiment_runs_one_step_of_everything(tmp_path, small_cifar, name, scale) -> None:
    """With a small network in place of VGG-19 and ResNet-18; `--smoke` runs their own.

    Full scale is the same code with another preset, which is checked above.
    """
    plan = small(PLANS[name], "resnet-small" if "resnet" in name else "vgg-small")
    assert driver(tmp_path, scale, small_cifar).run([plan]) == []
    (key,) = record.runs(tmp_path / "results", name, scale)
    summary = record.runs(tmp_path / "results", name)[key]["summary"]
    config = plan.config(scale, 0)
    assert list(summary["columns"]) == ["quanos", *config.baselines]
    assert summary["dataset"] == config.dataset
    assert all(column["epochs"] == 2 for column in summary["columns"].values())


def test_slices_on_other_machines_end_with_the_uncut_result(tmp_path, small_cifar) -> None:
    """Every slice finds the run and the data in other folders, and checkpoints in parts.

    The first eight end after a step or an attack, the last with the run.
    """
    keys = PLANS["vgg19-cifar10"].scales["fast"] | {"model": "vgg-small", "baselines": ["8"]}
    plan = replace(PLANS["vgg19-cifar10"], scales={"fast": keys})
    (whole := tmp_path / "whole").mkdir()
    driver(whole, "fast", small_cifar).run([plan])
    (place := tmp_path / "machine 0").mkdir()
    for number in range(1, 9):
        sitting = Slice(time_limit=1e-9, shard_mb=0.1)
        shutil.copytree(small_cifar, place / "data", dirs_exist_ok=True)
        with pytest.raises(Paused):
            driver(place, "fast", place / "data", resume=True, sitting=sitting).run([plan])
        assert not (place / "results").exists()
        sizes = [path.stat().st_size for path in (place / "runs").rglob("*.safetensors*")]
        assert max(sizes) <= 100_000 < sum(sizes)
        place = place.rename(tmp_path / f"machine {number}")
    assert list((place / "runs").rglob("attacked.json"))  # between two attacks
    driver(place, "fast", place / "data", resume=True).run([plan])
    assert not list((place / "runs").rglob("attacked.json"))
    results = [
        record.runs(folder / "results", plan.name)["fast/0"]["summary"] for folder in (whole, place)
    ]
    for summary in results:
        summary.pop("seconds")
    assert results[0] == results[1]


def test_sigkill_at_random_moments_changes_no_number(tmp_path, small_cifar) -> None:
    """Three kills, anywhere from the first file of the run to its merged results."""
    plan = small(PLANS["vgg-small-cifar10"], "vgg-small")
    (whole := tmp_path / "whole").mkdir()
    (cut := tmp_path / "cut").mkdir()
    start = time.monotonic()
    driver(whole, "cpu", small_cifar).run([plan])
    seconds = time.monotonic() - start
    again = driver(cut, "cpu", small_cifar, resume=True, sitting=Slice(save_every=0))
    fork = multiprocessing.get_context("fork")
    for _ in range(3):
        child = fork.Process(target=again.run, args=([plan],))
        child.start()
        time.sleep(random.uniform(0, 0.6 * seconds))
        child.kill()
        child.join()
    again.run([plan])
    found = [
        record.runs(folder / "results", plan.name)["cpu/0"]["summary"] for folder in (whole, cut)
    ]
    for summary in found:
        summary.pop("seconds")
    assert found[0] == found[1]


def test_results_of_other_runs_stay(tmp_path, small_cifar) -> None:
    keys = PLANS["vgg-small-cifar10"].scales["cpu"] | {"baselines": []}
    plan = replace(PLANS["vgg-small-cifar10"], scales={"cpu": keys}, seeds=(0, 1))
    one = driver(tmp_path, "cpu", small_cifar)
    one.run([plan])
    before = record.runs(tmp_path / "results", plan.name)
    assert list(before) == ["cpu/0", "cpu/1"]
    (tmp_path / "runs" / "cpu" / f"{plan.name}-1" / SUMMARY).unlink()
    driver(tmp_path, "cpu", small_cifar, resume=True).run([replace(plan, seeds=(1,))])
    after = record.runs(tmp_path / "results", plan.name)
    assert after["cpu/0"] == before["cpu/0"]
    assert after["cpu/1"]["summary"]["columns"] == before["cpu/1"]["summary"]["columns"]


def test_runs_side_by_side_give_what_they_give_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # no data set but the digits is found
    monkeypatch.setenv("QUANOS_DATA", str(tmp_path))
    keys = {"preset": "digits", "baselines": ["16"]}
    plan = replace(PLANS["vgg-small-cifar10"], scales={"cpu": keys})
    missing = replace(PLANS["vgg-small-cifar10"], name="elsewhere")
    cut = driver(tmp_path / "beside", "cpu", "", beside=2, sitting=Slice(time_limit=1e-9))
    with pytest.raises(Paused):
        cut.run([plan])
    for folder, beside in (("alone", 1), ("beside", 2)):
        where = tmp_path / folder
        again = driver(where, "cpu", "", beside=beside, resume=True)
        assert again.run([plan, missing]) == ["elsewhere"]
    columns = [
        record.runs(tmp_path / folder / "results", plan.name)["cpu/0"]["summary"]["columns"]
        for folder in ("alone", "beside")
    ]
    assert list(columns[0]) == ["quanos", "16"]
    assert columns[0] == columns[1]


PARTS = (
    *("Tables II and III", "Table IV", "Tables V and VI", "Table VII", "Figure 1(a)"),
    *("Figure 1(b)", "Figure 1(d)", "Figure 3", "Figure 4", "The queue", "Scale cpu"),
)


def test_the_page_has_a_place_for_every_part_of_the_paper(tmp_path) -> None:
    write_page(tmp_path / "page.md", tmp_path / "results")
    text = (tmp_path / "page.md").read_text()
    for part in PARTS:
        assert part in text
    waiting = [name for name in PLANS if f"--only {name} " in text]
    assert waiting == list(PLANS)
    assert "0.4855" in text  # the audit


def test_the_committed_page_is_what_its_results_give(tmp_path) -> None:
    """Nothing on it, or on the page of policies, is older than the results or written by hand."""
    docs = Path(__file__).parents[1] / "docs"
    for path in (docs / "results").glob("*.json"):
        (tmp_path / "results").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "results")
    write_page(tmp_path / "reproduction.md", tmp_path / "results")
    for path in tmp_path.rglob("*.md"):
        there = docs / path.relative_to(tmp_path)
        assert path.read_bytes() == there.read_bytes(), f"{there}: run python -m quanos.reproduce"


def test_a_run_fills_its_place(tmp_path, small_cifar) -> None:
    for name, model in (("vgg19-cifar10", "vgg-small"), ("vgg-small-cifar10", "vgg-small")):
        scale = "fast" if "vgg19" in name else "cpu"
        driver(tmp_path, scale, small_cifar).run([small(PLANS[name], model)])
    write_page(tmp_path / "page.md", tmp_path / "results")
    text = (tmp_path / "page.md").read_text()
    section = text[text.index("## Tables II and III") :].split("\n## ")[0]
    assert "Waiting" not in section
    columns = record.runs(tmp_path / "results", "vgg19-cifar10")["fast/0"]["summary"]["columns"]
    assert f"{100 * columns['5']['clean_accuracy']:.2f}" in section
    assert "| 1 | has run |" in text
    drawn = sorted((tmp_path / "results").glob("*.svg"))
    assert len(drawn) == 9
    assert_table_two_is_whole(section, columns)
    for path in drawn:
        assert xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg")
        assert f"results/{path.name}" in text


def assert_table_two_is_whole(section: str, columns: dict) -> None:
    """Memory, both readings of every scheme, both protocols, the gate."""
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if "|" in line}
    assert f"{columns['quanos']['memory_gbit']:.4f}" in rows["weights Gbit, ours"]
    for one in columns["8"]["energy"]:
        if one["scheme"] in ("standard", "dg", "dvafs"):
            label = f"reading `{one['reading']}`, {one['supply']} supply"
            label = "" if one["scheme"] == "standard" else f", {label}"
            assert f"{one['energy_mj']:.4g} (" in rows[f"{one['scheme']} mJ, ours{label}"]
    assert columns["5"]["gate"]["verdict"] in rows["gate"]
    assert rows["QUANOS"].count("|") == rows["network"].count("|")
    assert "worst case at" in rows["network"]


def test_a_run_of_every_experiment_leaves_nothing_waiting_but_full_scale(tmp_path) -> None:
    """Made-up results: every table and figure has its place filled, every goal its verdict."""
    for name, plan in PLANS.items():
        for scale in plan.scales:
            if scale != "full":
                keep_made_up(tmp_path / "results", name, scale)
    write_page(tmp_path / "page.md", tmp_path / "results")
    text = (tmp_path / "page.md").read_text()
    body, queue = text.split("## The queue")
    assert "aiting" not in body
    assert "not measured" not in body
    states = [line.split("|")[2].strip() for line in queue.splitlines() if "nox" in line]
    assert states.count("has run") == 11
    assert states.count("next") == 1
    assert states.index("next") == 8  # full scale, in its order
    sections = {part.split("\n")[0]: part for part in text.split("\n## ")}
    for table, rows, shown in (
        ("Table IV: VGG-19 on CIFAR-10, adversarially trained", TABLE_IV, ("16 bit", "QUANOS")),
        ("Table VII: ResNet-18 on CIFAR-100, adversarially trained", TABLE_VII,
         ("4 bit", "QUANOS")),
    ):  # fmt: skip
        lines = [line for line in sections[table].splitlines() if "-trained |" in line]
        assert len(lines) == 2 * len(rows)
        for line in lines[1::2]:
            assert "| ours | 70.0 70.0 70.0 | 70.0 70.0 70.0 | 70.0 70.0 70.0 | 90.00 |" in line
        assert {line.split("|")[2].strip() for line in lines} == set(shown)
        assert sections[table].count("Ours: scale fast, seed 0, commit c, on a card; ") == 2
    asked = sections["What was asked, and what came out"].splitlines()
    verdicts = [line.rsplit("|", 2)[1].strip() for line in asked if "| at " in line]
    assert verdicts.count("met") == 9  # 90 % is under 91.6 and 90.7, 20 % under 47
    assert verdicts.count("missed") == 3
    for name in ("figure1b", "figure1d", "figure3-ans", "figure3-fgsm", "figure3-pgd"):
        assert f"results/{name}.svg" in sections["Figures"]
    for name in ("figure4-ans", "figure4-fgsm", "figure4-pgd"):
        assert f"results/{name}.svg" in sections["Figures"]
    for policy in ("lipschitz", "activation-density", "hessian", "uniform", "random"):
        assert f"| {policy} |" in sections["Beyond the paper"]
    assert "`resnet18-cifar100` (fast/0) at 8/255" in sections["Beyond the paper"]


def keep_made_up(results: Path, name: str, scale: str) -> None:
    """A result of the experiment: every network has 90 % clean and 20 % under every attack."""
    config = PLANS[name].config(scale, 0)
    names = ["quanos", *config.baselines]
    summary = {
        "model": config.model, "dataset": config.dataset, "seed": 0,
        "seconds": {"train": 100.0, "evaluate": 10.0, "columns": dict.fromkeys(names, 60.0)},
        "columns": {one: column(0.9) for one in names},
    }  # fmt: skip
    for one in summary["columns"].values():
        rows = [
            {"attack": attack, "epsilon": e / 255, "accuracy": 0.2, "adversarial_loss": 0.7}
            for attack in ("fgsm", "pgd", "worst_case")
            for e in (2, 8, 16)
        ]
        ans = {"a": 0.5, "b": 0.6}
        one |= {"paper": rows, "strong": rows, "ans_sensed": ans, "ans_final": ans}
        one |= {"attacked_images": 100, "memory_gbit": 0.1, "epochs": 30, "sense_epoch": 6}
    ablated = [
        {"layer": layer, "order": "sensitive", "fraction": 0.5, "units": 2, "accuracy": 0.2}
        for layer in ("", "a", "b")
    ]
    run = {
        "command": "c", "commit": "c", "device": "a card", "versions": {}, "ablation": ablated,
        "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:05:00+00:00",
        "summary": summary,
    }  # fmt: skip
    runs = {f"{scale}/{seed}": run for seed in PLANS[name].seeds}
    results.mkdir(exist_ok=True)
    content = {"schema": record.SCHEMA, "experiment": name, "title": name, "runs": runs}
    (results / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--scale", "cpu", "--only", "vgg19-cifar10"), "scale cpu has no experiment"),
        (("--scale", "fast", "--data", "/nowhere", "--only", "vgg19-cifar10"), "waits: data set"),
        (("--scale", "cpu", "--jobs", "1", "--shard-mb", "0.001"), "allow at least 4096"),
    ],
)
def test_bad_input_is_a_sentence(
    tmp_path, monkeypatch, capsys, small_cifar, words, sentence
) -> None:
    monkeypatch.chdir(tmp_path)
    data_dir = () if "--data" in words else ("--data", str(small_cifar))
    assert main([*words, *data_dir, "--smoke"]) == 2
    assert sentence in capsys.readouterr().err


def test_the_page_alone_is_written_without_a_scale(tmp_path, capsys) -> None:
    out = ("--out", str(tmp_path / "page.md"), "--results", str(tmp_path / "results"))
    assert main(out) == 0
    assert (tmp_path / "page.md").read_text().startswith("# The paper, reproduced")
    assert main(["--list"]) == 0
    assert all(name in capsys.readouterr().out for name in ["vgg19-cifar10"])


def test_a_file_of_another_schema_is_refused(tmp_path) -> None:
    (tmp_path / "vgg19-cifar10.json").write_text(json.dumps({"schema": "other/1"}))
    with pytest.raises(ValueError, match="has schema 'other/1'"):
        write_page(tmp_path / "page.md", tmp_path)


def test_policies_are_compared_over_seeds(tmp_path) -> None:
    """A made-up result, whose outcome is known: QUANOS loses to one policy in every seed."""
    clean = {"quanos": (0.91, 0.92), "16": (0.95, 0.95), "hessian": (0.93, 0.94)}
    clean["random"] = (0.5, 0.92)
    seeds = {
        f"cpu/{seed}": {
            "summary": {
                "model": "vgg-small", "dataset": "fashion-mnist", "seed": seed,
                "columns": {name: column(values[seed]) for name, values in clean.items()},
            }
        }
        for seed in (0, 1)
    }  # fmt: skip
    content = {"schema": record.SCHEMA, "runs": seeds}
    (tmp_path / "fashion-mnist-policies.json").write_text(json.dumps(content))
    write_policies(tmp_path / "page.md", tmp_path, "fashion-mnist-policies", "Title", "`command`")
    text = (tmp_path / "page.md").read_text()
    assert "91.00 % clean at no more than 4.50 mean bits" in text
    assert "bits; met)" in text
    assert "clean accuracy: QUANOS loses to hessian (+2.00, in every seed)." in text
    assert "| random | 4.50 [4.50, 4.50] | 3.00 [3.00, 3.00] | 71.00 [50.00, 92.00] |" in text
    assert "worst case at 8/255" not in text.split("## What")[0]
    assert "2 of 2 pass" in text
    assert "rank correlation" not in text  # all first layers have the same bits
    for summary in (run["summary"] for run in seeds.values()):
        summary["columns"]["hessian"] = column(0.93) | {"bits": {"a": 2, "b": 7}}
        summary["columns"]["hessian"]["strong"] = [
            row | {"adversarial_loss": 0.1} for row in column(0.93)["strong"]
        ]
        summary["columns"]["16"] |= {"bits": {"a": 16, "b": 16}, "attacked_clean_accuracy": 0.2}
    (tmp_path / "fashion-mnist-policies.json").write_text(json.dumps(content))
    write_policies(tmp_path / "page.md", tmp_path, "fashion-mnist-policies", "Title", "`command`")
    assert "worst case at 8/255: rank correlation -0.9" in (tmp_path / "page.md").read_text()


def test_a_masked_run_is_in_no_mean_and_no_comparison(tmp_path) -> None:
    """The mean over three seeds once held what a masked network withstood."""
    masked = {"gate": {"verdict": "masked: why"}}
    worst = [
        {"attack": attack, "epsilon": 8 / 255, "adversarial_loss": 0.1}
        for attack in ("pgd", "worst_case")
    ]
    stronger = {"strong": worst, "paper": worst}  # 80 % of images in the worst case, not 20 %
    columns = [
        {"quanos": column(0.9) | stronger | masked, "uniform": column(0.9), "hessian": column(0.9)},
        {"quanos": column(0.9), "uniform": column(0.9) | stronger, "hessian": column(0.9) | masked},
    ]
    seeds = {
        f"cpu/{seed}": {
            "summary": {"model": "net", "dataset": "data", "seed": seed, "columns": found}
        }
        for seed, found in enumerate(columns)
    }
    content = {"schema": record.SCHEMA, "runs": seeds}
    (tmp_path / "name.json").write_text(json.dumps(content))
    write_policies(tmp_path / "page.md", tmp_path, "name", "Title", "`command`")
    text = (tmp_path / "page.md").read_text()
    own = next(line for line in text.splitlines() if line.startswith("| quanos |"))
    assert own.endswith("| 20.00 [20.00, 20.00] of 1 | 20.00 [20.00, 20.00] of 1 | 1 of 2 pass |")
    both = "uniform (+60.00, in every one of 1 seed that both pass)"
    assert f"worst case at 8/255: QUANOS loses to {both}." in text
    for each in columns:
        each["quanos"] |= masked
    (tmp_path / "name.json").write_text(json.dumps(content))
    write_policies(tmp_path / "page.md", tmp_path, "name", "Title", "`command`")
    text = (tmp_path / "page.md").read_text()
    assert "| masked | masked | 0 of 2 pass |" in text
    assert "worst case at 8/255: nothing to compare" in text
    assert "| 20.00 (masked) | 20.00 (masked) | masked: why |" in networks(
        {"columns": {"quanos": column(0.9) | masked | {"bits": {"a": 4}}}}
    )


def test_a_run_says_where_quanos_loses() -> None:
    columns = {"quanos": column(0.9), "16": column(0.95)}
    columns["16"]["strong"] = [
        row | {"accuracy": 0.25, "adversarial_loss": 0.7} for row in columns["16"]["strong"]
    ]
    for each, energy in zip(columns.values(), (0.003, 0.012), strict=True):
        each["attacked_images"] = 200
        each["energy"] = [each["energy"][0] | {"energy_mj": energy}]
    text = compared({"columns": columns})
    columns["16"]["gate"] = {"verdict": "masked: why"}
    assert "worst case not compared: 16 bit is masked." in compared({"columns": columns})
    assert "Against 16 bit: 25 % of its energy, clean accuracy -5.00 points" in text
    assert "worst case -5.0 at 8/255." in text
    assert "by chance by up to 10 points" in text


def column(clean: float) -> dict:
    rows = [
        {"attack": attack, "epsilon": 8 / 255, "accuracy": 0.2, "adversarial_loss": clean - 0.2}
        for attack in ("pgd", "worst_case")
    ]
    return {
        "mean_bits": 4.5, "bits": {"a": 4, "b": 5}, "clean_accuracy": clean,
        "attacked_clean_accuracy": clean, "paper": rows, "strong": rows,
        "gate": {"verdict": "passes"},
        "energy": [{"scheme": "dvafs", "reading": "measured", "supply": "nominal",
                    "energy_mj": 0.003, "ratio_to_16": 0.3}],
    }  # fmt: skip


# The audit: what replays of the printed numbers, to the printed digits.
AUDIT = [
    (TABLE_II_III, "16 bit", "0.3203", "1.4662"),
    (TABLE_II_III, "8 bit", "0.1602", "0.7530"),
    (TABLE_II_III, "5 bit", "0.1001", "0.4855"),
    (TABLE_V_VI, "16 bit", "0.1785", "1.3895"),
    (TABLE_V_VI, "8 bit", "0.0893", "0.7225"),
    (TABLE_V_VI, "4 bit", "0.0446", "0.3890"),
    (TABLE_V_VI, "QUANOS", "0.0241", "0.3070"),
]


@pytest.mark.parametrize(("table", "name", "gbit", "mj"), AUDIT)
def test_the_audit_of_energy_and_memory(table, name, gbit, mj) -> None:
    column = next(column for column in table.columns if column.name == name)
    assert price(table, column) == (gbit, mj)
    printed = f"{column.memory_gbit:g}"
    rounded = f"{float(gbit):.{len(printed) - 2}f}"
    assert (float(rounded) == column.memory_gbit) == ((table, name) != (TABLE_V_VI, "4 bit"))


SHAPES = [
    (TABLE_II_III, True, 16, 20_018_880, 398_131_200),
    (TABLE_V_VI, False, 17, 10_987_200, 549_126_144),
]


@pytest.mark.parametrize(("table", "shortcuts", "layers", "weights", "macs"), SHAPES)
def test_the_audit_of_the_networks(table, shortcuts, layers, weights, macs) -> None:
    network = shapes(table)
    own = network.layers if shortcuts else network.own
    sums = [sum(getattr(layer, name) for layer in own) for name in ("weights", "macs")]
    assert (len(own), *sums) == (layers, weights, macs)


@pytest.mark.parametrize(
    ("shortcuts", "energies", "memories"),
    [
        (False, (1.368, 0.711, 0.383, 0.303), (0.1758, 0.0879, 0.0439, 0.0237)),
        (True, (1.390, 0.723, 0.389, 0.307), (0.1785, 0.0893, 0.0446, 0.0241)),
    ],
)
def test_the_audit_of_resnet18s_shortcuts(shortcuts, energies, memories) -> None:
    network = shapes(TABLE_V_VI)
    costs = [network.price(column.bits, shortcuts=shortcuts) for column in TABLE_V_VI.columns]
    assert [cost.energy_mj for cost in costs] == pytest.approx(energies, abs=6e-4)
    assert [cost.memory_gbit for cost in costs] == pytest.approx(memories, abs=5e-5)


def test_the_audit_of_vgg19s_seventeen_widths() -> None:
    """Whichever of the 17 is left out, energy and memory are above what is printed."""
    column = TABLE_II_III.columns[-1]
    with pytest.raises(ValueError, match="17 widths are given for 16 layers"):
        price(TABLE_II_III, column)
    energies, memories = findings.one_left_out()
    assert energies == pytest.approx((0.469, 0.518), abs=5e-4)
    assert memories == pytest.approx((0.099, 0.116), abs=5e-4)
    assert energies[0] > column.standard_mj
    assert memories[0] > column.memory_gbit


@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("scheme", ["dg", "dvafs"])
def test_the_audit_of_the_energy_per_mac(scheme, bits) -> None:
    """What Table III implies, with Eq. 5's double scaling and net of it."""
    config = findings.energy_config(scheme, bits)
    assert config == pytest.approx(ENERGY_CONFIG[scheme][bits], abs=5e-3)
    net = findings.net_energy(scheme, bits)
    assert net == pytest.approx(NET_MAC_ENERGY[scheme][bits], rel=0.02)
    at_one_supply = findings.measured_energy(scheme, bits)
    assert at_one_supply > net  # the paper's factors are lower than gates at one supply say


def test_the_audit_of_table_six() -> None:
    """The DVAFS baselines are below the memory term of Eq. 4 alone; evenly, QUANOS is cheaper."""
    eight, four = TABLE_V_VI.columns[1:3]
    for column, term in ((eight, 0.231), (four, 0.115)):
        access, _ = findings.terms(TABLE_V_VI, column)
        assert access == pytest.approx(term, abs=6e-4)
        assert column.dvafs_mj < access
    whole, told = findings.by_whole_energy("dvafs")
    assert round(whole, 2) == told
    for scheme, quanos, uniform in (("dg", 0.168, 0.228), ("dvafs", 0.090, 0.131)):
        upper, other = findings.evenly(scheme)
        assert upper < other
        assert (upper, other) == pytest.approx((quanos, uniform), rel=0.05)
        assert findings.printed(TABLE_V_VI.columns[3], scheme) > findings.printed(four, scheme)


def test_the_audit_of_the_papers_pgd() -> None:
    assert findings.reach() == 14 < min(PGD_EPSILONS_255[1:])
    assert findings.weaker_than_fgsm() == [True] * 4


def test_the_audit_of_the_linear_law() -> None:
    assert linear_law(8) == 0.875
    assert linear_law(8) > 3 * findings.HOROWITZ_8_BIT_PJ


def test_the_page_tells_every_finding() -> None:
    """Each by the numbers that only it has."""
    told = list(findings.findings())
    numbers = (
        *("0.0446 Gbit", "398,131,200 MACs", "1.368 / 0.711 / 0.383 / 0.303 mJ", "3.6 % above"),
        *("0.469 to 0.518 mJ", "twice", "DG 0.62 at 8 bit", "DVAFS 0.056 at 5 bit", "0.231"),
        *("in 4 of 4 rows", "14/255", "0.875 pJ"),
    )
    for number in numbers:
        assert sum(number in sentence for sentence in told) == 1, number
    assert len(told) == 8


def test_scales_are_those_of_the_command() -> None:
    assert SCALES == ("cpu", "fast", "full")

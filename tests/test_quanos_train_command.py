"""`quanos train`, `sense`, `assign` and `attack` from end to end, on the embedded digits."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args
from unittest.mock import Mock, patch

import pytest

from flows.table import EnergyTable
from quanos.adversary.protocols import STRONG
from quanos.allocation.prices import operating_points
from quanos.cli import main
from quanos.commands.attack import Name
from quanos.console.progress import Progress

SHORT = (
    *("--epochs", "3", "--sense-epoch", "1", "--rounds", "2", "--round-epochs", "1"),
    *("--attack-images", "20", "--fgsm-epsilons", "0.1", "--pgd-epsilons", "0.05", "0.1"),
    *(
        "--strong-restarts",
        "1",
        "--apgd-steps",
        "3",
        "--apgd-targets",
        "1",
        "--square-queries",
        "5",
    ),
    *("--ans-images", "100", "--strong-steps", "3", "--threads", "1", "--warmup-epochs", "1"),
)


def quanos(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as leave:
        main([str(word) for word in words])
    return int(leave.value.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert quanos("train", "--preset", "digits", *SHORT, "--out", folder) == 0
    return folder


def test_the_run_folder_holds_all_that_is_promised(run) -> None:
    names = {path.name for path in run.iterdir()}
    promised = {"config.toml", "run.json", "metrics.jsonl", "summary.json", "16", "mean"}
    promised |= {"measured.json", "checkpoint.safetensors", "sensed.safetensors"}
    assert promised == names
    origin = json.loads((run / "run.json").read_text())
    assert origin["table_sha256"] == EnergyTable.load().sha256
    assert {"commit", "seed", "versions", "started", "finished"} <= set(origin)


def test_the_summary_is_consistent(run) -> None:
    summary = json.loads((run / "summary.json").read_text())
    table = EnergyTable.load()
    assert list(summary["columns"]) == ["quanos", "16", "mean"]
    quanos_bits = summary["columns"]["quanos"]["bits"]
    rounded = round(sum(quanos_bits.values()) / len(quanos_bits))
    assert set(summary["columns"]["mean"]["bits"].values()) == {rounded}
    for column in summary["columns"].values():
        assert list(column["bits"]) == list(column["ans_sensed"]) == list(column["ans_final"])
        assert len(column["energy"]) == len(list(operating_points(table)))
        assert column["attacked_images"] == 20
        assert column["rounds"][-1]["bits"] == column["bits"]
        assert len([r for r in column["paper"] if r["attack"] == "pgd"]) == 2
    assert {r["ratio_to_16"] for r in summary["columns"]["16"]["energy"]} == {1.0}
    assert all(r["ratio_to_16"] < 1 for r in summary["columns"]["quanos"]["energy"])


def test_the_same_seed_gives_the_same_summary(run, tmp_path, capsys) -> None:
    capsys.readouterr()
    command = ("train", "--preset", "digits", *SHORT, "--out", tmp_path / "again", "--json")
    assert quanos(*command) == 0
    printed = json.loads(capsys.readouterr().out)
    before = json.loads((run / "summary.json").read_text())
    printed.pop("seconds")
    before.pop("seconds")
    assert printed == before


def test_a_finished_run_is_resumed_without_training(run, capsys) -> None:
    before = (run / "checkpoint.safetensors").read_bytes()
    assert quanos("train", "--out", run, "--resume") == 0
    assert "epoch" not in capsys.readouterr().err
    assert (run / "checkpoint.safetensors").read_bytes() == before


def test_sense_then_assign(run, tmp_path, capsys) -> None:
    measured, bits = tmp_path / "ans.json", tmp_path / "bits.json"
    capsys.readouterr()
    assert quanos("sense", run, "--out", measured, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(measured.read_text())
    summary = json.loads((run / "summary.json").read_text())
    ans = json.loads(measured.read_text())["layers"]
    assert ans == pytest.approx(summary["columns"]["quanos"]["ans_final"])
    assert quanos("assign", measured, "--mean-bits", "5", "--out", bits, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(bits.read_text())
    assert printed["mean_bits"] <= 5
    priced = ("--model", "vgg-small", "--input", "1", "8", "8", "--bits", bits, "--json")
    assert quanos("energy", *priced) == 0
    energy = json.loads(capsys.readouterr().out)
    assert energy["energy_mj"] == pytest.approx(printed["energy_mj"])


def test_attack_gives_what_the_summary_says(run, capsys) -> None:
    capsys.readouterr()
    assert quanos("attack", run, "--json") == 0  # the 16-bit twin lies in the run's folder
    printed = json.loads(capsys.readouterr().out)
    column = json.loads((run / "summary.json").read_text())["columns"]["quanos"]
    for key in ("paper", "strong", "gate"):
        assert printed[key] == column[key]
    assert quanos("attack", run, "--attack", "fgsm", "--epsilon", "0.1", "--json") == 0
    single = json.loads(capsys.readouterr().out)["rows"][0]
    assert single["accuracy"] == column["paper"][0]["accuracy"]
    assert quanos("attack", run) == 0
    text = capsys.readouterr().out
    assert "absent transfer_seed: a network trained from another seed was not given" in text
    assert f"gate: {column['gate']['verdict']}" in text
    rows = [line for line in text.splitlines() if "adversarial loss" in line]
    masked = column["gate"]["verdict"] != "passes"
    assert all(line.endswith("; masked: no robustness") == masked for line in rows)


def test_an_attack_that_was_killed_goes_on_by_the_same_command(run, tmp_path, capsys) -> None:
    out, part = tmp_path / "attacks.json", tmp_path / "attacks.part.json"
    words = ("attack", run, "--images", "20", "--out", out)
    stopped = Mock(side_effect=[None] * 4 + [KeyboardInterrupt])
    with patch.object(Progress, "line", stopped):
        assert quanos(*words) == 130
    assert "stopped; the same command goes on" in capsys.readouterr().err
    made = json.loads(part.read_text())["withstood"]
    assert len(made) == 5
    assert not out.exists()
    told = Mock()
    with patch.object(Progress, "line", told):
        assert quanos(*words) == 0
    again = [call.args[0].split(":")[0] for call in told.call_args_list]
    assert not set(again) & set(made)  # none was made twice
    assert not part.exists()
    assert quanos("attack", run, "--images", "20", "--json") == 0
    assert json.loads(out.read_text()) == json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_is_attacked_by_that_of_another_seed(run, tmp_path, capsys) -> None:
    words = ("train", "--preset", "digits", *SHORT, "--baselines", "16", "--apgd-steps", "0")
    other = (*words, "--out", tmp_path / "run", "--other-seed", run)
    assert quanos(*other) == 2
    assert "must be of another seed than 0" in capsys.readouterr().err
    assert quanos(*other, "--model", "resnet-small", "--seed", "1") == 2
    assert "and of the same kind ({'model': 'resnet-small'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert quanos(*other, "--seed", "1") == 0
    columns = json.loads((tmp_path / "run" / "summary.json").read_text())["columns"]
    for name, column in columns.items():
        assert "transfer_seed" in {row["attack"] for row in column["strong"]}
        assert list(column["gate"].get("absent", {})) == (["transfer_16"] if name == "16" else [])


def test_every_attack_of_the_registry_runs_alone(run, capsys) -> None:
    assert get_args(Name) == tuple(member.name for member in STRONG)
    few = ("--images", "4", "--steps", "1", "--queries", "2", "--json")
    for name in get_args(Name):
        others = ("--twin", run / "16", "--other-seed", run / "16")
        assert quanos("attack", run, "--attack", name, *others, *few) == 0
        assert json.loads(capsys.readouterr().out)["rows"][0]["attack"] == name
    assert quanos("attack", run, "--attack", "transfer_seed", *few) == 2
    assert "another seed was not given; see --twin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "--dataset", "imagenet"), "digits, fashion-mnist, cifar10, cifar100"),
        (("train", "--model", "vgg99"), "model 'vgg99' is unknown"),
        (("train", "--preset", "nope"), "preset 'nope' is unknown"),
        (("train", "--dataset", "cifar10", "--data-dir", "/nowhere"), "put cifar-10-batches-bin"),
        (("train", "--table", "/nowhere.json"), "nox -s energy"),
        (("train", "--device", "tpu"), "device 'tpu' is not there; use cpu"),
        (("sense", "/nowhere"), "there is no checkpoint /nowhere; name a run folder"),
        (("assign", "/nowhere"), "/nowhere"),
        (("attack", "/nowhere"), "there is no checkpoint /nowhere; name a run folder"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_written(
    tmp_path, monkeypatch, capsys, words, sentence
) -> None:
    monkeypatch.chdir(tmp_path)
    assert quanos(*words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_says_how_to_go_on(tmp_path) -> None:
    """A child process that interrupts itself in the second epoch, as a terminal would."""
    folder = tmp_path / "run"
    script = (
        "import os, signal, sys; from quanos import trainer; from quanos.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & ignores it
        "step = trainer.append_metric\n"
        "trainer.append_metric = lambda *a: (step(*a), os.kill(os.getpid(), signal.SIGINT))\n"
        f"main(['train', '--preset', 'digits', '--out', {str(folder)!r}, *{SHORT!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == (
        f"stopped; go on with: quanos train --out {folder} --resume"
    )
    kept = {"config.toml", "run.json", "metrics.jsonl", "sensed.safetensors"}
    assert {path.name for path in folder.iterdir()} == kept

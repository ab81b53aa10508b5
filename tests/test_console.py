"""The console of all rooms: help, one-sentence errors, `--json` and `--plan` for every command."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from test_contract import FILES, ROOT
from test_quanos_sense_command import untrained

from hw.command import ask_for
from hw.plan import Plan, Step
from quanos import cli
from quanos.commands.completion import options
from quanos.config import TYPES, override

MODULES = (
    *("hw.rtl.verilog", "hw.tb.harness", "hw.tb.array_harness", "hw.tb.network"),
    *("flows.synth", "flows.activity", "flows.timing", "flows.power", "flows.measure"),
    *("flows.mutate", "flows.array_energy", "flows.array_layers", "flows.network"),
    *("flows.tiling", "flows.supply"),
    *("flows.table_export", "flows.equivalence", "flows.control", "flows.compact", "flows.bench"),
    *("flows.own_mac", "quanos.codesign", "quanos.bench_qat", "quanos.reproduce.__main__"),
)
"""Every command that is called by its module and prints results."""

PLANNED = {
    *("hw.tb.harness", "flows.synth", "flows.measure", "flows.mutate", "flows.array_energy"),
    *("hw.tb.array_harness", "hw.tb.network", "flows.network", "flows.array_layers"),
    *("flows.equivalence", "flows.bench"),
    *("quanos.reproduce.__main__", "quanos.bench_qat", "train", "sweep", "attack", "sense"),
}
"""Commands that may take minutes or more."""


def called(module: str, *words: str | Path) -> int:
    """The exit status of a command, called as `python -m` does."""
    main = importlib.import_module(module).main
    keep, sys.argv = sys.argv, [module, *map(str, words)]
    try:
        return cli.guarded(main)
    except SystemExit as leave:
        return int(leave.code or 0)
    finally:
        sys.argv = keep


def quanos(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main([str(word) for word in words])
    return int(leave.value.code or 0)


def helped(name: str) -> int:
    return called(name, "--help") if "." in name else quanos(name, "--help")


@pytest.mark.parametrize("name", [*MODULES, *cli.COMMANDS])
def test_help_has_json_and_the_long_ones_a_plan(name, capsys) -> None:
    assert helped(name) == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert ("--plan" in text) == (name in PLANNED)
    assert "\x1b" not in text
    assert "None" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_overview_fits_a_screen(capsys) -> None:
    assert quanos("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 23  # of 24, a line for the prompt
    assert max(map(len, lines)) <= 80
    assert [name for name in cli.COMMANDS if not any(name in line for line in lines)] == []


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("words", "says"),
    [(["--jsno"], "(did you mean --json?)"), (["--wrong", "1"], "--wrong")],
)
def test_a_wrong_option_is_one_sentence(module, words, says, capsys) -> None:
    status = called(module, *NEEDED.get(module, ()), *words)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert says in err
    assert err.endswith("--help.\n")


def test_every_module_that_is_a_command_is_listed() -> None:
    """All but the script that runs in the environment of Brevitas, for `quanos.bench_qat`."""
    sources = {ROOT / file for file in FILES if not file.startswith("tests/")}
    found = {s for s in sources if '__name__ == "__main__"' in s.read_text("utf-8")}
    names = {".".join(s.relative_to(ROOT).with_suffix("").parts) for s in found}
    names = {name.removeprefix("sw.") for name in names}
    assert names - {"tests", "docs.site", "quanos.brevitas_step"} == set(MODULES)


TYRO = re.compile(r"expected|argument|parse|instantiate|matching|unrecognized|\[", re.IGNORECASE)
"""Words of tyro's that no sentence of ours has."""


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_kind_of_option_is_complained_of_in_our_words(name) -> None:
    kind = cli.kind_of(name)
    hints = TYPES | get_type_hints(kind, include_extras=True)
    one_each = {str(hints.get(o[2:].replace("-", "_"))): o for o, _ in options(kind)}
    complaints = [
        said
        for option in one_each.values()
        for values in ([], ["?"])
        if (said := complaint_of(name, *BASE.get(name, ()), option, *values))
    ]
    assert len(complaints) >= len(one_each) - 1
    for said in complaints:
        assert re.match(r"--[\w-]+ (takes|needs) |'\?' belongs to no option|missing: ", said), said
        assert said.endswith(f"; see quanos {name} --help.")
        assert not TYRO.search(said), said


def complaint_of(name: str, *words: str) -> str:
    """What the parser of a command says of these words; nothing where it takes them."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            cli.parse(cli.kind_of(name), f"quanos {name}", words)
    except ValueError as error:
        return str(error)
    except SystemExit:  # --help
        pass
    return ""


BASE = {
    **dict.fromkeys(("sense", "assign", "attack", "export", "report"), ("x",)),
    "completion": ("bash",),
    "energy": ("--model", "x", "--input", "1", "8", "8", "--bits", "4"),
}
"""Words without which a command complains of these first."""

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
COLOURED = """
from quanos.console.progress import Progress
with Progress("work", 2) as progress:
    progress.advance(1, "half")
from quanos import cli
cli.main(["assign", "--help"])
"""


def on_a_terminal(code: str, **environment: str) -> bytes:
    """What Python prints that runs `code` on a terminal, both its outputs."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    ours, its = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=its, stdout=its, stderr=its,
        env=kept | {"TERM": "xterm-256color"} | environment,
    )  # fmt: skip
    os.close(its)
    heard = []
    with contextlib.suppress(OSError):  # the terminal's end once the process has closed it
        while part := os.read(ours, 1 << 16):
            heard.append(part)
    os.close(ours)
    assert process.wait() == 0, b"".join(heard)
    return b"".join(heard)


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_colours_unless_they_are_turned_off(environment, coloured) -> None:
    found = on_a_terminal(COLOURED, **environment)
    bar, help_text = found[: found.index(b"usage:")], found[found.index(b"usage:") :]
    assert [bool(COLOUR.search(part)) for part in (bar, help_text)] == [coloured, coloured]


NEEDED = {
    "hw.tb.network": ("x",),
    "flows.synth": ("--out", "x"),
    "flows.activity": ("x", "--delays", "zero", "--stimulus", "uniform", "--vectors", "1",
                       "--seed", "0", "--out", "x"),
    "flows.timing": ("x",),
    "flows.power": ("x", "--saif", "x", "--clock-ps", "1"),
    "flows.array_energy": ("--synth", "x"),
    "flows.network": ("x", "--out", "x"),
    "flows.array_layers": ("x", "--out", "x"),
    "flows.tiling": ("x",),
    "flows.supply": ("x", "x", "x"),
    "flows.compact": ("x", "--out", "x"),
    "flows.bench": ("x",),
    "flows.own_mac": ("x", "--out", "x"),
}  # fmt: skip
"""Words without which the parser of a command complains of these first."""


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """The run folder of an untrained network of digits."""
    return untrained(tmp_path_factory.mktemp("run"), attack_images=8)


@pytest.fixture(scope="module")
def verilog(tmp_path_factory) -> Path:
    """A folder with two small MACs."""
    folder = tmp_path_factory.mktemp("rtl")
    for width in ("2", "3"):
        words = ("--scheme", "fixed", "--w-width", width, "--a-width", width, "--out", folder)
        assert called("hw.rtl.verilog", *words, "--json") == 0
    return folder


def planned(status: int, capsys) -> dict:
    """The one JSON object of a plan."""
    out = capsys.readouterr().out
    assert status == 0, out
    assert out.count("\n") == 1
    return json.loads(out)["plan"]


RUNS = [
    (("train", "--preset", "digits", "--epochs", "30", "--out", "new"), 6,
     "30 epochs, 1347 images each"),
    (("train", "--preset", "digits", "--baselines", "8", "--out", "new"), 4,
     "50 epochs after epoch 10, 1347 images each"),
    (("sweep", "--policies", "ans", "uniform", "--seeds", "0", "1", "--budgets-mean-bits", "4",
      "--out", "new"), 4, "to run, 60 epochs"),
    (("attack", "NETWORK"), 13, "8 images, 27 passes each"),
    (("attack", "NETWORK", "--attack", "square", "--queries", "9"), 1, "8 images, 9 passes each"),
    (("sense", "NETWORK", "--out", "new.json"), 1, "24 images"),
    (("sense", "NETWORK", "--ablation"), 1, "24 images"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "steps", "work"), RUNS)
def test_a_plan_of_quanos_says_its_steps_and_writes_nothing(
    words, steps, work, network, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(network) if word == "NETWORK" else word for word in words]
    plan = planned(quanos(*words, "--plan", "--json"), capsys)
    assert len(plan["steps"]) == steps
    assert work in [step["work"] for step in plan["steps"]]
    assert all(step["seconds"] > 0 for step in plan["steps"])
    assert 0 < plan["seconds"] <= sum(step["seconds"] for step in plan["steps"]) + 1e-9
    assert plan["basis"]
    assert list(tmp_path.iterdir()) == []


def test_a_longer_attack_takes_longer_by_its_plan(network, capsys, monkeypatch) -> None:
    """At the same rate: measured ones would make this a test of the machine."""
    rates = "quanos.training.estimate.pass_rates"
    monkeypatch.setattr(rates, lambda *_: (0.002, 0.001))
    own = planned(quanos("attack", network, "--plan", "--json"), capsys)["seconds"]
    full = planned(quanos("attack", network, "--full", "--plan", "--json"), capsys)["seconds"]
    assert full > 5 * own


@pytest.mark.parametrize(("argv", "status"), [(["-m"], 2), (["quanos"], None)])
def test_a_command_asks_for_its_extra_first(argv, status, monkeypatch, capsys) -> None:
    """`python -m flows.X` in an environment without the extra; an import alone asks for nothing."""
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) if status else contextlib.nullcontext() as left:
        ask_for("flows", "json", "no_such_package")
    told = "package no_such_package is missing; install it with pip install quanos[flows].\n"
    assert (left.value.code if left else None) == status
    assert capsys.readouterr().err == ("error: " + told if status else "")


def test_a_plan_knows_what_a_run_has_done(tmp_path, capsys) -> None:
    """Two of its epochs are trained: they are neither trained nor timed again."""
    out = tmp_path / "run"
    keys = ("--epochs", "4", "--sense-epoch", "2", "--rounds", "1", "--baselines", "16")
    words = ("train", "--preset", "digits", *keys, "--warmup-epochs", "1", "--out", out)
    assert quanos(*words, "--plan") == 0
    assert "plan: 4 to do" in capsys.readouterr().out
    out.mkdir()
    from quanos.config import preset
    from quanos.run import open_run

    changed = {"epochs": 4, "sense_epoch": 2, "rounds": 1, "baselines": ["16"]}
    config = override(preset("digits") | changed | {"warmup_epochs": 1.0}, "test")
    open_run(out, config, resume=False, overwrite=False)
    line = {"epoch": 3, "loss": 1.0, "test_accuracy": 0.5}
    (out / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    before = sorted(out.iterdir())
    assert quanos(*words, "--plan") == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    plan = planned(quanos(*words, "--plan", "--resume", "--json"), capsys)
    assert plan["steps"][0]["work"] == "1 epochs after epoch 3, 1347 images each"
    (out / "summary.json").write_text("{}")
    assert quanos(*words, "--plan", "--resume") == 0
    assert "nothing is left to do" in capsys.readouterr().out
    (out / "summary.json").unlink()
    assert sorted(out.iterdir()) == before


def test_the_plan_of_synthesis_knows_what_is_there(verilog, tmp_path, capsys) -> None:
    words = ("--rtl", verilog, "--out", tmp_path / "synth")
    plan = planned(called("flows.synth", *words, "--plan", "--json"), capsys)
    assert [step["name"] for step in plan["steps"]] == ["mac_fixed_w2a2", "mac_fixed_w3a3"]
    assert plan["seconds"] > 0
    assert list(tmp_path.iterdir()) == []
    assert called("flows.synth", *words, "--json") == 0
    capsys.readouterr()
    plan = planned(called("flows.synth", *words, "--plan", "--json"), capsys)
    assert [step["kept"] for step in plan["steps"]] == [True, True]
    assert plan["seconds"] == 0


def test_the_plan_of_the_table_counts_its_points(tmp_path, capsys) -> None:
    places = ("--rtl", tmp_path / "rtl", "--synth", tmp_path / "synth", "--out", tmp_path / "t")
    words = (*places, "--bits", "4", "8", "--schemes", "dg", "fixed", "--stimuli", "uniform")
    plan = planned(called("flows.measure", *words, "--plan", "--json"), capsys)
    names = [step["name"] for step in plan["steps"]]
    assert "synthesise mac_fixed_w4a4" in names
    assert plan["steps"][names.index("dg uniform")]["work"] == "2 of 2 points"
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_the_bench_counts_its_vectors(verilog, tmp_path, capsys) -> None:
    words = ("--rtl", verilog, "--build", tmp_path / "sim")
    plan = planned(called("hw.tb.harness", *words, "--plan", "--json"), capsys)
    assert [step["name"] for step in plan["steps"]][1:] == ["mac_fixed_w2a2", "mac_fixed_w3a3"]
    assert all("2 modes" in step["work"] for step in plan["steps"][1:])
    assert list(tmp_path.iterdir()) == []


DIGITS = ROOT / "hw/tb/digits"


@pytest.mark.parametrize(
    ("module", "words", "steps", "work"),
    [
        ("hw.tb.array_harness", (), 7, "1 element(s)"),
        ("hw.tb.network", ("digits", "--jobs", "2"), 2, "5990400 MACs on 2 simulator(s)"),
        ("hw.tb.network", ("vgg19", "--jobs", "2"), 2, "1281208320 MACs on 2 simulator(s)"),
        ("flows.network", (DIGITS, "--schemes", "dg", "dvafs"), 2, "12 points"),
        ("flows.array_layers", (DIGITS, "--schemes", "dg"), 1, "6 layer(s), synthesis before"),
    ],
)
def test_the_plan_of_a_bench_and_of_layers_counts_its_work(
    module, words, steps, work, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned(called(module, *words, "--plan", "--json"), capsys)
    assert len(plan["steps"]) == steps
    assert any(work in step["work"] for step in plan["steps"])
    assert all(step["seconds"] > 0 for step in plan["steps"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "words", "says"),
    [
        ("flows.network", (DIGITS, "--vectors", "0"), "--vectors and --workers must be 1 or more."),
        ("flows.network", (DIGITS, "--workers", "0"), "--vectors and --workers must be 1 or more."),
        ("flows.array_layers", (DIGITS, "--workers", "0"), "--workers must be 1 or more"),
        ("flows.array_layers", (DIGITS, "--seed", "-1"), "--seed 0 or more"),
        ("quanos.reproduce.__main__", ("--scale", "cpu", "--jobs", "-1"), "must not be negative"),
    ],
)
def test_a_number_out_of_range_is_refused_by_the_plan_too(module, words, says, capsys) -> None:
    assert called(module, *words, "--plan") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), says in err) == ("", 1, True)


def test_the_plan_of_proofs_is_their_limit(tmp_path, capsys) -> None:
    words = (tmp_path / "a.v", "--netlist", tmp_path / "a.netlist.json", "--limit", "7")
    plan = planned(called("flows.equivalence", *words, "--plan", "--json"), capsys)
    assert [(step["name"], step["seconds"]) for step in plan["steps"]] == [("a", 7)]


def test_the_plan_of_mutants_goes_by_the_campaign_before(tmp_path, capsys) -> None:
    for place in ("rtl/m.spec.json", "synth/m.synth.json"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text("{}")
    from flows.planning import mutate_plan

    places = (tmp_path / "rtl", tmp_path / "synth", tmp_path / "out")
    first = mutate_plan(["m"], *places, 200, 5000)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/m.mutants.json").write_text(json.dumps({"seconds": 50, "mutants": [0] * 10}))
    assert mutate_plan(["m"], *places, 200, 5000).seconds == 1000
    assert first.seconds != 1000
    with pytest.raises(ValueError, match=r"n\.spec\.json is missing; write it with"):
        mutate_plan(["n"], *places, 200, 5000)


def test_the_plan_of_arrays_goes_by_cells(tmp_path) -> None:
    from flows.planning import arrays_plan
    from hw.rtl.spec import ArraySpec

    spec = ArraySpec(scheme="dg", rows=2, columns=2)
    (tmp_path / f"{spec.name}.synth.json").write_text('{"cells": 1000}')
    plan = arrays_plan([spec], tmp_path, [16, 8], 4096, [])
    assert plan.seconds == pytest.approx(2 * 1000 * 4096e-9)
    fixed = ArraySpec(scheme="fixed", rows=2, columns=2)
    (tmp_path / f"{fixed.name}.synth.json").write_text('{"cells": 1000}')
    assert arrays_plan([fixed], tmp_path, [16, 8], 4096, []).seconds == plan.seconds / 2


def test_the_plan_of_the_reproduction_names_what_waits(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("QUANOS_DATA", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    words = ("--scale", "fast", "--data", tmp_path / "none", "--smoke", "--plan", "--json")
    plan = planned(called("quanos.reproduce.__main__", *words), capsys)
    assert plan["steps"]
    assert all(step["work"].startswith("waits: ") for step in plan["steps"])
    assert list(tmp_path.iterdir()) == []
    assert called("quanos.reproduce.__main__", "--plan") == 2
    assert "say which with --scale" in capsys.readouterr().err


def test_a_time_that_nobody_knows_is_said_to_be_unknown() -> None:
    steps = (Step(name="a", seconds=2.0), Step(name="b"))
    plan = Plan(steps=steps, writes=["x"], basis="nothing was tried")
    assert plan.seconds is None
    assert "may take unknown: nothing was tried" in plan.text()


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (("quanos", "tr"), ["train"]),
        (("quanos", "train", "--mod"), ["--model"]),
        (("quanos", "train", "--policy", "l"), ["lipschitz"]),
        (("quanos", "sweep", "--preset", "d"), ["digits"]),
        (("quanos", "energy", "--scheme", "dv"), ["dvafs", "dvafs_st"]),
        (("quanos", "sense", "--x"), []),
        (("quanos", "report", "runs/"), []),
    ],
)
def test_bash_completes(words, offers, tmp_path, capsys) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash on PATH")
    assert quanos("completion", "bash") == 0
    script = tmp_path / "quanos.bash"
    script.write_text(capsys.readouterr().out)
    told = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _quanos'
    told += '; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run([bash, "-c", told, "-", script, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == offers


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell, tmp_path, capsys) -> None:
    assert quanos("completion", shell) == 0
    text = capsys.readouterr().out
    assert "lipschitz" in text
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} on PATH")
    (tmp_path / "script").write_text(text)
    subprocess.run([program, "-n", tmp_path / "script"], check=True)

"""The command `quanos` as a person meets it: output, exit status, one sentence for bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quanos import cli
from quanos.console.complaint import complaint
from quanos.models import MODELS

ENERGY = ["energy", "--model", "resnet-small", "--input", "1", "8", "8"]


def status(*words: str) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main(words)
    return int(leave.value.code or 0)


def test_the_console_script_prices_vgg19() -> None:
    script = shutil.which("quanos", path=str(Path(sys.executable).parent))
    assert script, "the package is not installed"
    words = (
        "energy --model vgg19 --input 3 32 32 --bits 16 --reading paper --scheme standard --json"
    )
    done = subprocess.run([script, *words.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["energy_mj"] == pytest.approx(1.4662, rel=1e-3)
    assert result["memory_gbit"] == pytest.approx(0.3203, rel=1e-3)
    assert len(result["layers"]) == 16


def test_help_version_and_bad_arguments_do_not_import_torch() -> None:
    code = (
        "import sys; from quanos.cli import guarded, dispatch\n"
        "def calm(words):\n"
        "    try: guarded(lambda: dispatch(words))\n"
        "    except SystemExit: pass\n"
        "for words in (['--help'], ['--version'], ['energy', '-h'], ['energy', '--x'], ['x']):\n"
        "    calm(words)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


BAD = [
    (["fly"], "there is no command 'fly'"),
    (
        ["energy", "--model", "x"],
        "missing: --input INT INT INT --bits STR; see quanos",
    ),
    (
        [*ENERGY, "--bits", "4", "--speed", "9"],
        "there is no option --speed; see quanos",
    ),
    ([*ENERGY, "--bits", "4", "--scheem", "dg"], "(did you mean --scheme?)"),
    (
        ["train", "--epochs", "many"],
        "--epochs takes a whole number, not 'many'; see quanos",
    ),
    (["attack", "x", "--epsilon", "x"], "--epsilon takes a number, not 'x'; see quanos attack"),
    (["attack", "x", "--steps", "x"], "--steps takes a whole number, not 'x'; see quanos attack"),
    (["attack", "x", "--steps", "0"], "--steps, --restarts and --queries must be 1 or more"),
    (["sweep", "--policies", "--plan"], "at least one policy and one seed"),
    (["train", "--jobs", "0"], "--jobs must be 1 or more"),
    (["train", "--time-limit", "-1"], "--time-limit and --shard-mb 0 or more"),
    (["trian"], "(did you mean train?)"),
    ([*ENERGY, "--bits", "4", "--reading", "z"], "--reading takes measured or paper, not 'z'"),
    ([*ENERGY, "--bits", "17"], "from 1 to 16, not 17"),
    ([*ENERGY, "--bits", "none.json"], "neither a number from 1 to 16 nor a file"),
    ([*ENERGY, "--bits", "."], "Is a directory"),
    (
        [*ENERGY, "--bits", "4", "--scheme", "dg", "--table", "none.json"],
        "none.json cannot be read",
    ),
    ([*ENERGY, "--bits", "4", "more"], "'more' belongs to no option"),
    ([*ENERGY, "--bits"], "--bits needs a value; see"),
    ([*ENERGY[:-1], "x", "--bits", "4"], "--input takes 3 whole numbers, not '1 8 x'"),
    ([*ENERGY[:-1], "--bits", "4"], "--input needs three values"),
    ([*ENERGY[:-1], "9" * 20, "--bits", "4"], "all from 1 to 65,536, not (1, 8, 9999"),
    (["train", "--preset", "digits", "--seed", "-1", "--plan"], "seed must be from 0 to 4294967"),
    (["train", "--preset", "digits", "--epochs", "0"], "epochs must be at least 1, not 0"),
    (["train", "--preset", "digits", "--data-dir", "x", "--plan"], "leave --data-dir out, or name"),
    (["train", "--fgsm-epsilons", "a"], "--fgsm-epsilons takes numbers, not 'a'"),
    (["train", "--flip", "often"], "--flip takes False or True, not 'often'"),
    (["sweep", "--seeds", "x"], "--seeds takes whole numbers, not 'x'"),
    (["sweep", "--policies", "ans", "--seeds", "-1", "--plan"], "seed must be from 0 to"),
    (["sweep", "--plan"], "hessian needs a budget; give --budgets-mean-bits or --budgets-mj"),
    (["sense", "x", "--seed", "-1"], "--seed must be from 0 to"),
    (["assign", "x", "--budget-mean-bits", "?"], "--mean-bits takes a number, not '?'"),
    (["attack", "x", "--attack", "nope"], "--attack takes apgd_ce, apgd_dlr, apgd_t, fgsm"),
    (["attack", "x", "--epsilon", "nan"], "must be numbers from 0 on"),
    (["attack", "x", "--epsilon", "0.1"], "--epsilon is of one attack; name it with --attack"),
    (["attack", "x", "--attack", "pgd", "--full"], "leave out --attack or --full"),
    (["export", "x", "--onnx"], "(did you mean --no-onnx?)"),
    (["energy", "--model", "x", "--input", "1", "8", "8", "--bits", "4"], "model 'x' is unknown"),
    (["energy", "--model", "vgg19", "--input", "1", "8", "8", "--bits", "4"], "at least 32x32"),
]


@pytest.mark.parametrize(("words", "complaint"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_bad_input_is_one_sentence_and_status_2(words, complaint, capsys) -> None:
    assert status(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


FRAMED = """\
╭─ Required options ──────────╮
│ Missing from quanos energy: │
│     --input INT INT INT     │
│         shape (required)    │
│ ─────────────────────────── │
│ For full helptext, run:     │
╰─────────────────────────────╯
"""


PLAIN = """\
 Required options
 ----------------------------
  Missing from quanos energy:
      --input INT INT INT
          shape (required)
  ---------------------------
  For full helptext, run:
"""  # where standard output is not UTF-8


@pytest.mark.parametrize("message", [FRAMED, PLAIN])
def test_tyros_message_becomes_a_sentence(message) -> None:
    assert complaint(message, []) == "missing: --input INT INT INT"


def test_bits_come_from_a_file_in_any_of_its_forms(tmp_path, capsys) -> None:
    path, energies = tmp_path / "bits.json", set()
    for bits in ([4] * 7, [4] * 9, {"bits": [4] * 7}):
        path.write_text(json.dumps(bits))
        assert status(*ENERGY, "--bits", str(path), "--json") == 0
        energies.add(json.loads(capsys.readouterr().out)["energy_mj"])
    assert len(energies) == 1


@pytest.mark.parametrize("text", ["{", "3.5", "[]", '"x"', "\xff"])
def test_a_corrupt_bits_file_is_refused(text, tmp_path, capsys) -> None:
    path = tmp_path / "bits.json"
    path.write_text(text, encoding="latin-1")
    assert status(*ENERGY, "--bits", str(path)) == 2
    assert "bits.json" in capsys.readouterr().err


def test_without_json_a_table_is_printed(capsys) -> None:
    assert status(*ENERGY, "--bits", "4", "--scheme", "dvafs") == 0
    out = capsys.readouterr().out
    assert "layer" in out
    assert "Gbit" in out


def test_the_help_names_every_model_and_the_overview_every_command(capsys) -> None:
    assert status("energy", "--help") == 0
    text = capsys.readouterr().out
    assert [name for name in MODELS if name not in text] == []
    assert status("--help") == 0
    assert "energy " in capsys.readouterr().out


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted; finished parts are kept."),
        (KeyboardInterrupt("stopped; go on with --resume."), 130, "stopped; go on with --resume."),
        (ValueError("two\nlines"), 2, "error: two lines"),
        (
            FileNotFoundError(2, "No such file", "a.toml"),
            2,
            "error: a.toml: No such file; check the path.",
        ),
        (
            ModuleNotFoundError("no", name="torch.nn"),
            2,
            "error: package torch is missing; install it with pip install quanos[sw].",
        ),
    ],
)
def test_errors_become_a_line_and_a_status(error, code, line, capsys) -> None:
    assert cli.guarded(lambda: _raise(error)) == code
    assert capsys.readouterr().err == line + "\n"


def test_faults_of_ours_keep_their_traceback() -> None:
    for error in (KeyError("x"), ModuleNotFoundError("no", name="quanos.gone")):
        with pytest.raises(type(error)):
            cli.guarded(lambda error=error: _raise(error))

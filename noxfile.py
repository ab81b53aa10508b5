"""Sessions of the project: each picks an environment and calls the commands below it.

`nox` alone runs the main job, from RTL to a trained, attacked and priced network. What follows
`--` goes to the command of a single session: `nox -s train -- --seed 7`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import nox

nox.options.sessions = ["main"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True

PROJECT = nox.project.load_toml("pyproject.toml")
BUILD = Path("build")
TABLE = BUILD / "energy_table.json"
RUN = Path("runs/digits")
EXPORT = BUILD / "export"
REPORT = BUILD / "report.html"


def prepare(session: nox.Session, extras: str, *groups: str) -> None:
    """Install the project, editable, with `extras` and dependency groups, at tested versions."""
    needs = nox.project.dependency_groups(PROJECT, *groups)
    session.install("-q", "-c", "constraints.txt", "-e", f".[{extras}]", *needs)


def rtl_steps(session: nox.Session, options: Sequence[str] = ()) -> None:
    session.run("python", "-m", "hw.rtl.verilog", "--all", "--out", f"{BUILD / 'rtl'}")
    session.run(
        "python", "-m", "hw.tb.harness",
        "--rtl", f"{BUILD / 'rtl'}", "--build", f"{BUILD / 'sim'}", *options,
    )  # fmt: skip


def synth_steps(session: nox.Session, options: Sequence[str] = ()) -> None:
    session.run("python", "-m", "hw.rtl.verilog", "--all", "--out", f"{BUILD / 'rtl'}", silent=True)
    session.run(
        "python", "-m", "flows.synth",
        "--rtl", f"{BUILD / 'rtl'}", "--out", f"{BUILD / 'synth'}", *options,
    )  # fmt: skip


def netlist_steps(session: nox.Session) -> None:
    """The MACs' bench on the netlists, and what the bench is worth: mutants of the netlists."""
    places = ("--rtl", f"{BUILD / 'rtl'}", "--build", f"{BUILD / 'sim'}")
    netlists = f"{BUILD / 'synth'}"
    session.run("python", "-m", "hw.tb.harness", *places, "--netlists", netlists)
    session.run(
        "python", "-m", "flows.mutate", *places, "--synth", netlists,
        "--out", f"{BUILD / 'mutants'}",
    )  # fmt: skip


def array_steps(session: nox.Session) -> None:
    """The arrays' bench, on Verilog and on a netlist, a network on one, and the proofs."""
    places = f"{BUILD / 'rtl_small'}", f"{BUILD / 'synth_small'}"
    bench = ("python", "-m", "hw.tb.array_harness", "--build", f"{BUILD / 'sim'}")
    session.run(
        "python", "-m", "hw.rtl.verilog", "--scheme", "dvafs", "--w-width", "8", "--a-width", "8",
        "--min-lane", "2", "--rows", "2", "--columns", "2", "--k-max", "64", "--depth", "4",
        "--out", places[0],
    )  # fmt: skip
    session.run("python", "-m", "flows.synth", "--rtl", places[0], "--out", places[1])
    session.run(*bench)
    session.run(*bench, "--arrays", places[0], "--netlists", places[1])
    session.run("python", "-m", "hw.tb.network", "digits", "--build", f"{BUILD / 'sim'}")
    session.run("python", "-m", "flows.control")
    session.run(
        "python", "-m", "flows.equivalence",
        "--rtl", f"{BUILD / 'rtl'}", "--synth", f"{BUILD / 'synth'}",
    )  # fmt: skip


def energy_steps(session: nox.Session, options: Sequence[str] = ()) -> None:
    session.run(
        "python", "-m", "flows.measure", "--rtl", f"{BUILD / 'rtl'}",
        "--synth", f"{BUILD / 'synth'}", "--out", f"{TABLE}", *options,
    )  # fmt: skip


def train_steps(session: nox.Session, options: Sequence[str] = ()) -> None:
    table = ("--table", f"{TABLE}") if TABLE.exists() else ()
    session.run(
        "quanos", "train", "--preset", "digits", *table,
        "--out", f"{RUN}", "--resume", "--overwrite", *options,
    )  # fmt: skip


def report_steps(session: nox.Session, options: Sequence[str] = ()) -> None:
    table = ("--table", f"{TABLE}") if TABLE.exists() else ()
    session.run("quanos", "report", f"{RUN}", *table, "--out", f"{REPORT}", *options)


def codesign_steps(session: nox.Session, options: Sequence[str] = ()) -> None:
    layers, measured = EXPORT / "layers", RUN / "network_table.json"  # the report finds it there
    session.run("quanos", "export", f"{RUN}", "--out", f"{EXPORT}", "--operands", "10")
    session.run(
        "python", "-m", "flows.tiling", f"{layers}", "--out", f"{BUILD / 'tiling.json'}",
    )  # fmt: skip
    session.run(
        "python", "-m", "flows.network", f"{layers}", "--rtl", f"{BUILD / 'rtl'}",
        "--synth", f"{BUILD / 'synth'}", "--out", f"{measured}",
    )  # fmt: skip
    session.run(
        "python", "-m", "flows.array_layers", f"{layers}", "--build", f"{BUILD / 'arrays'}",
        "--out", f"{BUILD / 'network_arrays.json'}",
    )  # fmt: skip
    session.run(
        "python", "-m", "hw.tb.network", f"{layers}", "--build", f"{BUILD / 'sim'}",
        "--out", f"{BUILD / 'array.json'}",
    )  # fmt: skip
    session.run(
        "python", "-m", "quanos.codesign", "--export", f"{EXPORT / 'export.json'}",
        "--tiling", f"{BUILD / 'tiling.json'}", "--table", f"{measured}",
        "--array", f"{BUILD / 'array.json'}",
        "--arrays", f"{BUILD / 'network_arrays.json'}",
        "--out", f"{BUILD / 'codesign.md'}", *options,
    )  # fmt: skip


STAGES: tuple[Callable[[nox.Session], None], ...] = (
    rtl_steps,
    synth_steps,
    energy_steps,
    train_steps,
    codesign_steps,
    report_steps,
)


@nox.session(default=True)
def main(session: nox.Session) -> None:
    """The main job: RTL, test benches, synthesis, energy table, QUANOS training, array, report."""
    prepare(session, "all")
    for stage in STAGES:
        stage(session)


@nox.session
def rtl(session: nox.Session) -> None:
    """Elaborate the hardware, test it and its netlists with cocotb, test the bench, prove."""
    prepare(session, "hw,flows")
    rtl_steps(session, session.posargs)
    synth_steps(session)
    netlist_steps(session)
    array_steps(session)


@nox.session
def synth(session: nox.Session) -> None:
    """Synthesize every MAC and 8 x 8 arrays of them; print cells, area and critical path."""
    prepare(session, "hw,flows")
    arrays = f"{BUILD / 'rtl_arrays'}"
    session.run("python", "-m", "hw.rtl.verilog", "--arrays", "--out", arrays, silent=True)
    synth_steps(session, ["--rtl", arrays, *session.posargs])


@nox.session
def energy(session: nox.Session) -> None:
    """Measure the energy table anew."""
    prepare(session, "hw,flows")
    synth_steps(session)
    energy_steps(session, session.posargs)


@nox.session
def train(session: nox.Session) -> None:
    """Train with QUANOS on the embedded digits, with its baselines, and attack the result."""
    prepare(session, "sw")
    train_steps(session, session.posargs)


@nox.session
def codesign(session: nox.Session) -> None:
    """Run the trained network's integers on the array, measure its layers, write the page."""
    prepare(session, "all")
    codesign_steps(session, session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the report of the last training run."""
    prepare(session, "sw")
    report_steps(session, session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Pass the tests."""
    prepare(session, "all", "tests")
    session.run("pytest", "-n", "auto", "--dist", "loadscope", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Spoil every kind of file 10,000 times; `-- -k liberty` takes one."""
    prepare(session, "all", "tests")
    options = ("-s", "tests/test_fuzz_flows.py", "tests/test_fuzz_quanos.py", *session.posargs)
    session.run("pytest", *options, env={"QUANOS_FUZZ": "10000"})


@nox.session
def faults(session: nox.Session) -> None:
    """Kill the main job, fill its disk, lock its folder, turn its clock."""
    prepare(session, "all", "tests")
    session.run("pytest", "-s", "-m", "faults", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def wheel(session: nox.Session) -> None:
    """Build wheel and source archive; use each extra from the wheel in an empty environment."""
    prepare(session, "sw", "tests")
    session.run("pytest", "-s", "-m", "wheel", "tests/test_packaging.py", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Pass the tests and print how much of `flows`, `hw.rtl` and `quanos` they run."""
    prepare(session, "all", "tests")
    session.run("coverage", "erase")
    session.run(
        "coverage", "run", "-m", "pytest", "-n", "auto", "--dist", "loadscope", *session.posargs
    )
    session.run("coverage", "combine", "-q")
    for package in ("flows", "hw/rtl", "sw/quanos"):
        session.run("coverage", "report", f"--include={package}/*")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed of the activity engine beside other simulators, and of a quantized training step."""
    prepare(session, "all", "bench")
    # kyupy fails with the lark of liberty-parser, in one folder with its own; either came last
    session.install("-q", "--no-deps", "--force-reinstall", "lark-parser==0.12.0")
    synth_steps(session)
    fixed, dvafs = (BUILD / "synth" / f"mac_{n}.netlist.json" for n in ("fixed_w16a16", "dvafs_16"))
    scale = ("--scale", f"{dvafs}")
    session.run("python", "-m", "flows.bench", f"{fixed}", *scale, *session.posargs)
    session.run("python", "-m", "quanos.bench_qat", env={"QUANOS_BREVITAS": "python"})


@nox.session
def oracle(session: nox.Session) -> None:
    """Hold the flow against independent tools: Icarus Verilog and OpenSTA, where installed."""
    prepare(session, "all", "tests", "oracle")
    session.install("-q", "--no-deps", "qkeras==0.9.0")  # its settings alone; not its TensorFlow
    session.run("pytest", "-m", "oracle", *session.posargs)


@nox.session
def reproduce(session: nox.Session) -> None:
    """Run the paper's experiments (`-- --scale cpu|fast|full --data DIR`); write its page."""
    prepare(session, "sw")
    session.run("python", "-m", "quanos.reproduce", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages and the reference of every module into build/docs; warnings are errors."""
    session.install("-q", "-c", "constraints.txt", *nox.project.dependency_groups(PROJECT, "docs"))
    session.run("mkdocs", "build", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and mypy."""
    prepare(session, "all", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")

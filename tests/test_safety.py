"""No source file unpickles, executes, extracts or gives to a shell what a file holds."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("hw", "flows", "sw", "docs", "noxfile.py")
    for path in ([ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"))
)
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE = {
    "eval", "exec", "compile", "os.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "torch.load", "torch.jit.load", "torch.hub.load", "yaml.load",
    "yaml.unsafe_load", "shutil.unpack_archive", "tempfile.mktemp", "np.load", "numpy.load",
}  # fmt: skip
EXCEPTIONS = {("flows/simulator/functional.py", "exec")}  # on net numbers: see the test below


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a call's function; the last name alone where it hangs on an expression."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def plain_arrays(name: str, call: ast.Call) -> bool:
    """Whether a call of np.load refuses objects in so many words."""
    refused = [k for k in call.keywords if k.arg == "allow_pickle"]
    return name == "np.load" and bool(refused) and ast.unparse(refused[0].value) == "False"


def dangers(source: str) -> set[str]:
    """Imports and calls in the source that could run what a file holds."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.partition(".")[0] in UNPICKLERS}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} if node.module.partition(".")[0] in UNPICKLERS else set()
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            found |= set() if plain_arrays(name, node) else {name} & UNSAFE
            found |= {name} if name.rpartition(".")[2] in ("extractall", "extract") else set()
            shell = [k for k in node.keywords if k.arg == "shell"]
            words = name.startswith("subprocess.") and node.args
            one_text = words and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
            found |= {f"{name} by a shell"} if shell or one_text else set()
    return found


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_unpickled_executed_extracted_or_given_to_a_shell(file: str) -> None:
    found = dangers((ROOT / file).read_text(encoding="utf-8"))
    assert {name for name in found if (file, name) not in EXCEPTIONS} == set()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("torch.load(p)", "torch.load"),
        ("np.load(p, allow_pickle=True)", "np.load"),
        ("np.load(p, allow_pickle=flag)", "np.load"),
        ("np.load(p)", "np.load"),
        ("tarfile.open(p).extractall(d)", "extractall"),
        ("subprocess.run(f'ls {name}')", "subprocess.run by a shell"),
        ("subprocess.run(words, shell=True)", "subprocess.run by a shell"),
        ("eval(text)", "eval"),
    ],
)
def test_the_rule_above_can_fail(source: str, name: str) -> None:
    assert dangers(source) == {name}
    assert dangers("np.load(p, allow_pickle=False)") == set()
    assert dangers("model.eval(); subprocess.run(['ls', name]); re.compile(p)") == set()

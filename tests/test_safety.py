"""What data may never do: be unpickled or executed, name a path, fill the memory, reach a shell."""

import ast
import gzip
import io
import json
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import good_files as good
import numpy as np
import pytest
from test_flows_netlist import CHAIN, module

from flows import liberty, yosys
from flows.circuit import Circuit
from flows.console import FlowError
from flows.functional import Functional
from flows.library import Library
from flows.netlist import Netlist
from flows.netlist_write import to_verilog
from hw.rtl import npz
from quanos import data_formats, download
from quanos.data_formats import DataError, read_cifar, read_idx, read_members

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
EXCEPTIONS = {("flows/functional.py", "exec")}  # on text made of net numbers: see the test below


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a call's function; the last name alone where it hangs on an expression."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return node.id if isinstance(node, ast.Name) else ""


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
            found |= {name} & UNSAFE
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
        ("tarfile.open(p).extractall(d)", "extractall"),
        ("subprocess.run(f'ls {name}')", "subprocess.run by a shell"),
        ("subprocess.run(words, shell=True)", "subprocess.run by a shell"),
        ("eval(text)", "eval"),
    ],
)
def test_the_rule_above_can_fail(source: str, name: str) -> None:
    assert dangers(source) == {name}
    assert dangers("model.eval(); subprocess.run(['ls', name]); re.compile(p)") == set()


class Pwned:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_pickle_among_arrays_is_never_loaded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.empty(shape, object)
    array[...] = Pwned(tmp_path / "pwned")
    np.savez(tmp_path / "a.npz", w=array)
    with pytest.raises(ValueError, match="never unpickled"):
        npz.read_npz(tmp_path / "a.npz")
    assert not (tmp_path / "pwned").exists()
    np.load(tmp_path / "a.npz", allow_pickle=True)["w"]  # the file does what it is for
    assert (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["../a.bin", "/tmp/a.bin", "deep/../../a.bin", "./a.bin"])
def test_no_member_of_an_archive_chooses_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar").write_bytes(good.tar(name))
    assert read_members(tmp_path / "in" / "a.tar", ["a.bin"]) == [good.CIFAR]
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.tar"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_of_an_archive_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(good.tar("a.bin", kind))
    with pytest.raises(DataError, match=r"holds no file a\.bin"):
        read_cifar(tmp_path / "a.tar", ["a.bin"], records=2, label_bytes=1, classes=10)


def tar_bomb() -> bytes:
    return gzip.compress(good.tar(content=bytes(1 << 17)), mtime=0)


def header_bomb() -> bytes:
    """A long name, which tarfile reads whole before anybody can look at it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a" * (1 << 17)))
    return raw.getvalue()


@pytest.mark.parametrize("make", [tar_bomb, header_bomb])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch, make) -> None:
    monkeypatch.setattr(data_formats, "LARGEST", 1 << 16)
    (tmp_path / "a.tar.gz").write_bytes(make())
    assert len(make()) < 2000
    with pytest.raises(DataError, match="holds more than 65536 bytes"):
        read_members(tmp_path / "a.tar.gz", ["a.bin"])
    (tmp_path / "idx.gz").write_bytes(gzip.compress(good.IDX + bytes(1 << 17), mtime=0))
    with pytest.raises(DataError, match="holds more than 65536 bytes"):
        read_idx(tmp_path / "idx.gz")


def test_a_liberty_bomb_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("flows.library_cache.LARGEST", 1 << 16)
    (tmp_path / "a.lib.gz").write_bytes(gzip.compress(good.LIBERTY + b" " * (1 << 17)))
    with pytest.raises(FlowError, match="holds more than 65536 bytes"):
        Library.load(tmp_path / "a.lib.gz")


def claimed(size: int) -> bytes:
    """A .npz whose directory says that its array takes `size` bytes."""
    raw = bytearray(good.as_npz({"w": [1, 2, 3]}))
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = struct.pack("<I", size)
    return bytes(raw)


def shaped(shape: tuple[int, ...]) -> bytes:
    """A .npz whose array's own header tells a larger shape."""
    member, raw = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"descr": "<i8", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("w.npy", member.getvalue() + bytes(24))
    return raw.getvalue()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (claimed(0xF0000000), "take 4026531840 bytes, more than 2147483648"),
        (shaped((1 << 40,)), "is longer than what is there"),
        (shaped((1 << 40, 1 << 40)), "is longer than what is there"),
    ],
)
def test_an_array_bomb_is_refused(tmp_path: Path, raw: bytes, sentence: str) -> None:
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(ValueError, match=sentence):
        npz.read_npz(tmp_path / "a.npz")


def test_a_checkpoint_cannot_ask_for_memory(tmp_path: Path) -> None:
    from quanos.checkpoint import CheckpointError, load_network

    for change in ({"classes": 60_000}, {"input_shape": [60_000, 4, 4]}, {"classes": 1 << 50}):
        (tmp_path / "c").write_bytes(good.as_checkpoint(good.META | change))
        with pytest.raises(CheckpointError, match="does not fit its network"):
            load_network(tmp_path / "c")


def test_every_download_is_pinned_by_sha256() -> None:
    pins = [pin for files in download.FILES.values() for pin in files.items()]
    assert len(pins) == 6
    assert all(re.fullmatch(r"https?://\S+\.gz", url) for url, _ in pins)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for _, digest in pins)
    assert len({digest for _, digest in pins}) == 6


HOSTILE = ("a; exec -- touch pwned", 'b" ; !touch pwned', "c\n!touch pwned", "$(touch pwned)", "-x")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_a_library_never_reach_a_script(name: str) -> None:
    """Yosys has commands that run a shell; cells' names stand in its scripts."""
    for old in (b"NAND2_X1", b"A1"):
        text = good.LIBERTY.replace(b"(" + old + b")", f"('{name}')".replace("'", '"').encode(), 1)
        with pytest.raises(FlowError):
            liberty.read(text, "file.lib", "0" * 64)


@pytest.mark.parametrize("name", ["top; exec -- touch pwned", "top -x", "top\n!touch pwned", ""])
def test_names_of_a_design_never_reach_a_script(tmp_path: Path, name: str) -> None:
    from flows.synth import synthesize

    (tmp_path / "a.v").write_text("module top(input a, output y); assign y = ~a; endmodule")
    with pytest.raises(FlowError, match="is no name of a Verilog module"):
        synthesize([tmp_path / "a.v"], name, tmp_path, good.LIBRARY)


@pytest.mark.parametrize("name", ['a".v', "a\n!touch pwned\n.v"])
def test_a_path_that_would_end_its_quotes_is_refused(name: str) -> None:
    with pytest.raises(FlowError, match="cannot be given to Yosys"):
        yosys.quote(name)


def hostile_netlist(path: Path, name: str) -> Netlist:
    """CHAIN with a net, a cell and a port of that name."""
    ports = {"clk": ("input", [4]), "b": ("input", [3]), name: ("input", [2]), "y": ("output", [5])}
    cells = {f"{name}_" if cell == "$1" else cell: pins for cell, pins in CHAIN.items()}
    path.write_text(json.dumps(module(cells, ports, {name: [2], f"{name}.q": [8], "y": [5]})))
    return Netlist.load(path, good.LIBRARY)


@pytest.mark.parametrize("name", ["a; $system", "a /* ", "a\n", "a\tb", 'a" '])
def test_names_of_a_netlist_have_no_blanks(tmp_path: Path, name: str) -> None:
    """A blank ends an escaped identifier of Verilog: what follows would be code."""
    with pytest.raises(FlowError, match="blank"):
        hostile_netlist(tmp_path / "n.json", name)


def test_other_odd_names_of_a_netlist_are_escaped_and_never_executed(tmp_path: Path) -> None:
    name = "__import__('os').mkdir('pwned');$system(\"x\")"
    netlist = hostile_netlist(tmp_path / "n.json", name)
    assert f"\\{name} " in to_verilog(netlist)
    circuit = Circuit.of(netlist, good.LIBRARY)
    inputs = {net: np.zeros((2, 8), np.uint8) for net in circuit.data_inputs}
    trace = Functional(circuit).simulate(inputs)
    assert trace.bits
    assert not Path("pwned").exists()

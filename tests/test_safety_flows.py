"""What files of hardware and flow may never do: be unpickled, fill the memory, reach a script."""

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path

import good_flow_files as good
import numpy as np
import pytest
from test_flows_netlist import CHAIN, LIBRARY, module

from flows.cells import liberty
from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.gates.netlist_write import to_verilog
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator.functional import Functional
from flows.synth import synthesize
from flows.synthesis import yosys
from hw.rtl import npz


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


def test_a_liberty_bomb_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("flows.cells.library_cache.LARGEST", 1 << 16)
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
    (tmp_path / "a.v").write_text("module top(input a, output y); assign y = ~a; endmodule")
    with pytest.raises(FlowError, match="is no name of a Verilog module"):
        synthesize([tmp_path / "a.v"], name, tmp_path, LIBRARY)


@pytest.mark.parametrize("name", ['a".v', "a\n!touch pwned\n.v"])
def test_a_path_that_would_end_its_quotes_is_refused(name: str) -> None:
    with pytest.raises(FlowError, match="cannot be given to Yosys"):
        yosys.quote(name)


def hostile_netlist(path: Path, name: str) -> Netlist:
    """CHAIN with a net, a cell and a port of that name."""
    ports = {"clk": ("input", [4]), "b": ("input", [3]), name: ("input", [2]), "y": ("output", [5])}
    cells = {f"{name}_" if cell == "$1" else cell: pins for cell, pins in CHAIN.items()}
    path.write_text(json.dumps(module(cells, ports, {name: [2], f"{name}.q": [8], "y": [5]})))
    return Netlist.load(path, LIBRARY)


@pytest.mark.parametrize("name", ["a; $system", "a /* ", "a\n", "a\tb", 'a" '])
def test_names_of_a_netlist_have_no_blanks(tmp_path: Path, name: str) -> None:
    """A blank ends an escaped identifier of Verilog: what follows would be code."""
    with pytest.raises(FlowError, match="blank"):
        hostile_netlist(tmp_path / "n.json", name)


def test_other_odd_names_of_a_netlist_are_escaped_and_never_executed(tmp_path: Path) -> None:
    name = "__import__('os').mkdir('pwned');$system(\"x\")"
    netlist = hostile_netlist(tmp_path / "n.json", name)
    assert f"\\{name} " in to_verilog(netlist)
    circuit = Circuit.of(netlist, LIBRARY)
    inputs = {net: np.zeros((2, 8), np.uint8) for net in circuit.data_inputs}
    trace = Functional(circuit).simulate(inputs)
    assert trace.bits
    assert not Path("pwned").exists()

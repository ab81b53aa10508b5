"""Faults of the machine under hardware and flow; those of the whole job are in test_faults.py."""

import os
from pathlib import Path

import pytest
from fuzzing import largest_file

from flows import console
from flows.library import Library
from flows.synth import synthesize
from hw.rtl import verilog
from hw.rtl.spec import MacSpec


def write_verilog(folder: Path) -> None:
    verilog.write(MacSpec(scheme="fixed", w_width=2, a_width=2), folder)


def write_text(folder: Path) -> None:
    console.write_text(folder / "file.v", "a" * 5000)


@pytest.mark.parametrize("write", [write_verilog, write_text])
def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path: Path, monkeypatch, write) -> None:
    monkeypatch.setattr(verilog, "emit", lambda spec: "module a; endmodule\n" * 300)
    with largest_file(4096), pytest.raises(OSError, match="File too large") as error:
        write(tmp_path)
    assert Path(error.value.filename).suffix == ".v"
    assert list(tmp_path.iterdir()) == []


def test_files_from_the_future_are_known_by_their_content(tmp_path: Path) -> None:
    """What is kept is known by hashes: a file's time, wrong after a jump, decides nothing."""
    library, source = Library.load(), tmp_path / "top.v"
    source.write_text("module top(input a, b, output y); assign y = a & b; endmodule")
    first = synthesize([source], "top", tmp_path, library)
    for path in tmp_path.iterdir():
        os.utime(path, (4e9, 4e9))
    source.write_text("module top(input a, b, output y); assign y = a ^ b; endmodule")
    os.utime(source, (1, 1))
    second = synthesize([source], "top", tmp_path, library)
    assert second.netlist_sha256 != first.netlist_sha256

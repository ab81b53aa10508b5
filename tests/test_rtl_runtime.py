"""Verilator's own objects: kept after a build, lent to the next one of the same options."""

from pathlib import Path

import pytest

from hw.tb import runtime


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build folder with objects of Verilator's and of a design, in an empty cache's world."""
    monkeypatch.setenv("QUANOS_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "built"
    place.mkdir()
    for name in ("verilated.o", "verilated_vpi.o", "Vtop__ALL.o", "verilator.o", "verilated.d"):
        (place / name).write_text(name)
    return place


def lent(place: Path, options: str) -> list[str]:
    place.mkdir()
    runtime.lend(place, options)
    return sorted(path.name for path in place.iterdir())


def test_what_was_kept_is_lent_to_builds_of_the_same_options(built: Path, tmp_path: Path) -> None:
    assert lent(tmp_path / "first", "-O1") == []
    runtime.keep(built, "-O1")
    assert lent(tmp_path / "same", "-O1") == ["verilated.o", "verilated_vpi.o"]
    assert lent(tmp_path / "other", "-O2") == []
    cache = [path.name for path in (tmp_path / "cache" / "verilator").iterdir()]
    assert len(cache) == 1, "nothing but the objects' folder is left"


def test_a_makefile_that_comes_later_is_not_newer(built: Path, tmp_path: Path) -> None:
    """Verilator writes it after the objects are lent, and make compiles what is older than it."""
    runtime.keep(built, "")
    lent(tmp_path / "next", "")
    makefile = tmp_path / "next" / "Vtop.mk"
    makefile.touch()
    assert (tmp_path / "next" / "verilated.o").stat().st_mtime > makefile.stat().st_mtime


def test_a_cache_that_cannot_be_written_costs_time_alone(built: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands there")
    runtime.keep(built, "")
    assert lent(tmp_path / "next", "") == []


def test_the_first_of_two_builds_keeps_its_objects(built: Path, tmp_path: Path) -> None:
    runtime.keep(built, "")
    (built / "verilated.o").write_text("another")
    runtime.keep(built, "")
    lent(tmp_path / "next", "")
    assert (tmp_path / "next" / "verilated.o").read_text() == "verilated.o"

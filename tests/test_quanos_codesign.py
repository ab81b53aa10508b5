"""The page that closes the loop, from files of the shapes that the tools write."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.table import SCHEMES, EnergyTable
from quanos.codesign import Codesign, collect
from quanos.energy import layer_shapes
from quanos.export import compare, describe
from quanos.integer.graph import trace
from quanos.integer.program import lower
from quanos.layers import quantize
from quanos.models import build_model

SHAPE, BITS = (1, 8, 8), 4


@pytest.fixture
def files(tmp_path: Path) -> Codesign:
    """What the four tools wrote about a small network."""
    torch.manual_seed(0)
    network = build_model("vgg-small", SHAPE, 10)
    model = quantize(network, BITS).train()
    model(torch.rand(8, *SHAPE))
    program = lower(trace(model.eval()), SHAPE)
    agreement = compare(model, program, torch.rand(4, *SHAPE))
    about = {"model": "vgg-small", "classes": 10}
    write(tmp_path / "export.json", describe(program, agreement) | about)
    shapes = layer_shapes(network, SHAPE)
    write(
        tmp_path / "tiling.json",
        {"rows": 8, "columns": 8, "layers": [
            {"name": one.name, "scheme": scheme, "bits": BITS, "lanes": 4, "groups": 1,
             "m": 1, "k": one.macs, "n": 1, "macs": one.macs, "tiles": 3, "cycles": 5,
             "utilisation": 0.5, "accesses": 2 * one.accesses}
            for scheme in SCHEMES for one in shapes
        ]},
    )  # fmt: skip
    counts = {"macs": 9, "tiles": 8, "modes": 7, "cycles": 6, "classes": [4, 2], "same_class": 2}
    write(tmp_path / "array.json", {"array": "array_dvafs_16_8x8"} | counts)
    write(
        tmp_path / "arrays.json",
        {"side": 4, "seed": 0, "streams": 8, "rows": [
            {"layer": one.name, "scheme": scheme, "bits": BITS, "array": "a", "array_fj": 75,
             "ci95_fj": 3, "uniform_fj": 100}
            for scheme in SCHEMES for one in shapes
        ]},
    )  # fmt: skip
    measured(tmp_path / "table.json", [one.name for one in shapes])
    return Codesign(
        export=tmp_path / "export.json", tiling=tmp_path / "tiling.json",
        array=tmp_path / "array.json", table=tmp_path / "table.json",
        arrays=tmp_path / "arrays.json",
        out=tmp_path / "docs/codesign.md",
    )  # fmt: skip


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def measured(path: Path, names: list[str]) -> None:
    """A table in which a layer's own codes cost half of the uniform ones."""
    shipped = EnergyTable.load()
    parts = ("energy_fj", "switching_fj", "internal_fj", "clock_fj", "leakage_fj")
    rows = list(shipped.rows)
    for scheme in SCHEMES:
        row = shipped.row(scheme, BITS, BITS)
        half = {part: getattr(row, part) / 2 for part in parts}
        rows += [replace(row, stimulus=name, **half) for name in names]
    EnergyTable(shipped.header, tuple(rows)).save(path)


def test_every_layer_stands_on_the_page(files: Codesign) -> None:
    files.run()
    text = files.out.read_text(encoding="utf-8")
    layers = collect(files.sources(), EnergyTable.load(files.table))
    for layer in layers:
        assert text.count(f"| {layer.name} |") == 5
        law, uniform, own = layer.compute_uj("dvafs")
        if not layer.shape.signed:  # the first layer is held against signed uniform codes
            assert own == pytest.approx(uniform / 2)
        assert law == pytest.approx(layer.shape.macs * (3.1 * BITS / 32 + 0.1) / 1e6)  # Table I
        assert layer.access_uj("dvafs")[1] == pytest.approx(2 * layer.access_uj("dvafs")[0])
    assert "(0.50)" in text
    assert text.count("75 (0.75)") == len(SCHEMES) * len(layers)
    assert "their classes are the trainer's for 2 of 2 images" in text
    assert "0 of " in text
    assert "<svg" in files.out.with_suffix(".svg").read_text(encoding="utf-8")


def change(path: Path, edit: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    write(path, content)


REFUSED = [
    ("is not of the network", "export", lambda c: c["layers"].pop()),
    ("lacks layer features.0", "tiling", lambda c: c["layers"].pop(0)),
    ("of another network", "tiling", lambda c: c["layers"][0].update(macs=1)),
    ("no row for scheme", "export", lambda c: c["layers"][0].update(bits=5)),
    ("lack layer features.0 at 4 bits", "arrays", lambda c: c["rows"].pop(0)),
    ("lack layer features.0 at 4 bits", "arrays", lambda c: c["rows"][0].update(bits=5)),
    ("has schema 99; this version reads", "table", lambda c: c.update(schema=99)),
    ("has no 'cycles'", "array", lambda c: c.pop("cycles")),
]


@pytest.mark.parametrize(("message", "name", "edit"), REFUSED, ids=[m[:14] for m, _, _ in REFUSED])
def test_files_that_do_not_fit_are_refused(
    message: str, name: str, edit: Any, files: Codesign
) -> None:
    change(getattr(files, name), edit)
    with pytest.raises(ValueError, match=message):
        files.run()
    assert not files.out.exists()


def test_an_unknown_scheme_is_refused(files: Codesign) -> None:
    with pytest.raises(ValueError, match="scheme 'dvas' is unknown"):
        replace(files, scheme="dvas").run()

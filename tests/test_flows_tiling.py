"""Layers on the systolic array: tiles, cycles and accesses against the array's own enumeration."""

from pathlib import Path

import numpy as np
import pytest

from flows.console import FlowError
from flows.tiling import place, text
from hw.rtl.layers import Layer, read_layers
from hw.rtl.spec import SCHEMES, ArraySpec


def layer(
    m: int,
    k: int,
    n: int,
    *,
    groups: int = 1,
    bits: int = 4,
    a_signed: bool = False,
    images: int = 1,
) -> Layer:
    """A layer with random codes in range."""
    rng = np.random.default_rng(5)
    most = max((1 << bits - 1) - 1, 1)
    w = rng.integers(-most, most, (groups, k, n), endpoint=True)
    w = np.where(w == 0, 1, w) if bits == 1 else w
    low, high = (-most, most) if a_signed else (0, (1 << bits) - 1)
    a = rng.integers(low, high, (groups, m, k), endpoint=True)
    return Layer(
        name="layer", bits=bits, a_signed=a_signed, images=images, a=a, w=w, sums=a @ w
    )  # fmt: skip


CASES = [
    (layer(1, 1, 1), 2, 3),
    (layer(64, 144, 16, bits=8), 8, 8),
    (layer(70, 25, 33, bits=3), 4, 2),
    (layer(16, 9, 1, groups=6, bits=5), 8, 8),
    (layer(12, 27, 7, bits=16, a_signed=True), 3, 8),
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("case", "rows", "columns"), CASES)
def test_counts_are_those_of_the_tiles(scheme: str, case: Layer, rows: int, columns: int) -> None:
    spec = ArraySpec(scheme=scheme, rows=rows, columns=columns, depth=32)
    placed, mode = place(case, spec), case.mode(spec.mac)
    tiles = list(spec.tiles(*case.shape, mode))
    size = {axis: [len(range(*getattr(t, axis).indices(10**6))) for t in tiles] for axis in "mkn"}
    assert placed.tiles == case.groups * len(tiles)
    assert placed.weights_in == case.groups * np.dot(size["k"], size["n"])
    assert placed.activations_in == case.groups * np.dot(size["m"], size["k"])
    emitted = sum(m * n for m, n, t in zip(size["m"], size["n"], tiles, strict=True) if t.emit)
    assert placed.sums_out == case.groups * emitted
    assert placed.cycles == case.groups * spec.cycles(*case.shape, mode)
    assert 0 < placed.utilisation <= 1
    assert placed.accesses == placed.weights_in + placed.activations_in + placed.sums_out


def test_one_image_is_counted() -> None:
    spec = ArraySpec(scheme="dg", rows=4, columns=4)
    once, twice = place(layer(20, 9, 8), spec), place(layer(40, 9, 8, images=2), spec)
    assert (once.macs, once.cycles, once.m) == (twice.macs, twice.cycles, twice.m)


@pytest.mark.parametrize(
    ("scheme", "bits", "zero", "lanes", "w_bits"),
    [("fixed", 3, False, 1, 16), ("dvafs", 3, False, 4, 3), ("dvafs", 9, False, 1, 9),
     ("dvafs_st", 1, False, 4, 1), ("dg", 1, True, 1, 2)],
)  # fmt: skip
def test_the_mode_is_the_narrowest_that_holds_the_codes(
    scheme: str, bits: int, zero: bool, lanes: int, w_bits: int
) -> None:
    case = layer(4, 4, 4, bits=bits)
    if zero:
        case.w[0, 0, 0] = 0
    mode = case.mode(ArraySpec(scheme=scheme).mac)
    assert (mode.lanes, mode.w_bits) == (lanes, w_bits)


def test_a_sum_that_is_too_long_is_refused() -> None:
    with pytest.raises(FlowError, match=r"layer does not fit the array array_dg.*--k-max"):
        place(layer(2, 40, 2), ArraySpec(scheme="dg", rows=2, columns=2, k_max=39))


def write(path: Path, **changed: object) -> Path:
    """A good file of operands, with some arrays changed or, where None, left out."""
    good = layer(6, 4, 3)
    arrays = {
        "a": good.a, "w": good.w, "sums": good.sums,
        "bits": np.int64(4), "a_signed": np.int64(0), "images": np.int64(2),
    } | changed  # fmt: skip
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_layers_are_read_in_order(tmp_path: Path) -> None:
    write(tmp_path / "01-second.npz")
    write(tmp_path / "00-first.npz")
    layers = read_layers(tmp_path)
    assert [one.name for one in layers] == ["first", "second"]
    assert np.array_equal(layers[0].a @ layers[0].w, layers[0].sums)
    placed = [place(one, ArraySpec(scheme="dvafs")) for one in layers]
    assert "second" in text(placed)


REFUSED = [
    ("not the products", {"sums": np.zeros((1, 6, 3), np.int64)}),
    ("lacks w", {"w": None}),
    ("integers only", {"a": np.zeros((1, 6, 4))}),
    ("must hold a", {"a": np.zeros((1, 6, 5), np.int64)}),
    ("w code 9; at 4 bits -7 to 7", {"w": np.full((1, 4, 3), 9)}),
    ("a code -1; at 4 bits 0 to 15", {"a": np.full((1, 6, 4), -1)}),
    ("1 to 16 bits", {"bits": np.int64(17)}),
]


@pytest.mark.parametrize(("message", "changed"), REFUSED, ids=[m[:12] for m, _ in REFUSED])
def test_bad_operands_are_refused(message: str, changed: dict[str, object], tmp_path: Path) -> None:
    write(tmp_path / "00-x.npz", **changed)
    with pytest.raises(ValueError, match=message):
        read_layers(tmp_path)


def test_missing_or_damaged_operands_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no layer operands"):
        read_layers(tmp_path)
    path = write(tmp_path / "00-x.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="no whole"):
        read_layers(tmp_path)

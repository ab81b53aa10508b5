"""A network on the array: blocks, the head, the command, and what it refuses."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal

from hw.rtl.layers import HEAD, Layer, read_layers
from hw.rtl.spec import ArraySpec
from hw.tb import vgg19
from hw.tb.blocks import blocks, pasted, share
from hw.tb.head import read_head
from hw.tb.network import DIGITS, main
from hw.tb.network_outcome import classified

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "hw/tb" / DIGITS
SHAPES = [(1, 6, 9, 5), (3, 4, 2, 3), (1, 6, 5, 4)]  # groups, M, K, N
IMAGES = 2


def layer(number: int) -> Layer:
    """Random codes of four, three or two bits, the first with signed activations."""
    (groups, m, k, n), bits = SHAPES[number], 4 - number
    rng = np.random.default_rng(number)
    most = (1 << bits - 1) - 1
    a = rng.integers(-most if number == 0 else 0, most, (groups, m, k), endpoint=True)
    w = rng.integers(-most, most, (groups, k, n), endpoint=True)
    return Layer(
        name=f"l{number}", bits=bits, a_signed=number == 0, images=IMAGES, a=a, w=w, sums=a @ w
    )


def head_of(last: Layer, classes: int = 3) -> dict[str, np.ndarray]:
    """A head with random numbers, and the logits that follow from them."""
    rng = np.random.default_rng(9)
    scale, offset = rng.uniform(0.1, 1, (2, last.shape[2]))
    weight, bias = rng.normal(size=(classes, last.shape[2])), rng.normal(size=classes)
    features = np.maximum(last.sums[0] * scale + offset, 0).reshape(IMAGES, -1, len(scale)).mean(1)
    logits = features @ weight.T + bias
    return {"scale": scale, "offset": offset, "weight": weight, "bias": bias, "logits": logits}


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder as `quanos export --operands` writes it."""
    folder = tmp_path / "layers"
    folder.mkdir()
    layers = [layer(number) for number in range(len(SHAPES))]
    for number, one in enumerate(layers):
        np.savez(
            folder / f"{number:02}-{one.name}.npz", a=one.a, w=one.w, sums=one.sums,
            bits=one.bits, a_signed=int(one.a_signed), images=IMAGES,
        )  # fmt: skip
    np.savez(folder / HEAD, **head_of(layers[-1]))
    return folder


SPEC = ArraySpec(scheme="dvafs", rows=2, columns=2, w_width=8, a_width=8, depth=4, k_max=64)


def test_blocks_hold_every_sum_once() -> None:
    layers = [layer(number) for number in range(len(SHAPES))]
    found = blocks(layers, SPEC, 0, np.random.default_rng(0))
    for number, one in enumerate(layers):
        own = [block for block in found if block.layer == number]
        placed = [(b, one.sums[b.group, b.m, b.n]) for b in own]
        assert np.array_equal(pasted(one, placed), one.sums)
        assert sum(values.size for _, values in placed) == one.sums.size
        for block in own:
            product = block.product(layers, SPEC)
            assert np.array_equal(product.a @ product.w, one.sums[block.group, block.m, block.n])


def test_sampled_blocks_lie_inside_the_layers() -> None:
    layers = [layer(number) for number in range(len(SHAPES))]
    found = blocks(layers, SPEC, 5, np.random.default_rng(0))
    assert [block.layer for block in found] == [n for n in range(len(layers)) for _ in range(5)]
    for block in found:
        sums = layers[block.layer].sums[block.group, block.m, block.n]
        lanes = layers[block.layer].mode(SPEC.mac).lanes
        assert len(sums) == min(SPEC.depth, layers[block.layer].shape[0])
        assert 1 <= sums.shape[1] <= SPEC.columns * lanes


@pytest.mark.parametrize("jobs", [1, 2, 3, 7])
def test_work_is_shared_evenly(jobs: int) -> None:
    costs = np.random.default_rng(jobs).integers(1, 50, 40).tolist()
    shares = share(costs, jobs)
    assert sorted(item for own in shares for item in own) == list(range(40))
    assert all(own == sorted(own) for own in shares)
    loads = [sum(costs[item] for item in own) for own in shares]
    assert max(loads) - min(loads) <= max(costs)


def test_classes_follow_from_the_sums(exported: Path) -> None:
    last = read_layers(exported)[-1]
    head = read_head(exported, last)
    told = classified(head, last.sums[0])
    assert told == {"classes": tuple(head.classes), "same_class": IMAGES}
    swapped = replace(head, logits=-head.logits)
    wrong = classified(swapped, last.sums[0])
    assert wrong["same_class"] < IMAGES
    assert str(swapped.classes) in wrong["error"]


def test_the_shipped_digits_are_ten_images_at_many_precisions() -> None:
    layers = read_layers(SHIPPED)
    head = read_head(SHIPPED, layers[-1])
    assert {one.images for one in layers} == {10}
    assert len({one.bits for one in layers}) >= 4
    assert len(set(head.classes)) > 4
    assert classified(head, layers[-1].sums[0])["same_class"] == 10


def test_the_command_runs_a_network_on_two_simulators(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(exported), "--rows", "1", "--columns", "2", "--width", "8", "--depth", "4"]
    words += [
        "--k-max",
        "64",
        "--jobs",
        "2",
        "--build",
        str(tmp_path / "sim"),
        "--out",
        str(tmp_path / "a.json"),
    ]
    assert main(words) == 0, capsys.readouterr().err
    told = json.loads((tmp_path / "a.json").read_text())
    layers = read_layers(exported)
    assert told["macs"] == sum(one.macs for one in layers)
    assert (told["modes"], told["simulators"], told["same_class"]) == (3, 2, IMAGES)
    assert told["classes"] == read_head(exported, layers[-1]).classes
    printed = capsys.readouterr().out
    assert re.search(r"2 simulator\(s\): \S+ MACs/s by the clock, \S+ by their processor", printed)
    assert "every sum equals the network's" in printed


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def rewrite(path: Path, **changed: object) -> None:
    with np.load(path) as file:
        data = dict(file) | changed
    np.savez(path, **{name: value for name, value in data.items() if value is not None})


def four_images(folder: Path) -> None:
    rewrite(folder / "02-l2.npz", images=4)
    rewrite(folder / HEAD, logits=np.ones((4, 3)))


ONES, NAN, OBJECTS = np.ones((3, 4, 3), np.int64), np.full(4, np.nan), np.array([None], object)
REFUSED = [
    ("holds no layer operands", shutil.rmtree, []),
    (r"l1\.npz is no whole \.npz file .*; write it with", lambda f: cut(f / "01-l1.npz"), []),
    (r"l1\.npz has sums that are not", lambda f: rewrite(f / "01-l1.npz", sums=ONES), []),
    (r"l0\.npz has w code", lambda f: rewrite(f / "00-l0.npz", bits=2), []),
    (r"head\.npz is no whole head", lambda f: cut(f / HEAD), []),
    (r"head\.npz is no whole head", lambda f: rewrite(f / HEAD, bias=None), []),
    (
        "has a scale or weights that do not give",
        lambda f: rewrite(f / HEAD, scale=ONES[0, :, 0]),
        [],
    ),
    (r"finite numbers scale of shape \(4,\)", lambda f: rewrite(f / HEAD, scale=NAN), []),
    (r"those in it have \(3, 4, 3\)", lambda f: rewrite(f / HEAD, offset=ONES), []),
    ("l0 sums 9 products, the array at most 8; raise --k-max", None, ["--k-max", "8"]),
    ("l0 has codes of 4 bits, the array multi", None, ["--width", "2", "--scheme", "dg"]),
    ("the array multiplies 3; raise --width", None, ["--width", "3", "--scheme", "fixed"]),
    ("rows must be a whole number from 1 to 32, not 33", None, ["--rows", "33"]),
    ("no bits|whole number from 2 to 32, not 0", None, ["--width", "0"]),
    ("'nan'", None, ["--depth", "nan"]),
    ("'0' is no whole number from 1 to 256", None, ["--jobs", "0"]),
    ("'-1' is no whole number from 0 to 10000", None, ["--sample", "-1"]),
    ("'10001' is no whole number from 0 to 10000", None, ["--sample", "10001"]),
    ("'x' is no whole number of at least 0", None, ["--seed", "x"]),
    ("invalid choice: 'booth'", None, ["--scheme", "booth"]),
    (r"l0\.npz must hold integers only", lambda f: rewrite(f / "00-l0.npz", a=NAN), []),
    (r"l0\.npz is no whole .*Python objects", lambda f: rewrite(f / "00-l0.npz", a=OBJECTS), []),
    (r"l0\.npz must have 1 to 16 bits", lambda f: rewrite(f / "00-l0.npz", bits=99), []),
    (
        r"l0\.npz must have a_signed 0 or 1, not 7",
        lambda f: rewrite(f / "00-l0.npz", a_signed=7),
        [],
    ),
    (r"l0\.npz must hold a \(groups", lambda f: rewrite(f / "00-l0.npz", w=ONES[:, :0]), []),
    (r"l0\.npz lacks images", lambda f: rewrite(f / "00-l0.npz", images=None), []),
    (r"head\.npz must hold finite numbers", lambda f: rewrite(f / HEAD, bias=np.float64(1)), []),
    (r"head\.npz is no whole head", lambda f: rewrite(f / HEAD, bias="a"), []),
    (r"head\.npz is of 4 images, which 6 rows of l2", lambda f: four_images(f), []),
    (r"head\.npz is no whole head", lambda f: cut(f / HEAD), ["--plan"]),
    ("layers: Is a directory; name a file in it", None, ["--out", "LAYERS"]),
    ("l0.npz: File exists; a file stands where a folder", None, ["--out", "LAYERS/00-l0.npz/x"]),
]


@pytest.mark.parametrize(("sentence", "spoil", "words"), REFUSED, ids=lambda x: str(x)[:24])
def test_what_does_not_fit_is_refused(
    sentence, spoil, words, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if spoil:
        spoil(exported)
    words = [word.replace("LAYERS", str(exported)) for word in words]
    error = refusal(main, [str(exported), *words, "--build", str(tmp_path / "sim")], capsys)
    assert re.search(sentence, error), error
    assert not (tmp_path / "sim").exists()


def test_the_drawn_layers_have_the_shapes_of_the_plan(tmp_path: Path, monkeypatch) -> None:
    """Three layers of few channels in place of sixteen."""
    monkeypatch.setattr(vgg19, "CHANNELS", (4, 5, 2))
    monkeypatch.setattr(vgg19, "BITS", (3, 2, 2))
    shapes = vgg19.vgg19_shapes()
    drawn = read_layers(vgg19.vgg19_layers(tmp_path, seed=3))
    assert [layer.shape for layer in drawn] == [(64, 27, 4), (64, 36, 5), (64, 45, 2)]
    for name in ("name", "shape", "bits", "a_signed", "images", "macs"):
        assert [getattr(s, name) for s in shapes] == [getattr(d, name) for d in drawn]
    assert {int(np.abs(layer.w).max()) for layer in drawn} == {3, 1}

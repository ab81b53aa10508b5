"""Folders of images as a data set, and what is refused of them."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from quanos.data import image_folder, load_dataset
from quanos.datasets import image_folder as module
from quanos.datasets.formats import DataError

RNG = np.random.default_rng(0)


def picture(path, *shape, mode="L"):
    """A picture of random pixels, of the kind that its name ends with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape or (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Two classes with three training pictures and one test picture each."""
    for name in ("cat", "dog"):
        for k in range(3):
            picture(tmp_path / "train" / name / f"{k}.png")
        picture(tmp_path / "test" / name / "0.png")
    return tmp_path


def test_pixels_and_labels_are_the_files(folder):
    pixels = picture(folder / "train" / "dog" / "9.png")
    data = load_dataset("folder", folder)
    assert (data.input_shape, data.classes) == ((1, 8, 8), 2)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert data.test.labels.tolist() == [0, 1]
    assert torch.equal(data.train.codes[-1, 0], torch.from_numpy(pixels))


@pytest.mark.parametrize(
    ("ending", "mode", "channels"),
    [("png", "L", 1), ("png", "1", 1), ("png", "LA", 1), ("png", "RGB", 3), ("png", "P", 3),
     ("png", "RGBA", 3), ("jpg", "CMYK", 3), ("bmp", "RGB", 3), ("JPEG", "L", 1),
     ("webp", "RGB", 3), ("pgm", "L", 1)],
)  # fmt: skip
def test_kinds_of_images(tmp_path, ending, mode, channels):
    for name in ("a", "b"):
        for k in range(2):
            picture(tmp_path / name / f"{k}.{ending}", 8, 6, mode=mode)
    assert image_folder(tmp_path).input_shape == (channels, 8, 6)


def test_one_coloured_image_makes_all_of_them_so(folder):
    picture(folder / "train" / "dog" / "9.png", mode="RGB")
    picture(folder / "test" / "dog" / "9.png", mode="RGB")
    assert image_folder(folder).input_shape == (3, 8, 8)


def test_classes_alone_are_split_the_same_way_every_time(tmp_path):
    for name, count in (("a", 8), ("b", 2)):
        for k in range(count):
            picture(tmp_path / name / f"{k}.png")
    one, two = image_folder(tmp_path), image_folder(tmp_path)
    assert one.test.labels.tolist() == [0, 0, 1]
    assert len(one.train) == 7
    assert torch.equal(one.test.codes, two.test.codes)


def test_size_cuts_and_scales(folder):
    picture(folder / "train" / "cat" / "wide.png", 20, 50)
    assert image_folder(folder, size=16).input_shape == (1, 16, 16)


@pytest.mark.parametrize(("shape", "channels"), [((5, 6, 4), 1), ((5, 6, 4, 3), 3)])
def test_arrays(tmp_path, shape, channels):
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    for part in ("train", "test"):
        np.savez(tmp_path / f"{part}.npz", images=images, labels=np.array([0, 1, 2, 1, 0]))
    data = image_folder(tmp_path)
    assert (data.input_shape, data.classes) == ((channels, 6, 4), 3)
    assert np.array_equal(data.train.codes[2].permute(1, 2, 0).squeeze(), images[2])


def remove(folder):
    for file in (folder / "test" / "dog").iterdir():
        file.unlink()


def leave_nothing(folder):
    remove(folder)
    (folder / "test" / "dog").rmdir()


def link_outside(folder):
    target = folder.parent / f"{folder.name}-other.png"
    picture(target)
    (folder / "train" / "cat" / "link.png").symlink_to(target)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (remove, "holds no image"),
        (leave_nothing, "1 folder; it takes one for each class"),
        (lambda f: (f / "test").rename(f / "val"), "has train and no test"),
        (lambda f: (f / "train" / "dog" / "more").mkdir(), "no file of this folder"),
        (lambda f: (f / "train" / "dog" / "a.GIF").touch(), "of a kind that is not read"),
        (lambda f: (f / "test" / "dog").rename(f / "test" / "cow"), "class 'cow' is in one of"),
        (lambda f: picture(f / "train" / "cat" / "x.png", 8, 9), "9x8 pixels where others have"),
        (lambda f: picture(f / "test" / "cat" / "x.png", mode="RGB"), "1 x 8 x 8 and test images"),
        (lambda f: (f / "train" / "cat" / "0.png").write_bytes(b"no"), "no image that can be"),
        (lambda f: (f / "train" / "cat" / "d.png").mkdir(), "no file of this folder"),
        (link_outside, "no file of this folder"),
        (
            lambda f: Image.new("I;16", (8, 8)).save(f / "train" / "cat" / "0.png"),
            "8 bits a colour",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_data_set_is_refused(folder, damage, says):
    damage(folder)
    with pytest.raises(DataError, match=says):
        image_folder(folder)


@pytest.mark.parametrize("size", ["8", (8, 8), -1, 10_000])
def test_a_size_that_is_none_is_refused(folder, size):
    with pytest.raises(DataError, match="size is the side of a square"):
        image_folder(folder, size=size)


def test_a_truncated_image_is_refused_by_name(folder):
    path = folder / "train" / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"dog/1\.png is"):
        image_folder(folder)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MAX_FILE_BYTES", 10, "is larger than"),
        ("MAX_SIDE", 7, "up to 7 a side go"),
        ("MAX_BYTES", 100, "GB of memory"),
    ],
)
def test_limits(folder, monkeypatch, name, value, says):
    monkeypatch.setattr(module, name, value)
    with pytest.raises(DataError, match=says):
        image_folder(folder)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": np.zeros((2, 4, 4), np.uint8)}, "no .npz with arrays images and labels"),
        ({"images": np.array([None]), "labels": np.zeros(1, int)}, "no .npz with arrays"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.zeros(2, int)}, "images must be uint8"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(3, int)}, "2 whole numbers"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, 300])}, "from 0 to 255"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, arrays, says):
    for part in ("train", "test"):
        np.savez(tmp_path / f"{part}.npz", **arrays)
    with pytest.raises(DataError, match=says):
        image_folder(tmp_path)


def test_an_archive_that_promises_too_much_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    for part in ("train", "test"):
        with zipfile.ZipFile(tmp_path / f"{part}.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", bytes(5000))
    with pytest.raises(DataError, match="GB of memory"):
        image_folder(tmp_path)


@pytest.mark.parametrize("place", [None, "missing"])
def test_no_folder(tmp_path, place):
    with pytest.raises(DataError, match="--data-dir"):
        load_dataset("folder", tmp_path / place if place else None)

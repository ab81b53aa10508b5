"""Images of your own that are in memory already, as the data set that training takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from quanos.data import Dataset, Split
from quanos.datasets.formats import DataError

Images: TypeAlias = "tuple[Any, Any] | Sequence[tuple[Any, Any]]"
"""Images (N, C, H, W) and labels (N,), or a sequence of pairs as torch's data sets are."""

FULL_SCALE = 255


def dataset(train: Images, test: Images, *, classes: int = 0) -> Dataset:
    """A data set of images that are uint8 or floats in [0, 1], kept as 8-bit codes.

    `train` and `test` are each images (N, C, H, W) and labels (N,), as tensors or arrays, or a
    sequence of pairs (image (C, H, W), label). `classes` is one more than the largest label where
    it is not given. Raises DataError for another shape, numbers outside of [0, 1], no images,
    labels that are no classes, or splits that differ in shape.
    """
    splits = first, second = _split(train, "train"), _split(test, "test")
    shapes = [tuple(split.codes.shape[1:]) for split in splits]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"train has images of {shapes[0]} and test of {shapes[1]}; make them alike."
        )
    found = 1 + max(int(split.labels.max()) for split in splits)
    least = min(int(split.labels.min()) for split in splits)
    if least < 0 or (classes and classes < found):
        most = classes - 1 if classes else "classes - 1"
        raise DataError(f"labels must be from 0 to {most}, not from {least} to {found - 1}.")
    if least > 0 and not classes:
        raise DataError(
            f"labels count from 0, and here from {least} to {found - 1}; subtract {least}, or say "
            f"classes={found} if the first classes have no images."
        )
    return Dataset("tensors", first, second, classes or found)


def _split(given: Images, name: str) -> Split:
    if isinstance(given, DataLoader):
        raise DataError(f"{name} is a DataLoader; give its data set: loader.dataset.")
    if isinstance(given, tuple) and len(given) == 2:
        images, labels = (torch.as_tensor(part) for part in given)
    else:
        pairs = [given[index] for index in range(len(given))]
        images = torch.stack([torch.as_tensor(image) for image, _ in pairs] or [torch.empty(0)])
        labels = torch.tensor([int(label) for _, label in pairs])
    if images.ndim != 4 or not len(images) or labels.shape != images.shape[:1]:
        raise DataError(
            f"{name} must be images (N, C, H, W) with labels (N,), not {tuple(images.shape)} with "
            f"{tuple(labels.shape)}{_remedy(images, labels)}."
        )
    _, channels, height, width = images.shape
    if width in (1, 3, 4) and channels > 4 and height > width:
        raise DataError(
            f"{name} seems to be (N, H, W, C), {tuple(images.shape)}; move the channels: "
            "images.permute(0, 3, 1, 2)."
        )
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise DataError(f"{name}: labels must be class numbers, and some are no whole numbers.")
    return Split(_codes(images, name), labels.long(), FULL_SCALE)


def _remedy(images: Tensor, labels: Tensor) -> str:
    """What to do about shapes that are often handed over."""
    if len(images) != len(labels) or not len(images):
        return ""
    if images.ndim == 3:
        return "; give grey images their channel: images[:, None]"
    if labels.ndim == 2:
        numbers = "labels[:, 0]" if labels.shape[1] == 1 else "labels.argmax(1)"
        return f"; make labels class numbers: {numbers}"
    return ""


def _codes(images: Tensor, name: str) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
        raise DataError(
            f"{name}: images must be uint8 or floats in [0, 1], not {_dtype(images)} from "
            f"{images.min():g} to {images.max():g}; {_rescaling(images)}."
        )
    return (images * FULL_SCALE).round().to(torch.uint8)


def _dtype(images: Tensor) -> str:
    return str(images.dtype).removeprefix("torch.")


def _rescaling(images: Tensor) -> str:
    """What makes such numbers pixels."""
    if bool(images.isnan().any()):
        return "some are no number"
    if images.min() >= 0 and images.max() <= FULL_SCALE:
        return f"give bytes as uint8, or divide them by {FULL_SCALE}"
    return "normalise inside the model, so that an attack's epsilon counts pixels"

"""The network zoo: convolutional networks in the form that CIFAR-size images ask for.

Every model takes images (B, C, H, W) in [0, 1]; the normalisation is its first module, so that an
attack's epsilon is in pixels. `feeds` maps every shortcut convolution to the layer whose bits it
takes. `register` makes a network of your own known beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn

from quanos.architectures import ARCHITECTURES, Builder, Shape
from quanos.architectures import ConvNet as ConvNet
from quanos.architectures import Network as Network
from quanos.architectures import Normalize as Normalize
from quanos.console.own_code import import_asked
from quanos.integer.tracing import trace

LARGEST_SIZE = 1 << 16  # of a side, of channels and of classes
LARGEST_IMAGE = 1 << 26  # values; a network of one's own is run on one
_ZOO: dict[str, tuple[int, Builder]] = dict(ARCHITECTURES)
MODELS = tuple(_ZOO)
"""The networks that come with the package."""


def register(name: str, smallest: int = 1) -> Callable[[Builder], Builder]:
    """Make the network that the decorated function builds known as `name`.

    The function takes an image's shape (C, H, W) and the number of classes and returns a module
    that takes images (B, C, H, W) in [0, 1], normalises them itself and gives logits (B, classes).
    `smallest` is the least side of an image. Raises ValueError for a name of the package's own.
    """
    if name in MODELS:
        raise ValueError(f"the network {name!r} comes with the package; choose another name.")

    def keep(build: Builder) -> Builder:
        _ZOO[name] = smallest, build
        return build

    return keep


class UnknownModelError(ValueError):
    """A network that no imported module registers."""


def build_model(
    name: str,
    input_shape: Sequence[int],
    classes: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Network:
    """A float network of the zoo, or a registered one, for images of `classes` classes.

    `input_shape` is an image's (C, H, W). `mean` and `std` per channel, in units of [0, 1],
    normalise inside a model of the zoo (0.5 and 0.25 where not given). Weights come from torch's
    global generator: seed it for the same weights. Raises UnknownModelError, and ValueError for a
    shape that the network cannot take.
    """
    with torch.device("cpu"):  # tensors that a module makes as it is imported stay whole
        import_asked()
    if name not in _ZOO:
        raise UnknownModelError(
            f"model {name!r} is unknown; there are {', '.join(_ZOO)}; for one of your own say "
            "quanos --import MODULE COMMAND."
        )
    smallest, build = _ZOO[name]
    sizes = (*input_shape, classes)
    if len(sizes) != 4 or not all(1 <= size <= LARGEST_SIZE for size in sizes):
        raise ValueError(
            "a model needs an input shape of three whole numbers C H W and a number of classes, "
            f"all from 1 to {LARGEST_SIZE:,}, not {tuple(input_shape)} and {classes}."
        )
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} needs images of at least {smallest}x{smallest} pixels, not {height}x{width}; "
            "vgg-small and resnet-small take images from 4x4 on."
        )
    model = build((channels, height, width), classes)
    if name not in MODELS or not isinstance(model, ConvNet):
        return _own(model, name, (channels, height, width), mean or std)
    default_mean, default_std = [0.5] * channels, [0.25] * channels
    model.normalize = Normalize(_per_channel(mean, default_mean), _per_channel(std, default_std))
    return model


def skeleton(name: str, input_shape: Sequence[int], classes: int) -> Network:
    """`build_model` where shapes are enough: a network of the zoo takes no memory for its weights.

    A registered one is built in full: its code may hold tensors of its own, or read weights.
    """
    with torch.device("meta" if name in MODELS else "cpu"):
        return build_model(name, input_shape, classes)


def _own(model: nn.Module, name: str, shape: Shape, normalisation: object) -> Network:
    """A registered network with its `feeds`, which one forward pass tells."""
    if math.prod(shape) > LARGEST_IMAGE:
        raise ValueError(f"an image of {shape} has more than {LARGEST_IMAGE:,} values.")
    if normalisation is not None:
        raise ValueError(f"{name} normalises by itself; leave mean and std out.")
    if not hasattr(model, "feeds"):
        like = next(model.parameters(), torch.empty(0))
        try:
            told = trace(model, torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            sizes = " x ".join(map(str, shape))
            raise ValueError(f"{name} cannot take an image of {sizes}: {reason}") from None
        vars(model)["feeds"] = told.feeds
    return cast(Network, model)


def vgg_widths(name: str) -> list[int]:
    """Widths of a VGG's convolutions for images of 32 x 32, 0 for a pooling, in order."""
    features = cast(ConvNet, skeleton(name, (3, 32, 32), 10)).features
    kinds = (nn.Conv2d, nn.MaxPool2d)
    layers = [layer for layer in features if isinstance(layer, kinds)]
    return [layer.out_channels if isinstance(layer, nn.Conv2d) else 0 for layer in layers]


def _per_channel(values: Sequence[float] | None, default: list[float]) -> list[float]:
    values = default if values is None else [float(v) for v in values]
    if len(values) != len(default):
        raise ValueError(f"mean and std need {len(default)} numbers, one a channel: {values}.")
    return list(values)

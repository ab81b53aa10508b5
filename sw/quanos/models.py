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
from torch import Tensor, nn

from quanos.console.own_code import import_asked
from quanos.integer.tracing import trace

Shape = tuple[int, int, int]

# Widths of the 3x3 convolutions; 0 is a max pooling by 2 (Simonyan and Zisserman 2015, Table 1).
LARGEST_SIZE = 1 << 16  # of a side, of channels and of classes
LARGEST_IMAGE = 1 << 26  # values; a network of one's own is run on one
_VGG = {
    "vgg11": (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    "vgg13": (64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    "vgg16": (*(64, 64, 0, 128, 128, 0), *(256,) * 3, 0, *(512,) * 3, 0, *(512,) * 3, 0),
    "vgg19": (*(64, 64, 0, 128, 128, 0), *(256,) * 4, 0, *(512,) * 4, 0, *(512,) * 4, 0),
}

# Expansion, width, blocks, stride (Sandler et al. 2018, Table 2; strides of the CIFAR form).
_MOBILENETV2 = (
    *((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2)),
    *((6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


class Normalize(nn.Module):
    """(x - mean) / std per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return (x - self.mean) / self.std


class Network(nn.Module):
    """What `build_model` gives: `feeds` says which layer lends each shortcut its bits."""

    feeds: dict[str, str]


class ConvNet(Network):
    """Normalisation, convolutional features, global average pooling, a linear classifier."""

    def __init__(self, features: nn.Sequential, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.normalize = Normalize([0.5] * channels, [0.25] * channels)
        self.features = features
        self.classifier = nn.Linear(width, classes)
        self.feeds = {}

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, classes)."""
        logits: Tensor = self.classifier(self.features(self.normalize(x)).mean((2, 3)))
        return logits


def _conv(
    inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution and its batch norm; the norm's shift makes a bias superfluous."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def _vgg(widths: Sequence[int], channels: int, classes: int) -> ConvNet:
    modules: list[nn.Module] = []
    inputs = channels
    for width in widths:
        if width:
            modules += [*_conv(inputs, width), nn.ReLU()]
            inputs = width
        else:
            modules.append(nn.MaxPool2d(2))
    return ConvNet(nn.Sequential(*modules), inputs, channels, classes)


def _vgg_small(shape: Shape, classes: int) -> ConvNet:
    """Six convolutions; pools as long as a map of at least 2x2 is left."""
    side = min(shape[1:])
    widths: list[int] = []
    for width in (16, 32, 64):
        widths += [width, width]
        if side >= 4:
            widths.append(0)
            side //= 2
    return _vgg(widths, shape[0], classes)


class Block(nn.Module):
    """A branch and a shortcut, added; then ReLU, unless the block is a linear bottleneck."""

    branch: nn.Sequential
    shortcut: nn.Sequential

    def __init__(self, branch: list[nn.Module], shortcut: list[nn.Module], relu: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)
        self.shortcut = nn.Sequential(*shortcut)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        out: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return out


def _projection(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return _conv(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else []


def _basic(inputs: int, width: int, stride: int) -> Block:
    branch = [*_conv(inputs, width, stride=stride), nn.ReLU(), *_conv(width, width)]
    return Block(branch, _projection(inputs, width, stride), relu=True)


def _bottleneck(inputs: int, width: int, stride: int) -> Block:
    reduce = [*_conv(inputs, width, 1), nn.ReLU()]
    spatial = [*_conv(width, width, stride=stride), nn.ReLU()]
    branch = [*reduce, *spatial, *_conv(width, 4 * width, 1)]
    return Block(branch, _projection(inputs, 4 * width, stride), relu=True)


def _resnet(
    block: Callable[[int, int, int], Block],
    blocks: Sequence[int],
    expansion: int,
    channels: int,
    classes: int,
    *,
    width: int = 64,
) -> ConvNet:
    """He et al. 2016 with a 3x3 stem of stride 1 and no pooling before the stages."""
    modules: list[nn.Module] = [*_conv(channels, width), nn.ReLU()]
    inputs = width
    for stage, count in enumerate(blocks):
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            modules.append(block(inputs, width << stage, stride))
            inputs = (width << stage) * expansion
    return _with_feeds(ConvNet(nn.Sequential(*modules), inputs, channels, classes))


def _with_feeds(model: ConvNet) -> ConvNet:
    """Note which convolution each shortcut convolution takes its bits from.

    A shortcut from layer l to layer l + 2 has the precision of layer l + 2 (Fig. 2b of the paper):
    that of the last convolution of the block, to whose output it is added.
    """
    for name, block in model.named_modules():
        if isinstance(block, Block) and len(block.shortcut):
            last = max(i for i, m in enumerate(block.branch) if isinstance(m, nn.Conv2d))
            model.feeds[f"{name}.shortcut.0"] = f"{name}.branch.{last}"
    return model


def _inverted(inputs: int, width: int, stride: int, expansion: int) -> nn.Module:
    hidden = inputs * expansion
    branch: list[nn.Module] = []
    if expansion > 1:
        branch += [*_conv(inputs, hidden, 1), nn.ReLU6()]
    branch += [*_conv(hidden, hidden, stride=stride, groups=hidden), nn.ReLU6()]
    branch += _conv(hidden, width, 1)
    residual = stride == 1 and inputs == width
    return Block(branch, [], relu=False) if residual else nn.Sequential(*branch)


def _mobilenetv2(channels: int, classes: int) -> ConvNet:
    modules: list[nn.Module] = [*_conv(channels, 32), nn.ReLU6()]
    inputs = 32
    for expansion, width, count, stride in _MOBILENETV2:
        for index in range(count):
            modules.append(_inverted(inputs, width, stride if index == 0 else 1, expansion))
            inputs = width
    modules += [*_conv(inputs, 1280, 1), nn.ReLU6()]
    return ConvNet(nn.Sequential(*modules), 1280, channels, classes)


Builder = Callable[[Shape, int], nn.Module]
# Name -> smallest side of an image, builder from input shape and number of classes.
_ZOO: dict[str, tuple[int, Builder]] = {
    **{n: (32, lambda s, c, w=w: _vgg(w, s[0], c)) for n, w in _VGG.items()},  # type: ignore[misc]
    "vgg-small": (4, _vgg_small),
    "resnet18": (8, lambda s, c: _resnet(_basic, (2, 2, 2, 2), 1, s[0], c)),
    "resnet34": (8, lambda s, c: _resnet(_basic, (3, 4, 6, 3), 1, s[0], c)),
    "resnet50": (8, lambda s, c: _resnet(_bottleneck, (3, 4, 6, 3), 4, s[0], c)),
    "resnet-small": (4, lambda s, c: _resnet(_basic, (1, 1, 1), 1, s[0], c, width=16)),
    "mobilenetv2": (8, lambda s, c: _mobilenetv2(s[0], c)),
}

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

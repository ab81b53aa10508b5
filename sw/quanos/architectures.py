"""VGG, ResNet and MobileNetV2 in the form that CIFAR-size images ask for.

Every network takes images (B, C, H, W); the normalisation is its first module. `feeds` maps every
shortcut convolution to the layer whose bits it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]

# Widths of the 3x3 convolutions; 0 is a max pooling by 2 (Simonyan and Zisserman 2015, Table 1).
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
ARCHITECTURES: dict[str, tuple[int, Builder]] = {
    **{n: (32, lambda s, c, w=w: _vgg(w, s[0], c)) for n, w in _VGG.items()},  # type: ignore[misc]
    "vgg-small": (4, _vgg_small),
    "resnet18": (8, lambda s, c: _resnet(_basic, (2, 2, 2, 2), 1, s[0], c)),
    "resnet34": (8, lambda s, c: _resnet(_basic, (3, 4, 6, 3), 1, s[0], c)),
    "resnet50": (8, lambda s, c: _resnet(_bottleneck, (3, 4, 6, 3), 4, s[0], c)),
    "resnet-small": (4, lambda s, c: _resnet(_basic, (1, 1, 1), 1, s[0], c, width=16)),
    "mobilenetv2": (8, lambda s, c: _mobilenetv2(s[0], c)),
}
"""Name: smallest side of an image, builder from input shape and number of classes."""

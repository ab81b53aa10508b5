"""The network zoo: shapes, shortcuts, normalisation and what it refuses."""

import pytest
import torch
from torch import nn

from quanos.models import MODELS, build_model

CONVOLUTIONS = {
    "vgg11": 8, "vgg13": 10, "vgg16": 13, "vgg19": 16, "vgg-small": 6,
    "resnet18": 20, "resnet34": 36, "resnet50": 53, "resnet-small": 9, "mobilenetv2": 52,
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_its_convolutions_and_gives_logits(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), 7)
        logits = model(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.Conv2d) == CONVOLUTIONS[name]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 21)])
@pytest.mark.parametrize("name", ["vgg-small", "resnet-small"])
def test_small_models_take_small_and_oblong_images_and_learn(name: str, shape: tuple) -> None:
    model = build_model(name, shape, 10)
    model(torch.rand(4, *shape)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_every_activation_function_is_a_module_used_once(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), 10)
        calls: list[nn.Module] = []
        for module in model.modules():
            if isinstance(module, nn.ReLU | nn.ReLU6):
                module.register_forward_hook(lambda module, *_: calls.append(module))
        model(torch.zeros(1, 3, 32, 32))
    assert calls
    assert len(set(calls)) == len(calls)


@pytest.mark.parametrize(("name", "count"), [("resnet18", 3), ("resnet50", 4), ("vgg19", 0)])
def test_a_shortcut_takes_the_bits_of_its_blocks_last_convolution(name: str, count: int) -> None:
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), 10)
    assert len(model.feeds) == count
    for shortcut, layer in model.feeds.items():
        lender, taker = model.get_submodule(layer), model.get_submodule(shortcut)
        assert taker.kernel_size == (1, 1)
        assert taker.out_channels == lender.out_channels  # their outputs are added
        assert shortcut.rsplit(".", 2)[0] == layer.rsplit(".", 2)[0]


def test_normalisation_with_the_data_sets_statistics_is_inside() -> None:
    model = build_model("vgg-small", (2, 8, 8), 10, mean=[0.2, 0.4], std=[0.5, 0.1])
    seen = []
    model.features.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.eval()(torch.full((1, 2, 8, 8), 0.7))
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([1.0, 3.0]))
    assert "normalize.mean" in model.state_dict()


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = (
        build_model("vgg-small", (1, 8, 8), 10).state_dict()
        for _ in range(2)
        if torch.manual_seed(3)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "words"),
    [
        ("vgg99", (3, 32, 32), 10, "'vgg99' is unknown; there are vgg11, .*mobilenetv2"),
        ("vgg19", (3, 28, 28), 10, "vgg19 needs images of at least 32x32 pixels, not 28x28"),
        ("resnet18", (3, 32), 10, "three whole numbers C H W"),
        ("resnet18", (3, 32, 0), 10, "all from 1 to 65,536"),
        ("resnet18", (3, 32, 32), 0, "all from 1 to 65,536"),
    ],
)
def test_what_cannot_be_built_says_why(name: str, shape: tuple, classes: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model(name, shape, classes)


def test_statistics_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="one a channel"):
        build_model("vgg-small", (3, 8, 8), 10, mean=[0.5])

"""Times a training step in Brevitas: run by the Python of its own environment, as a file.

`python brevitas_step.py '{"widths": [64, 0, ...], "bits": 4, ...}'` prints one JSON object with the
seconds of every float and quantized step, taken in turns. Imports nothing of ours: Brevitas wants a
setuptools that the project does not have. Width 0 is a max pooling.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def network(widths: list[int], conv: Callable[..., nn.Module], relu: Any, first: Any) -> nn.Module:
    """The VGG of these widths for images of three channels and ten classes."""
    layers, channels = [*first], 3
    for width in widths:
        if width:
            made = conv(channels, width, 3, padding=1, bias=False)
            layers += [made, nn.BatchNorm2d(width), relu()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def networks(setting: dict[str, Any]) -> list[nn.Module]:
    """Float; quantized as it comes, which gathers statistics for 300 steps; and after those."""
    import brevitas.nn as qnn  # here alone, so that what reads all modules can read this one

    bits, widths = setting["bits"], setting["widths"]

    def quantized(**options: Any) -> nn.Module:
        return network(
            widths,
            lambda *args, **keys: qnn.QuantConv2d(*args, weight_bit_width=bits, **keys),
            lambda: qnn.QuantReLU(bit_width=bits, **options),
            [qnn.QuantIdentity(bit_width=bits, **options)],
        )

    return [network(widths, nn.Conv2d, nn.ReLU, []), quantized(), quantized(collect_stats_steps=1)]


def main() -> None:
    """Time all networks in turns and print their seconds."""
    setting = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(setting["threads"])
    device = setting["device"]
    images = torch.rand(setting["batch"], 3, 32, 32, device=device)
    labels = torch.randint(10, (setting["batch"],), device=device)
    models = [model.to(device).train() for model in networks(setting)]
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in models]
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(setting["warmup"] + setting["steps"]):
        for model, optimizer, times in zip(models, optimizers, seconds, strict=True):
            start = time.perf_counter()
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn >= setting["warmup"]:
                times.append(time.perf_counter() - start)
    versions = {"brevitas": version("brevitas"), "torch": torch.__version__}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main()

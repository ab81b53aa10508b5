"""QUANOS: bits per layer by adversarial noise sensitivity (Panda, ISLPED 2020)."""

from hw.command import ask_for

__version__ = "0.1.0"

ask_for("sw", "torch", "safetensors", "tyro", "tomli_w", "rich")

# Names of the package and the modules that they come from, imported when first used, so that the
# command line answers `--help` without loading torch.
_PUBLIC = {
    "train": "quanos.api",
    "attack": "quanos.api",
    "dataset": "quanos.datasets.own_data",
    "image_folder": "quanos.data",
    "load_dataset": "quanos.data",
    "register": "quanos.models",
    "quantize": "quanos.layers",
    "quantized_layers": "quanos.layers",
    "set_bits": "quanos.layers",
    "get_bits": "quanos.layers",
    "build_model": "quanos.models",
    "model_energy": "quanos.energy",
    "adversarial_noise_sensitivity": "quanos.ans",
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'quanos' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])

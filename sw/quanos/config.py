"""Configuration of a run: one frozen dataclass, presets in TOML, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from flows.table import SCHEMES
from hw import toml
from hw.command import meant
from quanos.allocation.budgets import MAX_BITS
from quanos.datasets.formats import DATASETS
from quanos.policies import POLICIES
from quanos.training.checks import LARGEST_SEED as LARGEST_SEED
from quanos.training.checks import ConfigError as ConfigError
from quanos.training.checks import check

MACS = ("standard", *SCHEMES)
LARGEST = 1e15
"""Beyond it, no number of a configuration can be meant."""

SWITCH = ("off", "on", "cuda")
"""Words of an option that may hold on CUDA alone."""


KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
"""What a key takes, by its type."""


def _key(default: Any, text: str, choices: tuple[str, ...] = ()) -> Any:
    """A field with its help text and, where only certain words are allowed, those words."""
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the outcome of a run; times in epochs, epsilon in pixel space."""

    dataset: str = _key("digits", "data set", DATASETS)
    data_dir: str = _key(
        "",
        "folder of the data set's files; none: $QUANOS_DATA, else quanos in the user's cache "
        "folder, then data",
    )
    model: str = _key(
        "vgg-small",
        "network: vgg11, vgg13, vgg16, vgg19, vgg-small, resnet18, resnet34, resnet50, "
        "resnet-small, mobilenetv2, or one that --import registers",
    )
    device: str = _key("auto", "where to compute: cpu, cuda, or auto for CUDA where there is one")
    threads: int = _key(0, "CPU threads; 0: torch's choice; small networks are fastest with one")
    seed: int = _key(0, "decides initial weights, batches, augmentation and random starts")
    epochs: int = _key(30, "training epochs in all")
    sense_epoch: int = _key(
        10, "epochs at k0 bits before layers are measured and get their own (E0 of Algorithm 1)"
    )
    rounds: int = _key(1, "how often bits are assigned; each round starts from the last one's")
    round_epochs: int = _key(3, "epochs between rounds")
    stop_points: float = _key(
        0.0,
        "end the rounds, and undo the last, where held-out accuracy falls by more points than this "
        "below the best round's; 0: never",
    )
    stop_saving: float = _key(
        0.0,
        "end the rounds, and undo the last, where it saves less energy than so many percent per "
        "point of held-out accuracy lost; 0: never",
    )
    policy: str = _key("ans", "what turns the measurement into bits", tuple(POLICIES))
    quantizer: str = _key("uniform", "kind of quantizer", ("uniform", "lsq", "dorefa"))
    k0: int = _key(
        16,
        "initial bits, and the bits of a layer with ANS zero; of 17 to 32 the network computes "
        "with 16, the most there are, and the first round starts from k0",
    )
    mean_bits: float = _key(0.0, "upper limit of the mean bits over layers; 0: none")
    energy_mj: float = _key(0.0, "upper limit of one image's energy in mJ; 0: none")
    energy_scheme: str = _key("dvafs", "MAC that energy limits are counted with", MACS)
    baselines: tuple[str, ...] = _key(
        ("16", "mean"),
        "networks trained beside: a number of bits for all layers, mean for the rounded mean of "
        "the first network's, or a policy, which gets that network's energy",
    )
    batch_size: int = _key(64, "images a training step")
    lr: float = _key(0.1, "peak learning rate of SGD")
    momentum: float = _key(0.9, "Nesterov momentum")
    weight_decay: float = _key(5e-4, "weight decay")
    schedule: str = _key("one-cycle", "course of the learning rate", ("one-cycle", "step"))
    warmup_epochs: float = _key(2.0, "one-cycle: epochs of linear rise before the linear fall")
    milestones: tuple[int, ...] = _key((150, 180), "step: epochs that divide the rate by ten")
    label_smoothing: float = _key(0.0, "label smoothing of the training loss")
    shift: int = _key(1, "random shift in pixels, each direction")
    flip: bool = _key(False, "random mirroring left to right")
    bf16: str = _key("off", "training steps in bfloat16; cuda: there alone", SWITCH)
    channels_last: str = _key("off", "channels last in memory; cuda: there alone", SWITCH)
    compile: str = _key("off", "torch.compile the network; cuda: there alone", SWITCH)
    validation_images: int = _key(0, "training images held out, the same in every run; 0: none")
    adversarial: str = _key(
        "none",
        "train on adversarial images of",
        ("none", "fgsm", "fgsm-rs", "n-fgsm", "pgd"),
    )
    adversarial_epsilon: float = _key(8 / 255, "epsilon of adversarial training")
    adversarial_epoch: int = _key(0, "epochs on clean images before adversarial training")
    adversarial_steps: int = _key(7, "steps of PGD in adversarial training")
    watch_images: int = _key(
        512,
        "held-out images on which PGD-10 watches adversarial training; held out, up to a tenth of "
        "the training images, where --validation-images is 0",
    )
    ans_images: int = _key(1000, "training images that ANS is measured on")
    ans_epsilon: float = _key(0.05, "epsilon of the FGSM in ANS")
    ans_reduction: str = _key(
        "sample",
        "one norm over all images of ANS, or the mean of each image's",
        ("sample", "images"),
    )
    fgsm_epsilons: tuple[float, ...] = _key(
        (0.05, 0.1, 0.15, 0.2, 0.25, 0.3), "epsilons of FGSM in the paper's protocol"
    )
    pgd_epsilons: tuple[float, ...] = _key(
        (8 / 255, 16 / 255, 32 / 255),
        "epsilons of PGD in both protocols; the paper's takes steps of 2/255",
    )
    pgd_steps: int = _key(7, "steps of PGD in the paper's protocol")
    strong_steps: int = _key(20, "steps of PGD in the strong protocol")
    strong_restarts: int = _key(2, "random starts of PGD in the strong protocol")
    apgd_steps: int = _key(20, "steps of APGD, by cross-entropy and by DLR; 0: none")
    apgd_targets: int = _key(3, "wrong classes that targeted APGD aims at; 0: none")
    square_queries: int = _key(200, "queries of Square Attack; 0: none")
    other_seed: str = _key(
        "",
        "run folder of the same networks from another seed, for transfer attacks",
    )
    eps_space: str = _key(
        "pixel",
        "what epsilons are in: pixels of 0..1, or normalized inputs",
        ("pixel", "normalized"),
    )
    attack_images: int = _key(0, "test images that are attacked; 0: all")
    attack_batch: int = _key(256, "images attacked at once; fewer take less memory")

    def __post_init__(self) -> None:
        check(self)

    @property
    def stops(self) -> bool:
        """Whether rounds are judged and end with one not worth it: `quanos.allocation.stopping`."""
        return bool(self.stop_points or self.stop_saving)

    @property
    def first_bits(self) -> int:
        """The bits that all layers compute with before any are assigned."""
        return min(self.k0, MAX_BITS)

    @property
    def data_path(self) -> Path | None:
        """`data_dir` as a path; None for the usual places."""
        return Path(self.data_dir) if self.data_dir else None


TYPES: dict[str, Any] = get_type_hints(Config)


def override(base: Mapping[str, Any], source: str) -> Config:
    """The configuration with the keys of `base`.

    Raises ConfigError, in which `source` names them, for unknown keys and values not allowed.
    """
    if unknown := sorted(set(base) - set(TYPES)):
        raise ConfigError(
            f"{source}: config key {', '.join(unknown)} is unknown{meant(unknown[0], TYPES)}; keys "
            f"are {', '.join(TYPES)}."
        )
    values = {name: _as(name, value, source) for name, value in base.items()}
    try:
        return Config(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _as(name: str, value: Any, source: str) -> Any:
    """`value` as the type of key `name`: lists become tuples and whole numbers floats."""
    kind = TYPES[name]
    if isinstance(value, list | tuple) and getattr(kind, "__origin__", None) is tuple:
        part = kind.__args__[0]
        items = tuple(_number(item) if part is float else _word(item, part) for item in value)
        if all(type(item) is part for item in items):
            return items
    elif type(value := _number(value) if kind is float else value) is kind:
        return value
    raise ConfigError(f"{source}: {name} must be {_words(kind)}, not {value!r}.")


def _word(value: Any, kind: Any) -> Any:
    """Bits of a baseline as text, which a person writes as a number."""
    return str(value) if kind is str and type(value) is int else value


def _words(kind: Any) -> str:
    """What a key of type `kind` takes, as a sentence has it."""
    if kind in KINDS:
        return KINDS[kind]
    return f"a list, each item {KINDS[kind.__args__[0]]}"


def _number(value: Any) -> Any:
    """A finite number as a float; anything else as it is, and NaN and infinity as text."""
    if type(value) in (int, float):
        return float(value) if abs(value) <= LARGEST else str(value)
    return value


def load(path: Path) -> Config:
    """The configuration in a TOML file. Raises ConfigError for what is no TOML or not known."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text file; a configuration is TOML.") from None
    return override(_read(text, str(path)), str(path))


def preset(name: str) -> dict[str, Any]:
    """The keys that the preset sets. Raises ConfigError for an unknown preset."""
    if name not in presets():
        raise ConfigError(f"preset {name!r} is unknown; there are {', '.join(presets())}.")
    text = resources.files("quanos").joinpath("presets", f"{name}.toml").read_text("utf-8")
    return _read(text, f"preset {name}")


def presets() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = resources.files("quanos").joinpath("presets")
    names = (item.name for item in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def _read(text: str, source: str) -> dict[str, Any]:
    try:
        return toml.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is no valid TOML ({error}).") from None


def to_toml(config: Config) -> str:
    """The configuration as TOML; `load` reads it back to an equal one."""
    return tomli_w.dumps(asdict(config))

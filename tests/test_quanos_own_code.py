"""Networks of the user's own, by name: registered, asked for, and never brought by a file."""

import json
import os
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from quanos import build_model, cli, models
from quanos.commands.train import go_on
from quanos.config import Config
from quanos.console import own_code
from quanos.data import load_dataset
from quanos.energy import model_energy
from quanos.layers import get_bits
from quanos.storage.checkpoint import load_network
from quanos.trainer import train

MODULE = '''
import torch
from torch import nn
from quanos.models import register

MEAN = torch.tensor(0.5)  # a tensor of the module's own, which every network takes along

class Odd(nn.Module):
    """The classifier comes first in registration; a shortcut by its own convolution."""
    def __init__(self, channels, classes):
        super().__init__()
        self.register_buffer("mean", MEAN.clone())
        self.verdict = nn.Linear(4, classes)
        self.stem = nn.Conv2d(channels, 4, 3, padding=1)
        self.wide = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.tip = nn.Linear(4, 4)
        self.side = nn.Conv2d(channels, 4, 1)

    def forward(self, x):
        x = x - self.mean
        y = torch.relu(self.wide(torch.relu(self.stem(x))) + self.side(x))
        return self.verdict(torch.relu(self.tip(y.mean((2, 3)))))

@register("odd")
def odd(shape, classes):
    return Odd(shape[0], classes)
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The module `own_net` in the working folder, forgotten afterwards."""
    (tmp_path / "own_net.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(models, "_ZOO", dict(models._ZOO))
    monkeypatch.delenv(own_code.VARIABLE, raising=False)
    yield tmp_path
    sys.modules.pop("own_net", None)
    os.environ.pop(own_code.VARIABLE, None)


def command(*words):
    with pytest.raises(SystemExit) as leave:
        cli.main(words)
    return leave.value.code


def test_a_network_is_known_once_its_module_was_asked_for(own, capsys):
    price = ("energy", "--model", "odd", "--input", "1", "8", "8", "--bits", "8", "--json")
    assert command(*price) == 2
    assert "--import MODULE" in capsys.readouterr().err
    assert command("--import", "own_net", *price) == 0
    layers = [layer["name"] for layer in json.loads(capsys.readouterr().out)["layers"]]
    assert layers == ["stem", "wide", "side", "tip"]
    assert os.environ[own_code.VARIABLE] == "own_net"  # for processes started from here


def test_shortcuts_and_classifier_are_found(own):
    own_code.ask_for("own_net")
    model = build_model("odd", (1, 8, 8), 3)
    assert model.feeds == {"side": "wide"}
    widths = {"stem": 8, "wide": 4, "tip": 2}
    bits = {layer.name: layer.bits for layer in model_energy(model, (1, 8, 8), widths).layers}
    assert bits == widths | {"side": 4}


def test_it_trains_and_its_checkpoint_is_read_again(own):
    own_code.ask_for("own_net")
    config = Config(model="odd", epochs=2, sense_epoch=1, warmup_epochs=1, threads=1)
    data = load_dataset("digits").limit(128)
    (own / "run").mkdir()
    state = train(config, data, own / "run", label="odd")
    assert set(get_bits(state.model)) == {"stem", "wide", "tip", "side"}
    assert get_bits(state.model)["side"] == get_bits(state.model)["wide"]
    again, meta = load_network(own / "run")
    images = data.test.images()
    with torch.no_grad():
        assert torch.equal(again(images), state.model.eval()(images))
    assert meta["config"]["model"] == "odd"
    assert replace(config, seed=1).model == "odd"


def test_what_goes_on_asks_for_the_same_modules(own):
    own_code.ask_for("own_net")
    assert go_on(own / "run") == f"quanos --import own_net train --out {own}/run --resume"


def test_a_checkpoint_brings_no_code(own):
    """Its network's name is looked up, never imported."""
    own_code.ask_for("own_net")
    config = Config(model="odd", epochs=1, sense_epoch=1, warmup_epochs=1, threads=1)
    (own / "run").mkdir()
    train(config, load_dataset("digits").limit(64), own / "run", label="odd")
    models._ZOO.pop("odd")
    with pytest.raises(
        ValueError, match=r"'odd' is unknown.*say quanos --import MODULE COMMAND\.$"
    ):
        load_network(own / "run")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--import"], "needs the name of a module"),
        (["--import", "no_such_module", "energy"], "there is no module no_such_module"),
        (["--import", "os;x", "energy"], "is no name of a module"),
        (["--import", "own_net.py", "energy"], "not its file: --import own_net."),
        (["energy", "--import", "own_net"], "--import stands before the command"),
        (["--import", "../own_net", "energy"], "is no name of a module"),
    ],
)
def test_what_cannot_be_imported_is_refused(own, capsys, words, says):
    price = ["--model", "odd", "--input", "1", "8", "8", "--bits", "8"]
    assert command(*words, *(price if len(words) > 1 else [])) == 2
    assert says in capsys.readouterr().err


def test_bad_networks_are_refused():
    with pytest.raises(ValueError, match="comes with the package"):
        models.register("vgg19")
    models.register("narrow")(lambda shape, classes: nn.Linear(3, classes))
    try:
        with pytest.raises(ValueError, match="narrow cannot take an image of 1 x 8 x 8"):
            build_model("narrow", (1, 8, 8), 3)
        with pytest.raises(ValueError, match="normalises by itself"):
            build_model("narrow", (1, 8, 8), 3, mean=[0.5])
    finally:
        models._ZOO.pop("narrow")

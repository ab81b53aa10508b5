"""Configuration: presets load, files read back as written, what is wrong is named."""

from dataclasses import replace

import pytest

from quanos.config import Config, ConfigError, load, override, preset, presets, to_toml


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_a_valid_configuration_and_survives_its_file(name, tmp_path) -> None:
    config = override(preset(name), name)
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load(path) == config


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"learning_rate": 1}, "config key learning_rate is unknown; keys are dataset, data_dir"),
        ({"dataset": "imagenet"}, "one of digits, fashion-mnist, cifar10, cifar100"),
        ({"policy": "guess"}, "policy 'guess' is unknown; it is one of ans, lipschitz"),
        ({"epochs": "ten"}, "epochs must be a whole number, not 'ten'"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"lr": "fast"}, "lr must be a number"),
        ({"baselines": [1.5]}, "baselines must be a list, each item text"),
        ({"baselines": "16"}, "baselines must be a list"),
        ({"epoch": 3}, r"epoch is unknown \(did you mean epochs\?\)"),
        ({"baselines": ["17"]}, "`mean` or bits from 1 to 16"),
        ({"epochs": 3, "sense_epoch": 4}, r"sense_epoch must be from 1 to epochs \(3\)"),
        ({"k0": 0}, "k0 must be a whole number of bits from 1 to 32"),
        ({"k0": 33}, "k0 must be a whole number of bits from 1 to 32"),
        ({"mean_bits": 0.5}, "mean_bits must be from 1 to 16"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"lr": -1}, "lr must not be negative"),
    ],
)
def test_a_bad_key_is_refused_with_what_is_allowed(keys, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        override(keys, "here")


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(
        ConfigError,
        match="cifar10-cpu, cifar10-fast, cifar10-paper, cifar100-fast, cifar100-paper, digits",
    ):
        preset("mnist")


def test_a_file_that_is_no_toml_is_refused(tmp_path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("epochs = = 3")
    with pytest.raises(ConfigError, match="no valid TOML"):
        load(path)


def test_whole_numbers_may_stand_for_floats() -> None:
    assert override({"baselines": [16, "mean"]}, "here").baselines == ("16", "mean")
    assert override({"lr": 1, "pgd_epsilons": [0, 0.5]}, "here") == replace(
        Config(), lr=1.0, pgd_epsilons=(0.0, 0.5)
    )

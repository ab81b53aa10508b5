"""Rounds end where they are not worth it: the rule, and a training run under it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_quanos_trainer import killed_before

from quanos.allocation import assignment
from quanos.allocation.stopping import Standing, begin, bits_before, due, judge, over
from quanos.config import Config, ConfigError, override
from quanos.data import Dataset, Split, load_dataset
from quanos.layers import get_bits
from quanos.policies import mean
from quanos.run import METRICS
from quanos.storage import checkpoint
from quanos.trainer import SENSED, train

pytestmark = pytest.mark.usefixtures("one_thread")
RULE = Config(validation_images=30, epochs=30, sense_epoch=2, rounds=4, round_epochs=2)


def trail(config: Config, standings: list[tuple[float, float]]) -> tuple[list[dict], str | None]:
    """The rounds after (energy, accuracy) at k0 bits and after each; why they ended, if so."""
    first, *others = [Standing(energy_mj=energy, accuracy=got) for energy, got in standings]
    rounds: list[dict] = []
    for number, standing in enumerate(others):
        rounds.append({"epoch": 2 + 2 * number, "ans": {}, "bits": {"a": 8 - number}})
        if not number:
            begin(rounds, first)
        if reason := judge(config, rounds, standing):
            return rounds, reason
    return rounds, None


@pytest.mark.parametrize(
    ("points", "saving", "standings", "ended"),
    [
        # (mJ, accuracy) at k0 bits, then after each round; the round that is undone, from 1
        (1, 0, [(9, 0.90), (5, 0.895), (3, 0.892)], None),
        (1, 0, [(9, 0.90), (5, 0.895), (3, 0.885)], 2),
        (1, 0, [(9, 0.90), (5, 0.95), (3, 0.945), (2, 0.938)], 3),  # the best was round 1
        (1, 0, [(9, 0.90), (5, 0.89)], None),  # as much as is allowed
        (1, 0, [(9, 0.90), (5, 0.70)], 1),
        (0, 10, [(9, 0.90), (6, 0.88), (4, 0.86)], None),  # 33 and 33 % for two points each
        (0, 20, [(9, 0.90), (6, 0.88)], 1),  # 33 % are less than 20 a point
        (0, 10, [(9, 0.90), (6, 0.88), (5.5, 0.87)], 2),  # 8 % for a point
        (0, 10, [(9, 0.90), (9, 0.90), (9, 0.91)], None),  # nothing lost
        (0, 10, [(9, 0.90), (10, 0.89)], 1),  # dearer and worse
        (5, 10, [(9, 0.90), (6, 0.89), (1, 0.84)], 2),  # cheap enough, but too low
        (9, 10, [(9, 0.90), (8.9, 0.89)], 1),  # high enough, but too dear
    ],
)
def test_the_rule(points, saving, standings, ended) -> None:
    config = replace(RULE, stop_points=float(points), stop_saving=float(saving))
    rounds, reason = trail(config, standings)
    assert (len(rounds) if reason else None) == ended
    assert over(rounds) == (ended is not None)
    assert [one["after"]["energy_mj"] for one in rounds] == [e for e, _ in standings[1:]][
        : len(rounds)
    ]
    assert bits_before(config, rounds) == {"a": 8 - len(rounds) + 2 if len(rounds) > 1 else 16}
    assert json.loads(json.dumps(rounds)) == rounds


def test_a_round_is_due_when_it_has_been_trained_for_its_epochs() -> None:
    config = replace(RULE, stop_points=1.0)
    rounds = [{"epoch": 2, "bits": {"a": 8}}]
    assert [epoch for epoch in range(9) if due(config, rounds, epoch)] == [4]
    assert not due(RULE, rounds, 4)  # no rule
    assert not due(config, [], 4)
    assert not due(config, [{"epoch": 2, "bits": {"a": 8}, "after": {}}], 4)  # done


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"stop_points": -1.0}, "must not be negative"),
        ({"stop_points": 1.0, "validation_images": 0}, "give validation_images"),
        ({"stop_saving": 5.0, "epochs": 10}, "judge the last round at epoch 10, .* ends at 10"),
    ],
)
def test_a_rule_that_cannot_judge_is_refused(keys, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        override(vars(RULE) | keys, "test")


TRAINED = Config(
    epochs=5, sense_epoch=1, rounds=3, round_epochs=1, batch_size=32, lr=0.05, warmup_epochs=1,
    ans_images=32, ans_epsilon=0.2, device="cpu", threads=1, validation_images=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load_dataset("digits")
    few = Split(digits.train.codes[:84], digits.train.labels[:84], 16)
    return Dataset("digits", few, digits.test.first(20), 10).hold_out(20)


@pytest.fixture(autouse=True)
def _accuracy_falls_with_the_bits(monkeypatch) -> None:
    """As a share of 16 bits, so that what the rule must do is known."""
    monkeypatch.setattr(assignment, "accuracy", lambda model, _: mean(get_bits(model)) / 16)


def outcome(folder: Path) -> tuple[bytes, list[dict]]:
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    timeless = [{k: v for k, v in x.items() if k not in ("seconds", "images_per_s")} for x in lines]
    return (folder / checkpoint.NAME).read_bytes(), timeless


@pytest.fixture
def free(data, tmp_path) -> list[dict]:
    """The rounds of a run that nothing ends."""
    (folder := tmp_path / "free").mkdir()
    return train(replace(TRAINED, stop_points=99.0), data, folder, label="free").rounds


def test_training_ends_with_the_bits_of_the_last_round_that_was_kept(
    data, free, tmp_path, monkeypatch
) -> None:
    means = [mean(one["bits"]) for one in free]
    assert len(free) == 3
    assert 16 > means[0] > means[1] > means[2]
    assert not any("stopped" in one for one in free)
    assert free[0]["before"]["accuracy"] == 1
    energies = [free[0]["before"]["energy_mj"], *(one["after"]["energy_mj"] for one in free)]
    assert energies == sorted(energies, reverse=True)
    assert [one["after"]["accuracy"] for one in free] == [m / 16 for m in means]
    allowed = 100 * (1 - (means[0] + means[1]) / 2 / 16)  # between what two rounds lose
    config = replace(TRAINED, stop_points=allowed)
    (whole := tmp_path / "whole").mkdir()
    state = train(config, data, whole, label="whole")
    assert [one["bits"] for one in state.rounds] == [one["bits"] for one in free[:2]]
    assert "points below the best so far" in state.rounds[1]["stopped"]
    assert get_bits(state.model) == free[0]["bits"]
    metrics = outcome(whole)[1]
    assert [x.get("round_kept") for x in metrics] == [None, True, False, None, None]
    assert [x["mean_bits"] for x in metrics[1:]] == [means[1], means[0], means[0], means[0]]
    killed_everywhere(config, data, whole, tmp_path, monkeypatch)


def killed_everywhere(config, data, whole, tmp_path, monkeypatch) -> None:
    """A kill before the checkpoint of each epoch ends as the uncut run does."""
    for epoch in (2, 3, 4):
        (folder := tmp_path / f"killed{epoch}").mkdir()
        with killed_before(epoch, monkeypatch):
            train(config, data, folder, label="cut")
        train(config, data, folder, label="resumed")
        assert outcome(folder) == outcome(whole)


def test_the_first_round_can_be_undone_and_a_baseline_starts_from_the_same_epochs(
    data, tmp_path
) -> None:
    config = replace(TRAINED, stop_saving=1e6)
    state = train(config, data, tmp_path, label="none")
    assert set(get_bits(state.model).values()) == {16}
    assert [("stopped" in one) for one in state.rounds] == [True]
    (shared := tmp_path / "5").mkdir()
    own = replace(TRAINED, policy="uniform", mean_bits=5.0, rounds=1)
    found = train(own, data, shared, label="5", warm=tmp_path / SENSED)
    assert set(get_bits(found.model).values()) == {5}
    assert set(found.rounds[0]) == {"epoch", "ans", "bits"}


def test_nothing_is_judged_without_a_rule_or_without_held_out_images(data, tmp_path) -> None:
    state = train(replace(TRAINED, epochs=3, rounds=2), data, tmp_path, label="none")
    assert all(set(one) == {"epoch", "ans", "bits"} for one in state.rounds)
    assert "round_kept" not in (tmp_path / METRICS).read_text()
    bare = replace(data, validation=None)
    (other := tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="rounds are judged by held-out images"):
        train(replace(TRAINED, stop_points=1.0), bare, other, label="bare")


def test_a_checkpoint_from_before_a_key_goes_on_as_with_its_default(data, tmp_path) -> None:
    config = replace(TRAINED, epochs=2, rounds=1)
    train(config, data, tmp_path, label="old")
    path = tmp_path / checkpoint.NAME
    tensors, meta = checkpoint.load(path)
    for key in ("stop_points", "stop_saving"):
        del meta["config"][key]
    checkpoint.save(path, tensors, meta)
    assert train(config, data, tmp_path, label="new").epoch == 2
    meta["config"]["no_longer"] = 1
    checkpoint.save(path, tensors, meta)
    with pytest.raises(checkpoint.CheckpointError, match="no_longer is 1 there and None here"):
        train(config, data, tmp_path, label="new")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

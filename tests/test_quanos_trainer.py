"""Algorithm 1: the same seed gives the same bytes, also across a kill; what is wrong is refused."""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from quanos import trainer
from quanos.config import Config
from quanos.data import Dataset, Split, load_dataset
from quanos.layers import get_bits, quantized_layers
from quanos.policies import eq3, mean
from quanos.run import METRICS, RunError, keep_metrics, open_run
from quanos.storage import checkpoint
from quanos.storage.checkpoint import CheckpointError, load_network
from quanos.trainer import SENSED, DivergedError, learning_rate, train
from quanos.training.batches import training_batches
from quanos.training.board import FOLDER, Board
from quanos.training.slices import Paused, Slice
from quanos.training.together import prepared

CONFIG = Config(
    epochs=4, sense_epoch=2, batch_size=32, lr=0.05, warmup_epochs=1, ans_images=64, device="cpu"
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load_dataset("digits")
    few = Split(digits.train.codes[:130], digits.train.labels[:130], 16)
    return Dataset("digits", few, digits.test.first(50), 10)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """An uncut run."""
    folder = tmp_path_factory.mktemp("whole")
    train(CONFIG, data, folder, label="whole")
    return folder


def run_bytes(folder: Path) -> bytes:
    return (folder / checkpoint.NAME).read_bytes()


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = (folder / METRICS).read_text().splitlines()
    timeless = [json.loads(line) for line in lines]
    for metric in timeless:
        metric.pop("seconds")
        metric.pop("images_per_s")
    return timeless


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(data, whole, tmp_path) -> None:
    train(CONFIG, data, tmp_path, label="again")
    assert run_bytes(tmp_path) == run_bytes(whole)
    assert metrics(tmp_path) == metrics(whole)
    (other := tmp_path / "other").mkdir()
    train(replace(CONFIG, seed=1), data, other, label="other")
    assert run_bytes(other) != run_bytes(whole)


@pytest.mark.parametrize("step", [0, 2, 4, 7, 10, 15])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    data, whole, tmp_path, monkeypatch, step
) -> None:
    """Four batches an epoch: killed in the first, at its end, before and after sensing, late."""
    left = [step]

    def killed(self, amount, info=""):
        left[0] -= amount > 0
        if left[0] < 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Progress, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, data, tmp_path, label="cut")
    train(CONFIG, data, tmp_path, label="resumed")
    assert run_bytes(tmp_path) == run_bytes(whole)
    assert metrics(tmp_path) == metrics(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )


@contextlib.contextmanager
def killed_before(epoch: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, training is killed as it is about to save its checkpoint of an epoch."""
    save = checkpoint.save

    def killed(path, tensors, meta, **options):
        if meta["epoch"] == epoch and path.name == checkpoint.NAME:
            raise KeyboardInterrupt
        save(path, tensors, meta, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_kill_between_the_metrics_and_the_checkpoint_leaves_no_line_twice(
    data, whole, tmp_path, monkeypatch, epoch
) -> None:
    with killed_before(epoch, monkeypatch):
        train(CONFIG, data, tmp_path, label="cut")
    train(CONFIG, data, tmp_path, label="resumed")
    assert run_bytes(tmp_path) == run_bytes(whole)
    assert metrics(tmp_path) == metrics(whole)


def test_bits_follow_eq3_from_what_was_sensed(whole) -> None:
    model, meta = load_network(whole)
    (first,) = meta["rounds"]
    assert first["epoch"] == 2
    assert first["bits"] == {name: eq3(value, 16) for name, value in first["ans"].items()}
    assert get_bits(model) == meta["bits"] == first["bits"]
    assert list(first["ans"]) == list(quantized_layers(model))


@pytest.mark.parametrize("k0", [16, 32])
def test_rounds_start_from_the_bits_of_the_last_one(data, tmp_path, k0) -> None:
    config = replace(CONFIG, rounds=3, round_epochs=1, k0=k0)
    state = train(config, data, tmp_path, label="rounds")
    assert [entry["epoch"] for entry in state.rounds] == [2, 3, 4]
    sensed = checkpoint.load(tmp_path / SENSED)[1]["bits"]
    assert sensed == dict.fromkeys(get_bits(state.model), 16)
    start = dict.fromkeys(sensed, k0)
    for entry in state.rounds:
        assert entry["bits"] == {name: eq3(entry["ans"][name], start[name]) for name in start}
        start = entry["bits"]
    assert mean(start) < (12 if k0 == 16 else 16)


def test_tensorboard_has_the_metrics_and_no_epoch_twice(data, whole, tmp_path) -> None:
    for stop in (2, 3):
        sitting = Slice(tensorboard=True, stop_epoch=stop)
        with pytest.raises(Paused):
            train(CONFIG, data, tmp_path, label="board", sitting=sitting)
        if stop == 2:
            shutil.copy(tmp_path / checkpoint.NAME, tmp_path / "second")
    (tmp_path / "second").replace(tmp_path / checkpoint.NAME)  # killed before the third's
    train(CONFIG, data, tmp_path, label="board", sitting=Slice(tensorboard=True))
    assert run_bytes(tmp_path) == run_bytes(whole)
    found = EventAccumulator(str(tmp_path / FOLDER)).Reload()
    for name in ("loss", "test_accuracy", "mean_bits"):
        points = [(event.step, pytest.approx(event.value)) for event in found.Scalars(name)]
        assert [(row["epoch"], row[name]) for row in metrics(tmp_path)] == points


def test_tensorboard_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'quanos\[tensorboard\]'"):
        Board(tmp_path, 0, wanted=True)
    Board(tmp_path, 0, wanted=False).add({"epoch": 1, "loss": 0.5})
    assert list(tmp_path.iterdir()) == []


def test_momentum_survives_the_change_of_bits(whole) -> None:
    before, after = (checkpoint.load(whole / name)[0] for name in (SENSED, checkpoint.NAME))
    buffers = checkpoint.part(before, "optimizer")
    assert set(buffers) == set(checkpoint.part(after, "optimizer"))
    assert all(buffer.abs().sum() > 0 for buffer in buffers.values())


@pytest.mark.parametrize("bits", [16, 5])
def test_a_baseline_from_the_shared_epochs_is_the_one_trained_alone(
    data, whole, tmp_path, bits
) -> None:
    uniform = replace(CONFIG, policy="uniform", mean_bits=float(bits), baselines=())
    (alone := tmp_path / "alone").mkdir()
    (shared := tmp_path / "shared").mkdir()
    train(uniform, data, alone, label="alone")
    state = train(uniform, data, shared, label="shared", warm=whole / SENSED)
    assert set(get_bits(state.model).values()) == {bits}
    assert run_bytes(shared) == run_bytes(alone)
    assert metrics(shared) == metrics(alone)[2:]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    data, tmp_path, monkeypatch
) -> None:
    rate = trainer.learning_rate
    monkeypatch.setattr(
        trainer, "learning_rate", lambda config, at: rate(config, at) if at < 3 else float("inf")
    )
    with pytest.raises(DivergedError, match="in epoch 4; the checkpoint of epoch 3 is kept"):
        train(CONFIG, data, tmp_path, label="diverging")
    assert checkpoint.load(tmp_path / checkpoint.NAME)[1]["epoch"] == 3
    assert all(torch.isfinite(p).all() for p in load_network(tmp_path)[0].parameters())


def foreign(path: Path, good: bytes) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def truncated(path: Path, good: bytes) -> None:
    path.write_bytes(good[: len(good) // 2])


def garbage(path: Path, good: bytes) -> None:
    path.write_bytes(b"\x00" * 100)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [(foreign, "no checkpoint of this version"), (truncated, "damaged"), (garbage, "damaged")],
)
def test_a_spoilt_checkpoint_is_refused(data, whole, tmp_path, spoil, sentence) -> None:
    spoil(tmp_path / checkpoint.NAME, run_bytes(whole))
    for use in (lambda: load_network(tmp_path), lambda: train(CONFIG, data, tmp_path, label="x")):
        with pytest.raises(CheckpointError, match=sentence):
            use()


def test_a_checkpoint_of_another_run_is_refused(data, whole, tmp_path) -> None:
    (tmp_path / checkpoint.NAME).write_bytes(run_bytes(whole))
    with pytest.raises(CheckpointError, match=r"of another run: lr is 0.05 there and 0.1 here"):
        train(replace(CONFIG, lr=0.1), data, tmp_path, label="x")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_network(tmp_path / "absent")


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_adversarial_training_runs_and_is_watched_on_held_out_images(data, tmp_path, kind) -> None:
    config = replace(CONFIG, epochs=1, sense_epoch=1, adversarial=kind, pgd_steps=2)
    with pytest.raises(ValueError, match="watched on held-out images, and the data set has none"):
        train(config, data, tmp_path, label=kind)
    assert train(config, data.hold_out(20), tmp_path, label=kind).epoch == 1
    assert "watch_accuracy" in metrics(tmp_path)[0]


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({}, 0),
        ({"adversarial": "pgd"}, 134),
        ({"adversarial": "pgd", "watch_images": 50}, 50),
        ({"adversarial": "pgd", "validation_images": 20}, 20),
        ({"validation_images": 20}, 20),
    ],
)
def test_a_run_holds_out_what_it_is_watched_on(keys, count) -> None:
    held_out = prepared(Config(**keys), 0).validation
    assert (len(held_out) if held_out else 0) == count


@pytest.mark.parametrize(
    ("config", "epoch", "rate"),
    [
        (replace(CONFIG, warmup_epochs=2.0, lr=0.4), 1, 0.2),
        (replace(CONFIG, warmup_epochs=2.0, lr=0.4), 2, 0.4),
        (replace(CONFIG, warmup_epochs=2.0, lr=0.4), 3, 0.2),
        (replace(CONFIG, schedule="step", milestones=(1, 3), lr=1.0), 0.9, 1.0),
        (replace(CONFIG, schedule="step", milestones=(1, 3), lr=1.0), 1, 0.1),
        (replace(CONFIG, schedule="step", milestones=(1, 3), lr=1.0), 3.5, 0.01),
    ],
)
def test_the_learning_rate(config, epoch, rate) -> None:
    assert learning_rate(config, epoch) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("same", "finished", "resume", "overwrite", "outcome"),
    [
        (True, False, False, False, "add --resume to go on with it"),
        (True, False, True, False, "kept"),
        (True, True, True, False, "kept"),
        (True, False, True, True, "kept"),
        (True, True, True, True, "anew"),
        (True, False, False, True, "anew"),
        (False, False, True, False, r"another configuration \(seed differ\)"),
        (False, False, True, True, "anew"),
        (False, True, False, True, "anew"),
    ],
)
def test_what_resume_and_overwrite_do_to_a_folder(
    tmp_path, same, finished, resume, overwrite, outcome
) -> None:
    folder = tmp_path / "run"
    open_run(folder, CONFIG, resume=False, overwrite=False)
    (folder / "mark").write_text("")
    if finished:
        (folder / "summary.json").write_text("{}")
    config = CONFIG if same else replace(CONFIG, seed=1)
    if outcome in ("kept", "anew"):
        open_run(folder, config, resume=resume, overwrite=overwrite)
        assert (folder / "mark").exists() == (outcome == "kept")
        return
    with pytest.raises(RunError, match=outcome):
        open_run(folder, config, resume=resume, overwrite=overwrite)
    assert (folder / "mark").exists()


def test_a_folder_that_is_no_run_is_never_removed(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(RunError, match="holds files but no run"):
        open_run(tmp_path, CONFIG, resume=True, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_half_a_line_of_metrics_is_dropped(tmp_path) -> None:
    (tmp_path / METRICS).write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    keep_metrics(tmp_path, 1)
    assert (tmp_path / METRICS).read_text() == '{"epoch": 1}\n'


def test_every_epoch_draws_anew_and_sees_every_image(data) -> None:
    plain = replace(CONFIG, shift=0)
    first, again, second = (
        torch.cat([batch[0] for batch in training_batches(data.train, plain, epoch)])
        for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(first.sum(0).round(decimals=3), second.sum(0).round(decimals=3))

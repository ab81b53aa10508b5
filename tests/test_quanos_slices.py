"""Time limits, kills, moves, two processes and undone epochs change no number of a run."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from quanos import trainer
from quanos.adversary.hardening import KINDS, collapsed, hardened, remedy
from quanos.config import Config
from quanos.data import DataError, Dataset, Split, load_dataset
from quanos.quantizer import ActivationQuantizer
from quanos.run import METRICS, open_run
from quanos.storage import checkpoint
from quanos.storage.shards import read_bytes
from quanos.trainer import DivergedError, train
from quanos.training import parallel
from quanos.training.parallel import Group, distribute, leave
from quanos.training.slices import Paused, Slice
from quanos.training.state import device, fresh
from quanos.training.together import end_with_parent

CONFIG = Config(
    epochs=3, sense_epoch=1, batch_size=32, lr=0.05, warmup_epochs=1, ans_images=64, device="cpu",
    validation_images=30, flip=True,
)  # fmt: skip
FORK = multiprocessing.get_context("fork")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load_dataset("digits")
    few = Split(digits.train.codes[:160], digits.train.labels[:160], 16)
    return Dataset("digits", few, digits.test.first(50), 10).hold_out(30)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """An uncut run."""
    folder = tmp_path_factory.mktemp("whole")
    train(CONFIG, data, folder, label="whole")
    return folder


def outcome(folder: Path) -> tuple[bytes, list[dict[str, float]]]:
    """The last checkpoint's bytes and the metrics without their times."""
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    timeless = [{k: v for k, v in x.items() if k not in ("seconds", "images_per_s")} for x in lines]
    return read_bytes(folder / checkpoint.NAME), timeless


@pytest.mark.parametrize("shard_mb", [0, 0.1])
def test_slices_of_one_step_each_in_a_folder_that_moves(data, whole, tmp_path, shard_mb) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    for number in range(1, 3 * 4):  # epochs times steps of 130 images in batches of 32
        sitting = Slice(time_limit=1e-9, shard_mb=shard_mb)
        with pytest.raises(Paused, match=str(folder)):
            train(CONFIG, data, folder, label="slice", sitting=sitting)
        folder = Path(shutil.move(folder, tmp_path / str(number)))
    sitting = Slice(time_limit=1e-9, shard_mb=shard_mb)
    train(CONFIG, data, folder, label="last", sitting=sitting)
    assert outcome(folder) == outcome(whole)
    limit = shard_mb * 1e6 or 1e9
    assert all(item.stat().st_size <= limit for item in folder.iterdir())


def test_three_sigkills_at_random_moments(data, whole, tmp_path) -> None:
    draw = random.Random(time.time_ns())
    options = {"label": "cut", "sitting": Slice(save_every=0)}  # a checkpoint after every step
    for _ in range(3):
        child = FORK.Process(target=train, args=(CONFIG, data, tmp_path), kwargs=options)
        child.start()
        time.sleep(draw.uniform(0.02, 0.5))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    (tmp_path / ".checkpoint.safetensors.12345").write_bytes(b"half")
    train(CONFIG, data, tmp_path, label="resumed")
    assert outcome(tmp_path) == outcome(whole)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in whole.iterdir()}


def _starts_another(told) -> None:
    child = FORK.Process(target=_waits, args=(told,))
    child.start()
    told.close()
    child.join()


def _waits(told) -> None:
    end_with_parent()
    told.send("here")
    time.sleep(60)


def test_processes_beside_a_killed_one_end_with_it() -> None:
    heard, told = FORK.Pipe(duplex=False)
    parent = FORK.Process(target=_starts_another, args=(told,))
    parent.start()
    told.close()
    assert heard.recv() == "here"
    assert not heard.poll(0.1)
    parent.kill()
    assert heard.poll(30)  # the last one that could write has ended
    with pytest.raises(EOFError):
        heard.recv()


def test_a_folder_of_a_run_killed_at_its_first_file_is_taken(tmp_path) -> None:
    (tmp_path / ".config.toml.12345").write_text("epo")
    open_run(tmp_path, CONFIG, resume=True, overwrite=False)
    assert (tmp_path / "config.toml").exists()


def test_held_out_images_are_the_same_in_every_run_and_none_is_trained_on(data) -> None:
    digits = load_dataset("digits")
    once, again = digits.hold_out(300), digits.hold_out(300)
    assert once.validation is not None
    assert again.validation is not None
    assert torch.equal(once.validation.codes, again.validation.codes)
    assert (len(once.train), len(once.validation)) == (len(digits.train) - 300, 300)
    assert torch.equal(once.test.codes, digits.test.codes)
    together = torch.cat([once.train.codes, once.validation.codes]).flatten(1)
    assert sorted(together.tolist()) == sorted(digits.train.codes.flatten(1).tolist())
    with pytest.raises(DataError, match="cannot be held out of"):
        digits.hold_out(len(digits.train))


def test_weights_that_are_no_numbers_are_never_saved(data, tmp_path, monkeypatch) -> None:
    """The loss of a step is that before its update: the last update of an epoch may spoil it."""
    rate = trainer.learning_rate
    last = 1 + 3 / 4  # the last step of the second epoch
    monkeypatch.setattr(
        trainer, "learning_rate", lambda c, at: float("nan") if at == last else rate(c, at)
    )
    with pytest.raises(DivergedError, match="a weight became no number in epoch 2"):
        train(CONFIG, data, tmp_path, label="x", sitting=Slice(save_every=0))
    tensors, meta = checkpoint.load(tmp_path / checkpoint.NAME)
    assert (meta["epoch"], meta["step"]) == (1, 3)
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())


@pytest.mark.parametrize(
    ("accuracy", "best", "expected"),
    [
        (0.0, 0.5, True),
        (0.24, 0.5, True),
        (0.26, 0.5, False),
        (0.5, 0.4, False),
        (0.0, 0.15, False),
    ],
)
def test_what_counts_as_a_collapse(accuracy, best, expected) -> None:
    assert collapsed(accuracy, best, classes=10) is expected


def test_every_kind_but_the_last_has_a_remedy_and_they_end() -> None:
    for kind in KINDS:
        steps = 0
        while (kind := remedy(kind)) is not None:
            steps += 1
        assert steps <= 2
    assert remedy("pgd") is None


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_adversarial_training_keep_to_their_bounds(data, kind) -> None:
    state = fresh(CONFIG, data)
    images, labels = data.train.images(slice(20)), data.train.labels[:20]
    generator = torch.Generator().manual_seed(0)
    config = replace(CONFIG, adversarial_epsilon=0.1, adversarial_steps=2)
    moved = hardened(state.model, images, labels, kind, config, generator) - images
    bound = {"none": 0.0, "n-fgsm": 0.3}.get(kind, 0.1)
    assert moved.abs().max() == pytest.approx(bound, abs=0.03 if kind == "n-fgsm" else 1e-6)


def test_an_epoch_of_catastrophic_overfitting_is_undone(
    data, tmp_path, monkeypatch, capsys
) -> None:
    config = replace(CONFIG, epochs=4, adversarial="fgsm")
    # Epoch 1 assigns bits, which starts the watch anew; epoch 3 collapses once.
    watched = iter([0.6, 0.6, 0.1, 0.55, 0.6])
    monkeypatch.setattr(trainer, "watch", lambda *_: next(watched))
    state = train(config, data, tmp_path, label="co")
    assert (state.epoch, state.rollbacks, state.adversarial) == (4, [3], "n-fgsm")
    assert "catastrophic overfitting; back to epoch 2, from there with n-fgsm" in (
        capsys.readouterr().err
    )
    _, metrics = outcome(tmp_path)
    assert [row["watch_accuracy"] for row in metrics] == [0.6, 0.6, 0.55, 0.6]
    meta = checkpoint.load(tmp_path / checkpoint.NAME)[1]
    assert (meta["rollbacks"], meta["adversarial"]) == ([3], "n-fgsm")


@pytest.mark.parametrize(("size", "total"), [(1, 7), (2, 7), (3, 7), (4, 64), (5, 5)])
def test_the_parts_of_a_batch_make_up_the_batch(size, total) -> None:
    numbers = list(range(total))
    parts = [numbers[Group(rank, size).part(total)] for rank in range(size)]
    assert [number for part in parts for number in part] == numbers
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def _process(rank: int, port: int, data: Dataset, folder: Path, config: Config) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    train(config, data, folder, label="two")
    leave()


@pytest.mark.parametrize(("word", "local", "index"), [("cuda", "3", 3), ("cuda", None, 0)])
def test_each_process_of_a_host_has_its_own_card(monkeypatch, word, local, index) -> None:
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # as if there were cards
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local:
        monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert device(replace(CONFIG, device=word)) == torch.device("cuda", index)
    assert torch.backends.cudnn.deterministic


@pytest.mark.filterwarnings("ignore")  # torch's tracer warns of what it does itself
def test_a_compiled_network_is_one_graph_for_each_assignment(data, tmp_path, monkeypatch) -> None:
    """And trains as an uncompiled one; cut into a piece a layer, it would fall back to that."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, example: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.compiler.reset()
    equal = replace(CONFIG, epochs=2, batch_size=65)  # 130 images: both batches have as many
    for name in ("plain", "compiled"):
        (tmp_path / name).mkdir()
    plain = train(equal, data, tmp_path / "plain", label="plain").model.state_dict()
    assert not graphs
    state = train(replace(equal, compile="on"), data, tmp_path / "compiled", label="compiled")
    assert len(graphs) == 2
    assert len(set(state.rounds[0]["bits"].values())) > 1  # the bits did change
    assert all(torch.equal(value, plain[name]) for name, value in state.model.state_dict().items())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("elsewhere", "signed"), [(1, False), (2, True)])
def test_a_sign_that_one_process_alone_sees_holds_for_all(monkeypatch, elsewhere, signed) -> None:
    """As the process that saw no negative value; the other one's `seen` is `elsewhere`."""
    asked = []

    def all_reduce(tensor: torch.Tensor, op: object) -> None:
        asked.append(op)
        tensor.clamp_(min=elsewhere)

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(dist, "broadcast", lambda tensor, src: None)
    monkeypatch.setattr(parallel, "DistributedDataParallel", lambda model: model)
    model = distribute(nn.Sequential(ActivationQuantizer(4)), Group(0, 2))
    codes = model[0].codes(model(torch.ones(4, 2)))
    assert model[0].signed == signed
    assert codes.max() == (7 if signed else 15)
    model(-torch.ones(4, 2))
    assert model[0].signed == signed  # decided once
    assert asked == [dist.ReduceOp.MAX]


@pytest.mark.parametrize("model", ["vgg-small", "resnet-small"])
def test_two_processes_train_as_one(data, tmp_path, model) -> None:
    """The same batches, statistics and bits; what differs is the order of sums."""
    config = replace(CONFIG, model=model, batch_size=65)
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    train(config, data, one, label="one")
    port = free_port()
    children = [FORK.Process(target=_process, args=(r, port, data, two, config)) for r in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    alone, together = (outcome(folder)[1] for folder in (one, two))
    losses = [[row["loss"] for row in metrics] for metrics in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert together[0]["loss"] == pytest.approx(alone[0]["loss"], rel=1e-4)
    assert [row["mean_bits"] for row in together] == [row["mean_bits"] for row in alone]
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}

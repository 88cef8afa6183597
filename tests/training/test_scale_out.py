"""Training on several devices and by several processes: the numbers are those of one device."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import stored_weights
from jax.sharding import Mesh

import leastcontrol as lc
from leastcontrol import data, training
from leastcontrol.cli import main
from leastcontrol.runs import folders, samples, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.train import TrainingJob, run_training

SMALL = RunConfig.of(rule="backpropagation", hidden=(8,), epochs=1, learning_rate=1e-2)
COMMAND = ["train", "--rule", "least-control", "--hidden", "32", "--learning-rate", "1e-2"]


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


def weights(folder):
    config = folders.read_config(folder)
    like = trained.build_system(config, samples.load_splits(config), 0)
    system, _ = stored_weights(folder, "last", (like, None))
    return jax.tree.leaves(system)


def figures(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def same(run, expected):
    for one, other in zip(weights(run), weights(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert abs(figures(run)["test_accuracy"] - figures(expected)["test_accuracy"]) < 1e-5


@pytest.mark.slow
def test_accumulated_batches_on_a_mesh_train_like_whole_ones():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(24, 5)).astype(np.float32)
    made = data.Provenance(source="made here", licence="none", origin="memory", checksums={})
    samples = data.Dataset("made", inputs, np.arange(24, dtype=np.int32) % 3, 3, (5,), made)
    system = lc.Feedforward(5, (4,), 3, key=jax.random.key(0))
    config = training.TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-2)
    mesh = Mesh(np.array(jax.devices()[:1]), ("samples",))

    def trained(config, mesh):
        rule = lc.Backpropagation()
        return training.train(system, rule, samples, samples, config, seed=0, mesh=mesh)

    whole = trained(config, None)
    parts = trained(dataclasses.replace(config, accumulation_steps=4), mesh)
    for one, other in zip(
        jax.tree.leaves(parts.system), jax.tree.leaves(whole.system), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert [epoch.loss for epoch in parts.metrics] == pytest.approx(
        [epoch.loss for epoch in whole.metrics], abs=1e-6
    )


def start(out, *options, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "leastcontrol.cli", *COMMAND, *options, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags},
    )


def together(out, *options, count=2, devices=1):
    """Runs several processes of one training; returns their statuses, outputs and errors."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    where = ["--coordinator", f"localhost:{port}", "--processes", str(count)]
    started = [
        start(out, *options, *where, "--process", str(number), devices=devices)
        for number in range(count)
    ]
    outputs = [process.communicate(timeout=600) for process in started]
    return [(process.returncode, *said) for process, said in zip(started, outputs, strict=True)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two epochs on one device, and one that ended after its first epoch."""
    root = tmp_path_factory.mktemp("whole")
    config = RunConfig.of(hidden=(32,), learning_rate=1e-2, epochs=2)

    def stop(*_):
        raise KeyboardInterrupt

    with jax.enable_x64(False):
        run_training(config, root / "run")
        with contextlib.suppress(KeyboardInterrupt):
            run_training(config, root / "interrupted", report=stop)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("per_copy", [1, 4])
def test_eight_devices_train_like_one(per_copy, whole, tmp_path):
    divided = ["--devices", "all", "--devices-per-copy", str(per_copy)]
    process = start(tmp_path / "run", "--epochs", "2", *divided, devices=8)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    assert figures(tmp_path / "run")["devices"] == 8
    assert figures(tmp_path / "run")["devices_per_copy"] == per_copy
    same(tmp_path / "run", whole / "run")


@pytest.mark.slow
def test_two_processes_train_like_one(whole, tmp_path):
    first, second = together(tmp_path / "run", "--epochs", "2")
    assert (first[0], second[0]) == (0, 0), (first, second)
    # Only the first one has anything to say.
    assert "test accuracy" in first[1]
    # Gloo itself tells on some machines that it is connected.
    assert [line for line in second[1].splitlines() if not line.startswith("[Gloo]")] == []
    assert figures(tmp_path / "run")["processes"] == 2
    same(tmp_path / "run", whole / "run")


@pytest.mark.slow
def test_two_processes_go_on_with_what_one_began(whole):
    # Each holds a copy of its own on two devices.
    divided = ["--devices", "all", "--devices-per-copy", "2"]
    first, second = together(
        whole / "interrupted", "--epochs", "2", "--resume", *divided, devices=2
    )
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert "epoch   1" not in first[2]
    same(whole / "interrupted", whole / "run")


@pytest.mark.slow
def test_a_mistake_of_the_first_process_ends_both(whole, tmp_path):
    before = sorted(path.name for path in (whole / "run").iterdir())
    first, second = together(whole / "run", "--epochs", "2")
    assert (first[0], second[0]) == (2, 1), (first, second)
    assert "holds files already" in first[2]
    assert "The first process could not go on" in second[2]
    assert "Traceback" not in first[2] + second[2]
    assert sorted(path.name for path in (whole / "run").iterdir()) == before


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--accumulation-steps", "0"], "--accumulation-steps is 0"),
        (
            ["--accumulation-steps", "3"],
            "--batch-size is 64, but it must be a multiple of --accumulation-steps, 3",
        ),
        (["--devices", "0"], "--devices is 0"),
        (["--devices-per-copy", "0"], "--devices-per-copy is 0"),
        (["--devices", "6", "--devices-per-copy", "4"], "a multiple, such as --devices 8"),
        (["--devices", "all", "--devices-per-copy", "2"], "ask for 1 devices per copy"),
        (["--devices", "99"], "99 devices are asked for, but JAX has 1 here"),
        (["--process", "0"], "--process is given without --coordinator"),
        (["--coordinator", "here"], "--coordinator is here"),
        (["--coordinator", "here:99999"], "--coordinator is here:99999"),
        (["--coordinator", "here:99"], "add --processes 2 --process 0"),
        (
            ["--coordinator", "here:99", "--processes", "2", "--process", "2"],
            "--process is 2 of --processes 2",
        ),
    ],
)
def test_what_cannot_be_split_ends_with_one_sentence(options, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*COMMAND, *options, "--out", str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("leastcontrol: ")
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "run").exists()


def test_a_batch_is_a_multiple_of_all_parts():
    with pytest.raises(
        ConfigError, match=r"a multiple of --accumulation-steps, 3: write --batch-size 63"
    ):
        TrainingJob(SMALL.with_options(batch_size=64, accumulation_steps=3))
    with pytest.raises(ValueError, match=r"is 0, .*: write accumulation_steps=4"):
        training.TrainingConfig(accumulation_steps=0)
    with pytest.raises(
        ValueError, match=r"it is a multiple of accumulation_steps=3.* batch_size=63"
    ):
        training.TrainingConfig(accumulation_steps=3)


def test_processes_that_do_not_meet_are_named(monkeypatch):
    def late(*_, **__):
        raise RuntimeError("DEADLINE_EXCEEDED: too late.\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", late)
    with pytest.raises(training.DevicesError, match=r"^Process 1 of 2 .* at here:99 .*EXCEEDED"):
        training.connect("here:99", 2, 1)


def test_one_process_agrees_with_itself():
    assert training.is_first()
    assert training.by_first(lambda: [1]) == [1]
    assert training.by_all(lambda: 1) == 1

"""Weights and optimisers' states that several devices hold between them."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from leastcontrol import training

MESH = AbstractMesh((2, 4), ("samples", "weights"))


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((64, 128), PartitionSpec(None, ("weights",))),
        ((128, 64), PartitionSpec(("weights",))),
        ((64, 64), PartitionSpec(("weights",))),
        # 130 is longer, and no multiple of 4.
        ((130, 64), PartitionSpec(None, ("weights",))),
        ((129, 65), PartitionSpec()),
        ((1024,), PartitionSpec(("weights",))),
        ((1020,), PartitionSpec()),
        ((), PartitionSpec()),
    ],
)
def test_the_longest_axis_that_the_devices_divide_is_divided(shape, spec):
    described = {"weight": jax.ShapeDtypeStruct(shape, float), "word": "kept"}
    chosen = training.shardings(described, MESH)
    assert chosen["weight"].spec == spec
    assert chosen["word"] is None


def test_without_a_second_axis_every_array_is_whole():
    chosen = training.shardings(jnp.zeros((64, 64)), AbstractMesh((8,), ("batch",)))
    assert chosen.spec == PartitionSpec()


def test_what_is_no_array_stays():
    laid = training.shard({"weight": jnp.ones(3), "word": "kept"}, training.device_mesh(1))
    assert laid["word"] == "kept"
    assert laid["weight"].sharding.mesh == training.device_mesh(1)


@pytest.mark.parametrize("per_copy", [0, 2])
def test_devices_that_make_no_copies_are_refused(per_copy):
    with pytest.raises(training.DevicesError, match=f"^{per_copy} devices are .* 1 devices per"):
        training.device_mesh(1, per_copy)


@pytest.mark.slow
def test_eight_devices_hold_and_train_what_one_does():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags}
    environment.pop("PYTEST_XDIST_WORKER", None)
    file = Path(__file__).with_name("eight_devices.py")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=file.parents[2],
        timeout=900,
    )
    assert ended.returncode == 0, ended.stdout[-4000:]

"""What `test_sharding.py` runs in a process of eight devices: all numbers are those of one device.

A mesh of 2 × 4 holds two copies, each on four devices, whose solves end at different steps.
"""

import dataclasses
import itertools
import math
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol import data, training
from leastcontrol.systems import Affine, FanInUniform, Swapped, convolutional_deep_equilibrium

KEY = jax.random.key(0)
MADE = data.Provenance(source="made here", licence="none", origin="memory", checksums={})
INVERSION = lc.LeastControl(
    lc.DynamicInversion(lc.Tolerance(1e-9), lc.FixedPoint(max_steps=400)), 6.4
)
AUTOMATIC = lc.LeastControl(lc.Automatic(), 1.0)


def feedforward():
    return lc.Feedforward(12, (64, 64), 4, key=KEY)


def recurrent():
    return lc.EquilibriumRNN(12, 64, 4, key=KEY)


class Cell(eqx.Module):
    """The map (φ, e) ↦ tanh(Wφ + e)."""

    affine: Affine

    def __call__(self, state, drive):
        return jnp.tanh(self.affine(state) + drive)


def dense_equilibrium():
    sizes, keys = ((12, 64), (64, 64), (64, 4)), jax.random.split(KEY, 3)
    drawn = [
        Affine.initialise(*size, FanInUniform(), key=key)
        for size, key in zip(sizes, keys, strict=True)
    ]
    return lc.DeepEquilibrium(drawn[0], Cell(drawn[1]), drawn[2])


def convolutional_equilibrium():
    return convolutional_deep_equilibrium(
        (1, 8, 8), 4, channels=16, inner=16, pool=4, make_cell=Swapped, key=KEY
    )


SYSTEMS = {
    "feedforward": (feedforward, (12,)),
    "recurrent": (recurrent, (12,)),
    "deep equilibrium": (dense_equilibrium, (12,)),
    "convolutional deep equilibrium": (convolutional_equilibrium, (1, 8, 8)),
}


def samples(shape, count=16):
    inputs = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    # The first half is next to nothing, so that its solves end at other steps.
    inputs[: count // 2] /= 100
    return data.Dataset("made", inputs, np.arange(count, dtype=np.int32) % 4, 4, shape, MADE)


def arrays(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]


def same(computed, expected, tolerance=1e-10):
    for one, other in zip(arrays(computed), arrays(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def bytes_a_device(tree):
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in arrays(tree))


def trained(mesh=None, epochs=2, make=feedforward, shape=(12,), rule=AUTOMATIC, **options):
    dataset, names = samples(shape), {f.name for f in dataclasses.fields(training.TrainingConfig)}
    configured = {name: options.pop(name) for name in list(options) if name in names}
    config = training.TrainingConfig(epochs=epochs, batch_size=8, learning_rate=1e-2, **configured)
    return training.train(make(), rule, dataset, dataset, config, seed=0, mesh=mesh, **options)


@pytest.fixture(scope="module")
def mesh():
    return training.device_mesh(8, per_copy=4)


@pytest.fixture(scope="module")
def whole():
    """The training on one device."""
    return trained()


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_credit_of_a_divided_system_is_that_of_a_whole_one(name, mesh):
    make, shape = SYSTEMS[name]
    dataset, system = samples(shape), make()
    batch = lc.Batch(jnp.asarray(dataset.inputs, float), jnp.asarray(dataset.targets))
    expected = eqx.filter_jit(INVERSION)(system, None, batch)
    divided = eqx.filter_jit(lc.InParts(INVERSION, 2, mesh))(
        training.shard(system, mesh), None, batch
    )
    solved = lc.solved(expected.solution)
    # Half of the solves of the convolutional one go round their rest points.
    assert solved.all() or (name.startswith("convolutional") and solved.any())
    np.testing.assert_array_equal(lc.solved(divided.solution), solved)
    same(_means(divided), _means(expected))
    # A copy's devices have computed it between them.
    big = [leaf for leaf in arrays(divided.gradient) if leaf.size >= 1024]
    assert big
    assert not any(leaf.sharding.is_fully_replicated for leaf in big)
    same(
        *(
            jax.tree.map(lambda z: z[solved], credit.solution.value)
            for credit in (divided, expected)
        )
    )
    steps = np.asarray(divided.solution.stats.steps).reshape(2, -1)
    if name in ("recurrent", "deep equilibrium"):
        assert steps[0].max() != steps[1].max()


def _means(credit):
    return credit.gradient, credit.loss, credit.objective


@pytest.mark.parametrize("per_copy", [1, 4, 8])
def test_training_is_that_of_one_device(per_copy, whole):
    run = trained(training.device_mesh(8, per_copy))
    same(run.kept(), whole.kept())


@pytest.mark.parametrize(
    "options", [{"warm_start": True}, {"accumulation_steps": 2}, {"tolerance": True}]
)
def test_it_is_so_with_what_follows_measurements(options, mesh):
    if "tolerance" in options:
        options = {"tolerance": training.ToleranceFromNoise(every=1)}
    same(trained(mesh, **options).kept(), trained(**options).kept())


@pytest.mark.parametrize("name", ["recurrent", "deep equilibrium"])
def test_systems_that_iterate_train_as_on_one_device(name, mesh):
    make, shape = SYSTEMS[name]
    options = {"epochs": 1, "make": make, "shape": shape, "rule": INVERSION}
    same(trained(mesh, **options).kept(), trained(**options).kept())


def test_weights_and_averages_are_divided_among_the_devices_of_a_copy(mesh, whole):
    run = trained(mesh)
    big = [leaf for leaf in arrays(run.system) if leaf.size >= 1024]
    averages = [leaf for leaf in arrays(run.optimiser_states) if leaf.size >= 1024]
    assert len(averages) == 2 * len(big) > 0
    for leaf in (*big, *averages):
        assert {part.data.nbytes for part in leaf.addressable_shards} == {leaf.nbytes // 4}
        assert len(leaf.devices()) == 4
    assert all(len(leaf.devices()) == 1 for leaf in arrays(whole.system))


def test_the_memory_of_a_device_falls_with_their_number():
    def wide():
        return lc.Feedforward(12, (256, 256), 4, key=KEY)

    runs = {}
    for per_copy in (1, 2, 4, 8):
        mesh = training.device_mesh(per_copy, per_copy) if per_copy > 1 else None
        runs[per_copy] = trained(mesh, epochs=1, make=wide)
    held = [bytes_a_device((run.system, run.optimiser_states)) for run in runs.values()]
    working = [run.metrics[-1].step_bytes for run in runs.values()]
    for figures in (held, working):
        assert all(later < 0.65 * before for before, later in itertools.pairwise(figures))


@pytest.mark.parametrize(("first", "second"), [(1, 4), (4, 1), (4, 8)])
def test_a_checkpoint_goes_on_with_other_devices(first, second, tmp_path, whole):
    meshes = {1: None, 4: training.device_mesh(8, 4), 8: training.device_mesh(8, 8)}
    half = []

    def stop(_, state):
        half.append(state)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(meshes[first], report=stop)
    kept = training.Checkpoints(training.RunFolder(tmp_path), {})
    kept.save(half[0], 1.0)
    config = training.TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-2)
    fresh = training.untrained(
        feedforward(), AUTOMATIC, samples((12,)), config, seed=0, mesh=meshes[second]
    )
    restored, _ = kept.restore(fresh)
    assert [leaf.sharding for leaf in arrays(restored.kept())] == [
        leaf.sharding for leaf in arrays(fresh.kept())
    ]
    resumed = trained(meshes[second], start=restored)
    same(resumed.kept(), whole.kept())
    assert [dataclasses.asdict(m)["epoch"] for m in resumed.metrics] == [1, 2]


@pytest.mark.parametrize("per_copy", [2, 8])
def test_weights_are_drawn_where_they_lie(per_copy):
    mesh = training.device_mesh(per_copy, per_copy)

    def wide():
        return lc.Feedforward(512, (512, 768), 4, key=KEY)

    system, expected = training.drawn(wide, mesh), wide()
    same(system, expected, 1e-15)
    assert system.activation is expected.activation
    big = [leaf for leaf in arrays(system) if leaf.size >= 1024]
    for leaf in big:
        assert {part.data.nbytes for part in leaf.addressable_shards} == {leaf.nbytes // per_copy}
    # Nor is any array of the drawing program on a device larger than a part, or a common draw.
    described = eqx.filter_eval_shape(lambda: eqx.filter(wide(), eqx.is_array))
    divided = jax.jit(
        lambda: eqx.filter(wide(), eqx.is_array), out_shardings=training.shardings(described, mesh)
    )
    shapes = re.findall(r"[a-z]\d+\[([\d,]+)\]", str(divided.lower().compile().as_text()))
    sizes = [math.prod(map(int, shape.split(","))) for shape in shapes]
    assert max(sizes) == max(max(leaf.size for leaf in big) // per_copy, 2**16)


def test_feedback_weights_are_drawn_where_they_lie(mesh):
    config = training.TrainingConfig(epochs=1, batch_size=8, learning_rate=1e-2)
    rule = lc.LeastControl(lc.KolenPollack(), 6.4)

    def feedback(mesh):
        start = training.untrained(feedforward(), rule, samples((12,)), config, seed=0, mesh=mesh)
        return start.feedback

    weights = feedback(mesh)
    same(weights, feedback(None), 1e-15)
    big = [leaf for leaf in arrays(weights) if leaf.size >= 1024]
    assert big
    for leaf in big:
        assert {part.data.nbytes for part in leaf.addressable_shards} == {leaf.nbytes // 4}

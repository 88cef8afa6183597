"""Random changes of images, and batch norm's statistics for evaluation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol import data, training

KEY = jax.random.PRNGKey(3)
IMAGES = jax.random.normal(KEY, (40, 2, 5, 6))


def test_a_crop_moves_an_image_and_fills_with_zeros():
    moved = np.asarray(training.augmented((training.RandomCrop(2),), IMAGES, key=KEY))
    padded = np.pad(np.asarray(IMAGES), ((0, 0), (0, 0), (2, 2), (2, 2)))
    places = [(i, j) for i in range(5) for j in range(5)]
    offsets = []
    for crop, image in zip(moved, padded, strict=True):
        fits = [(i, j) for i, j in places if (image[:, i : i + 5, j : j + 6] == crop).all()]
        assert len(fits) == 1
        offsets += fits
    # Every image by itself, and as far as the padding reaches.
    assert len(set(offsets)) > 10
    assert {i for i, _ in offsets} == {j for _, j in offsets} == set(range(5))


def test_a_flip_mirrors_about_half_of_the_images():
    made = np.asarray(training.augmented((training.RandomFlip(),), IMAGES, key=KEY))
    images = np.asarray(IMAGES)
    flipped = [
        (result == image[:, :, ::-1]).all() for result, image in zip(made, images, strict=True)
    ]
    kept = [(result == image).all() for result, image in zip(made, images, strict=True)]
    assert all(np.logical_xor(flipped, kept))
    assert 10 < sum(flipped) < 30


def test_augmentations_follow_each_other_with_keys_of_their_own():
    both = (training.RandomFlip(), training.RandomFlip())
    made = training.augmented(both, IMAGES, key=KEY)
    # With one key for both, every image would be as it was.
    assert not (made == IMAGES).all()
    with pytest.raises(ValueError, match=r"`padding` is 0.*write padding=4"):
        training.RandomCrop(0)


@pytest.mark.slow
def test_calibration_measures_at_free_rest_points():
    x = np.asarray(jax.random.normal(KEY, (6, 1, 4, 4)), np.float32)
    dataset = data.Dataset(
        "own",
        x,
        np.zeros(6, np.int32),
        2,
        (1, 4, 4),
        data.Provenance("", "", "", {}),
    )
    with jax.enable_x64(False):
        system = lc.convolutional_deep_equilibrium(
            (1, 4, 4), 2, channels=4, inner=4, groups=2, pool=2, key=KEY
        )
        calibrated = training.calibrate(system, dataset)
        drives = jax.vmap(calibrated.drive)(jnp.asarray(x))
        np.testing.assert_allclose(drives.mean((0, 2, 3)), 0, atol=1e-6)
        np.testing.assert_allclose(drives.var((0, 2, 3)), 1, rtol=1e-3)
        states = lc.free_equilibrium(calibrated, drives).value
        norm = calibrated.decoder.norm
        np.testing.assert_allclose(norm.mean, states.mean((0, 2, 3)), atol=1e-4)
        np.testing.assert_allclose(norm.variance, states.var((0, 2, 3)), rtol=1e-3)
        # Weights stay.
        assert eqx.tree_equal(calibrated.cell, system.cell)
        plain = lc.Feedforward(16, (3,), 2, key=KEY)
        assert training.calibrate(plain, dataset) is plain

"""Regressions: one teacher for all parts, and images that are their own targets."""

import numpy as np
import pytest

from leastcontrol import data
from leastcontrol.data import DataError

SMALL = {"train": 60, "validation": 5, "test": 40, "hidden": (4,)}


def test_one_teacher_answers_in_all_parts():
    """Rectified and without biases, it is positively homogeneous, and linear in its 4 rates."""
    parts = data.student_teacher(2, 7, **SMALL, seed=3).parts()
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 60,
        "validation": 5,
        "test": 40,
    }
    for part in parts.values():
        assert part.inputs.dtype == part.targets.dtype == np.float32
        assert np.all(np.abs(part.inputs) <= 1)
    together = np.concatenate([part.targets for part in parts.values()])
    sizes = np.linalg.svd(together, compute_uv=False)
    # 7 outputs of 4 hidden neurons span 4 dimensions; those of three teachers would span 7.
    assert sizes[3] > 1e-2
    assert sizes[4] < 1e-5 * sizes[0]


def test_the_parts_are_different_samples_and_the_seed_decides_them():
    first = data.student_teacher(3, 2, **SMALL)
    again = data.student_teacher(3, 2, **SMALL)
    other = data.student_teacher(3, 2, **SMALL, seed=1)
    np.testing.assert_array_equal(first.test.targets, again.test.targets)
    assert not np.isin(first.test.inputs, first.train.inputs).any()
    assert not np.isin(first.test.inputs, other.test.inputs).any()
    assert abs(first.train.inputs.mean()) < 0.15
    assert first.train.inputs.std() == pytest.approx(1 / np.sqrt(3), rel=0.1)


def test_the_gain_is_that_of_every_layer():
    single = data.student_teacher(3, 2, **SMALL, gain=1.0)
    triple = data.student_teacher(3, 2, **SMALL, gain=3.0)
    np.testing.assert_allclose(triple.train.targets, 9 * single.train.targets, rtol=1e-4)


def test_images_are_their_own_targets():
    splits = data.load("digits", preprocessing=data.Standardise(0.3, 0.4))
    own = data.autoencoding(splits)
    for name, part in own.parts().items():
        np.testing.assert_array_equal(part.inputs, splits.parts()[name].inputs)
        np.testing.assert_array_equal(part.targets, part.inputs)
    assert own.train.name == "digits-autoencoder"
    taken = own.train.take(np.array([5, 2]))
    np.testing.assert_array_equal(taken.targets, own.train.targets[[5, 2]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: data.student_teacher(0), "inputs=0"),
        (lambda: data.student_teacher(hidden=(5, 0)), "hidden=0"),
        (lambda: data.student_teacher(test=0), "test=0"),
        (lambda: data.student_teacher(gain=np.inf), "gain=inf"),
        (lambda: data.student_teacher(seed=-1), "seed=-1"),
        (lambda: _of(np.zeros((2, 3)), np.zeros((2, 1), np.float32)), "inputs are float64"),
        (lambda: _of(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)), "targets are"),
        (lambda: _of(np.zeros((2, 3), np.float32), np.ones((3, 1), np.float32)), "3 targets"),
        (lambda: _of(np.zeros((0, 3), np.float32), np.ones((0, 1), np.float32)), "0 inputs"),
        (lambda: _of(np.full((1, 3), np.nan, np.float32), np.ones((1, 1), np.float32)), "NaN"),
    ],
)
def test_what_is_no_regression_is_refused(make, words):
    with pytest.raises(DataError, match=words):
        make()


def _of(inputs, targets):
    return data.Regression("own", inputs, targets)

"""Shares of the loss that control is asked to remove: their courses, and the feedback on κ."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leastcontrol import files, training
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.train import run_training


def test_courses_go_from_the_first_share_to_the_last():
    linear, cosine = training.LinearCourse(0.1, 0.9), training.CosineCourse(0.1, 0.9)
    at = [jnp.asarray(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    np.testing.assert_allclose(list(map(linear.share, at)), [0.1, 0.3, 0.5, 0.9])
    quarter = 0.9 - 0.8 * (1 + math.cos(math.pi / 4)) / 2
    np.testing.assert_allclose(list(map(cosine.share, at)), [0.1, quarter, 0.5, 0.9])


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_lies_between_none_and_all(share):
    with pytest.raises(ValueError, match="write a share between 0 and 1"):
        training.LinearCourse(0.5, share)


def removed(kappa, stiffness):
    """Returns the share that is removed of a quadratic loss with another gain than was measured."""
    left = kappa * stiffness / (1 + kappa * stiffness)
    return 1 - left**2


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("stiffness", [0.3, 1.0, 5.0])
def test_feedback_meets_the_share(share, stiffness):
    course = training.LinearCourse(share, share)
    kappa, now = course.first_kappa(), jnp.asarray(0.5)
    np.testing.assert_allclose(removed(kappa, 1.0), share, rtol=1e-9)
    for _ in range(40):
        kappa = course.adjusted(kappa, removed(kappa, stiffness), now)
    np.testing.assert_allclose(removed(kappa, stiffness), share, rtol=1e-3)


def test_a_step_without_a_measurement_changes_nothing():
    course = training.LinearCourse(0.5, 0.5)
    kappa = course.adjusted(jnp.asarray(2.0), jnp.asarray(jnp.nan), jnp.asarray(0.0))
    assert kappa == 2.0
    # A wild share changes log κ by a bounded amount.
    kappa = course.adjusted(jnp.asarray(2.0), jnp.asarray(-50.0), jnp.asarray(0.0))
    assert abs(math.log(float(kappa) / 2)) <= 0.5 + 1e-12


SMALL = RunConfig.of(rule="least-control", hidden=(6,), epochs=4, batch_size=50)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({"strength": "0.5"}, 0.49, 0.51),
        # The mean of a last epoch in which the course goes from 0.70 to 0.80, some steps behind it.
        ({"strength": "0.1:0.8", "strength_samples": "by-error"}, 0.72, 0.80),
        ({"alpha": 1e4}, 1e-9, 1e-2),
    ],
)
def test_a_run_says_which_share_was_removed(options, low, high, tmp_path):
    with jax.enable_x64(False):
        summary = run_training(SMALL.with_options(**options), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    shares = [files.parse_record(line, "line")["removed"] for line in lines]
    set_by = {"alpha": options["alpha"]} if "alpha" in options else {"asked": options["strength"]}
    assert summary["strength"] == {
        **set_by,
        "removed_mean": pytest.approx(np.mean(shares)),
        "removed_end": pytest.approx(shares[-1]),
    }
    assert low < shares[-1] < high
    assert summary["solve"]["converged_fraction"] > 0.999


@pytest.mark.slow
def test_a_rule_without_control_removes_nothing_that_is_shown(tmp_path):
    with jax.enable_x64(False):
        config = SMALL.with_options(rule="backpropagation", epochs=1)
        assert "strength" not in run_training(config, tmp_path / "run")

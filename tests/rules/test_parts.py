"""Batches in parts: the credit is that of the whole batch, on one device and on several."""

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import leastcontrol as lc
from leastcontrol import feedback_control as fc

ONE_DEVICE = Mesh(np.array(jax.devices()[:1]), ("samples",))
CASES = {
    "backpropagation, on a mesh": (lc.Backpropagation(), ONE_DEVICE),
    "least control with feedback weights": (lc.LeastControl(lc.KolenPollack(), 1.0), None),
    "deep feedback control": (
        fc.DeepFeedbackControl(
            phase=fc.SteadyState(1e-3, lc.Tolerance(1e-8)), teaching=fc.Nudged(0.1)
        ),
        None,
    ),
}
SLOW = ("deep feedback control",)


def credit(rule, system, feedback, batch, key=None):
    return eqx.filter_jit(rule)(system, feedback, batch, key=key)


def batch():
    return lc.Batch(helpers.inputs(), helpers.labels())


def same(computed, expected):
    # How large a residual far below the tolerance is, the order of sums decides.
    means = [
        (
            result.gradient,
            result.feedback_gradient,
            result.objective,
            result.loss,
            result.count,
            result.solution.value,
        )
        for result in (computed, expected)
    ]
    for one, other in zip(*map(jax.tree.leaves, means), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES]
)
def test_the_credit_is_that_of_the_whole_batch(name):
    rule, mesh = CASES[name]
    system = helpers.feedforward()
    feedback = rule.init(system, key=helpers.KEY)
    computed = credit(lc.InParts(rule, 3, mesh), system, feedback, batch())
    same(computed, credit(rule, system, feedback, batch()))


class Mean(lc.rules.AbstractRuleWithoutFeedback):
    """Its gradient is the mean of the inputs that are positive, and what it draws."""

    loss: lc.AbstractLoss = lc.CrossEntropy()

    @property
    def aspects(self):
        return lc.rules.Aspects(self)

    def __call__(self, system, feedback, batch, *, key=None):
        counted = (batch.inputs > 0).astype(float)
        count = jnp.sum(counted)
        mean = jnp.sum(counted * batch.inputs) / jnp.maximum(count, 1)
        drawn = jnp.zeros(()) if key is None else jax.random.normal(key)
        zeros = jnp.zeros_like(batch.inputs)
        stats = lc.Certificate(zeros.astype(int), zeros, zeros, zeros, zeros, zeros)
        result = jax.vmap(
            lambda value: lc.RESULTS.where(
                value == 0, lc.RESULTS.successful, lc.RESULTS.not_at_rest
            )
        )(zeros)
        solution = lc.Solution(batch.inputs, result, stats)
        return lc.Credit((mean, drawn), None, mean, mean, count, solution)


@pytest.mark.parametrize("mesh", [None, ONE_DEVICE])
def test_parts_count_by_their_samples_that_count(mesh):
    inputs = jnp.array([1.0, -1.0, 2.0, 6.0, -1.0, -1.0])
    samples = lc.Batch(inputs, inputs)
    result = credit(lc.InParts(Mean(), 3, mesh), helpers.feedforward(), None, samples)
    # (1 · 1 + 2 · 4 + 0) / 3, and not the mean 5/3 of the parts' means.
    assert result.gradient == (pytest.approx(3.0), 0.0)
    assert result.objective == result.loss == result.gradient[0]
    assert result.count == 3
    np.testing.assert_array_equal(result.solution.value, inputs)
    assert lc.solved(result.solution).shape == (6,)


@pytest.mark.parametrize("mesh", [None, ONE_DEVICE])
def test_each_part_draws_with_a_key_of_its_own(mesh):
    key, inputs = jax.random.key(3), jnp.ones(6)
    samples = lc.Batch(inputs, inputs)
    result = credit(lc.InParts(Mean(), 3, mesh), helpers.feedforward(), None, samples, key)
    drawn = [float(jax.random.normal(part_key)) for part_key in jax.random.split(key, 3)]
    assert result.gradient[1] == pytest.approx(np.mean(drawn))


@pytest.mark.parametrize(
    ("parts", "mesh", "said"),
    [
        (0, None, "in 0 parts by 1 devices"),
        (
            2,
            Mesh(np.array(jax.devices()[:1])[None], ("a", "b")),
            "axes a, b, but a batch is split",
        ),
    ],
)
def test_parts_that_are_none_are_refused(parts, mesh, said):
    with pytest.raises(ValueError, match=said):
        lc.InParts(Mean(), parts, mesh)


def test_a_batch_that_has_no_equal_parts_is_refused():
    with pytest.raises(ValueError, match="A batch of 6 samples is to be taken in 4"):
        lc.InParts(Mean(), 4)(helpers.feedforward(), None, batch())

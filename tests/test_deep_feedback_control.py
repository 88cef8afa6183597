"""Deep feedback control: the reference values of a small network, and its structure.

The network 4-5-4-3, its constants and its deterministic noise are those for which the method's
authors' code printed the values below; they are compared to the last digit that was printed.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol.controllers import output_jacobian
from leastcontrol.equilibrium import deviation_of

SIZES = (4, 5, 4, 3)


def grid(rows, columns, of):
    p, q = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return jnp.asarray(of(p, q))


def network():
    structure = eqx.filter_eval_shape(lc.Feedforward, 4, (5, 4), 3, key=jax.random.key(0))
    weights = [
        grid(after, before, lambda p, q, layer=layer: 0.5 * np.sin(1.7 * p + 2.3 * q + layer))
        for layer, (before, after) in enumerate(pairwise(SIZES), 1)
    ]
    biases = [
        jnp.asarray(0.1 * np.cos(np.arange(size) + layer))
        for layer, size in enumerate(SIZES[1:], 1)
    ]
    return eqx.tree_at(
        lambda own: [leaf for layer in own.layers for leaf in (layer.weight, layer.bias)],
        structure,
        [leaf for pair in zip(weights, biases, strict=True) for leaf in pair],
    )


NETWORK = network()
FEEDBACK = (
    grid(5, 3, lambda p, q: 0.5 * np.cos(0.9 * p + 1.3 * q + 1)),
    grid(4, 3, lambda p, q: 0.5 * np.cos(0.9 * p + 1.3 * q + 2)),
    jnp.eye(3),
)
BATCH = lc.Batch(
    grid(2, 4, lambda b, q: np.sin(0.5 + b + 0.7 * q)),
    jnp.asarray([[0.9, 0.05, 0.05], [0.05, 0.05, 0.9]]),
)


def draws(step):
    """The deterministic noise of the step from the time point k to k + 1."""
    return tuple(
        jnp.sqrt(2.0) * jnp.sin(3.1 * step + 1.9 * layer + grid(2, size, phase))
        for layer, size in enumerate(SIZES[1:], 1)
    )


def phase(b, p):
    return 0.7 * b + 1.1 * p + 0.3


def forward(noise=None, **options):
    constants = {
        "time_step": 0.02,
        "points": 40,
        "voltage_time_constant": 0.2,
        "leak": 0.05,
        "proportional_gain": 1.3,
    }
    return lc.Dynamics(**(constants | options), noise=noise)


def sleep(noise, apical_time_constant=0.1):
    return lc.Dynamics(0.003, 30, 0.02, 0.3, 0.4, apical_time_constant, noise=noise)


def white(hidden, output, apical_time_constant=0.1):
    unit = deviation_of(1.0, 0.003, apical_time_constant)
    return lc.WhiteNoise(hidden * unit, output * unit)


def filtered(hidden, output, time_step):
    unit = deviation_of(1.0, time_step, 0.07)
    return lc.FilteredNoise(hidden * unit, output * unit, time_constant=0.07)


@eqx.filter_jit
def compiled(rule, network, feedback, batch, own_draws):
    task = rule.task(network, feedback, batch)
    return rule.credit(task, batch, own_draws, learning_draws=draws)


def credit(rule, *, noisy=False, feedback=FEEDBACK):
    return compiled(rule, NETWORK, feedback, BATCH, draws if noisy else None)


def norms(leaves):
    return [float(jnp.linalg.norm(leaf)) for leaf in leaves]


def weights(credit):
    return [layer.weight for layer in credit.gradient.layers]


def printed(values, expected):
    """Compares with numbers that were printed to ten decimals."""
    np.testing.assert_allclose(values, expected, rtol=0, atol=6e-11)


def angles(gradient, other):
    return [
        float(jnp.degrees(jnp.arccos(jnp.sum(a * b) / jnp.linalg.norm(a) / jnp.linalg.norm(b))))
        for a, b in zip(gradient, other, strict=True)
    ]


def backpropagation():
    credit = lc.Backpropagation()(NETWORK, None, BATCH)
    return credit, weights(credit)


NUDGED = lc.Nudged(0.1)


class TestReferenceValues:
    def test_g0_the_network_without_control(self):
        soma = eqx.filter_vmap(lambda x: lc.equilibrium.free_moment(NETWORK, NETWORK.drive(x)))(
            BATCH.inputs
        ).soma
        printed(soma[-1][0], [-0.0648050551, -0.1280149725, 0.0103163964])
        printed(soma[-1][1], [-0.0895518749, -0.1560341326, 0.0422834452])
        credit, gradient = backpropagation()
        printed(credit.loss, 1.0560428553)
        printed(norms(gradient), [0.3835706492, 0.0570001331, 0.0672758561])
        jacobian = jnp.concatenate(jax.vmap(lambda *v: output_jacobian(NETWORK, v))(*soma), axis=-1)
        printed(jnp.linalg.norm(jacobian), 3.3490107297)

    def test_g1_continuous(self):
        found = credit(lc.DeepFeedbackControl(lc.Continuous(forward()), NUDGED))
        printed(norms(weights(found)), [0.0527004297, 0.0060894083, 0.0076030081])
        printed(
            [weight[0, 0] for weight in weights(found)],
            [0.0022472288, -0.0007942422, 0.0019241855],
        )
        printed(
            norms([layer.bias for layer in found.gradient.layers]),
            [0.0184147518, 0.0157390799, 0.0350611968],
        )
        printed(
            found.solution.value.moment.control[0], [0.0426434468, -0.0108776203, -0.0260138708]
        )
        printed(
            np.divide(angles(weights(found), backpropagation()[1]), 100),
            [0.882284690719, 0.917743778917, 0.231822828696],
        )

    def test_g2_steady_state(self):
        found = credit(lc.DeepFeedbackControl(lc.SimulatedSteadyState(forward()), NUDGED))
        printed(norms(weights(found)), [0.0643421190, 0.0079270555, 0.0092862174])

    def test_g3_delayed_and_not_proactive(self):
        dynamics = forward(delayed=True, proactive=False)
        found = credit(lc.DeepFeedbackControl(lc.Continuous(dynamics), NUDGED))
        printed(norms(weights(found)), [0.0520961848, 0.0060293082, 0.0075401908])

    def test_g4_analytic(self):
        found = credit(lc.DeepFeedbackControl(lc.AnalyticSteadyState(0.05), NUDGED))
        printed(norms(weights(found)), [0.0893413669, 0.0126184534, 0.0134886432])
        printed(
            found.solution.value.moment.control[0], [0.0577412756, -0.0084175167, -0.0371079392]
        )

    @pytest.mark.parametrize(
        ("teaching", "sizes", "first"),
        [
            (
                lc.Nudged(0.0),
                [0.0563780278, 0.0566838176, 0.0285342743],
                [0.0034506527, 0.0047256359, -0.0045154841],
            ),
            (lc.LabelDifference(), [16.2165540505, 15.3923586389, 9.7901699855], None),
        ],
        ids=["weak", "strong"],
    )
    def test_g5_two_phase_feedback(self, teaching, sizes, first):
        rule = lc.DeepFeedbackControl(
            lc.AnalyticSteadyState(0.05),
            NUDGED,
            feedback_learning=lc.TwoPhase(sleep(white(0.04, 0.06)), teaching),
        )
        found = credit(rule).feedback_gradient
        printed(norms(found), sizes)
        if first is not None:
            printed([leaf[0, 0] for leaf in found], first)

    def test_g6_single_phase(self):
        rule = lc.DeepFeedbackControl(
            lc.Continuous(forward(filtered(0.003, 0.04, 0.02))),
            lc.Strong(),
            feedback_learning=lc.SinglePhase(0.5),
        )
        found = credit(rule, noisy=True)
        printed(norms(weights(found)), [0.7631698752, 0.5076160169, 0.5753089188])
        printed(norms(found.feedback_gradient), [4073.3259117391, 909.3652448715, 16.9262465309])
        printed(
            found.solution.value.moment.control[0], [0.7097298744, -0.2996782723, -0.4100516021]
        )

    def test_g7_published_pretraining(self):
        rule = lc.DeepFeedbackControl(
            lc.Continuous(forward(filtered(0.003, 0.04, 0.02))),
            lc.Strong(),
            feedback_learning=lc.SinglePhase(0.5),
            published=True,
        )
        phase = lc.Continuous(sleep(filtered(0.04, 0.06, 0.003), apical_time_constant=None))
        found = credit(rule.pretraining(phase, lc.LabelDifference()), noisy=True)
        printed(norms(found.feedback_gradient), [60.1934996878, 14.8393674482, 2.7484223584])

    def test_g8_strong_steady_state(self):
        found = credit(lc.DeepFeedbackControl(lc.SimulatedSteadyState(forward()), lc.Strong()))
        printed(norms(weights(found)), [1.0121962379, 0.8015026491, 0.9298972554])

    def test_g9_jacobian_feedback(self):
        rule = lc.DeepFeedbackControl(lc.Continuous(forward()), NUDGED, path=lc.JacobianFeedback())
        found = credit(rule, feedback=None)
        printed(norms(weights(found)), [0.0286039045, 0.0041404414, 0.0053788548])
        printed(
            found.solution.value.moment.control[0], [0.0264782335, -0.0125724063, -0.0094119298]
        )

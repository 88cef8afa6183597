"""Deep feedback control: the reference values of a small network, and its structure.

The network 4-5-4-3, its constants and its deterministic noise are those for which the method's
authors' code printed the values below; they are compared to the last digit that was printed.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference_network import (
    BATCH,
    FEEDBACK,
    NETWORK,
    NUDGED,
    SIZES,
    angles,
    backpropagation,
    compiled,
    credit,
    draws,
    filtered,
    forward,
    norms,
    printed,
    sleep,
    weights,
    white,
)

import leastcontrol as lc
from leastcontrol import diagnostics
from leastcontrol import feedback_control as fc
from leastcontrol.controllers import output_jacobian, output_response
from leastcontrol.equilibrium import deviation_of


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
        result = credit(fc.DeepFeedbackControl(fc.Continuous(forward()), NUDGED))
        printed(norms(weights(result)), [0.0527004297, 0.0060894083, 0.0076030081])
        printed(
            [weight[0, 0] for weight in weights(result)],
            [0.0022472288, -0.0007942422, 0.0019241855],
        )
        printed(
            norms([layer.bias for layer in result.gradient.layers]),
            [0.0184147518, 0.0157390799, 0.0350611968],
        )
        printed(
            result.solution.value.moment.control[0], [0.0426434468, -0.0108776203, -0.0260138708]
        )
        printed(
            np.divide(angles(weights(result), backpropagation()[1]), 100),
            [0.882284690719, 0.917743778917, 0.231822828696],
        )

    def test_g2_steady_state(self):
        result = credit(fc.DeepFeedbackControl(fc.SimulatedSteadyState(forward()), NUDGED))
        printed(norms(weights(result)), [0.0643421190, 0.0079270555, 0.0092862174])

    def test_g3_delayed_and_not_proactive(self):
        dynamics = forward(delayed=True, proactive=False)
        result = credit(fc.DeepFeedbackControl(fc.Continuous(dynamics), NUDGED))
        printed(norms(weights(result)), [0.0520961848, 0.0060293082, 0.0075401908])

    def test_g4_analytic(self):
        result = credit(fc.DeepFeedbackControl(fc.AnalyticSteadyState(0.05), NUDGED))
        printed(norms(weights(result)), [0.0893413669, 0.0126184534, 0.0134886432])
        printed(
            result.solution.value.moment.control[0], [0.0577412756, -0.0084175167, -0.0371079392]
        )

    @pytest.mark.parametrize(
        ("teaching", "sizes", "first"),
        [
            (
                fc.Nudged(0.0),
                [0.0563780278, 0.0566838176, 0.0285342743],
                [0.0034506527, 0.0047256359, -0.0045154841],
            ),
            (fc.LabelDifference(), [16.2165540505, 15.3923586389, 9.7901699855], None),
        ],
        ids=["weak", "strong"],
    )
    def test_g5_two_phase_feedback(self, teaching, sizes, first):
        rule = fc.DeepFeedbackControl(
            fc.AnalyticSteadyState(0.05),
            NUDGED,
            feedback_learning=fc.TwoPhase(sleep(white(0.04, 0.06)), teaching),
        )
        gradient = credit(rule).feedback_gradient
        printed(norms(gradient), sizes)
        if first is not None:
            printed([leaf[0, 0] for leaf in gradient], first)

    def test_g6_single_phase(self):
        rule = fc.DeepFeedbackControl(
            fc.Continuous(forward(filtered(0.003, 0.04, 0.02))),
            fc.Strong(),
            feedback_learning=fc.SinglePhase(0.5),
        )
        result = credit(rule, noisy=True)
        printed(norms(weights(result)), [0.7631698752, 0.5076160169, 0.5753089188])
        printed(norms(result.feedback_gradient), [4073.3259117391, 909.3652448715, 16.9262465309])
        printed(
            result.solution.value.moment.control[0], [0.7097298744, -0.2996782723, -0.4100516021]
        )

    def test_g7_published_pretraining(self):
        rule = fc.DeepFeedbackControl(
            fc.Continuous(forward(filtered(0.003, 0.04, 0.02))),
            fc.Strong(),
            feedback_learning=fc.SinglePhase(0.5),
            published=True,
        )
        phase = fc.Continuous(sleep(filtered(0.04, 0.06, 0.003), apical_time_constant=None))
        result = credit(rule.pretraining(phase, fc.LabelDifference()), noisy=True)
        printed(norms(result.feedback_gradient), [60.1934996878, 14.8393674482, 2.7484223584])

    def test_g8_strong_steady_state(self):
        result = credit(fc.DeepFeedbackControl(fc.SimulatedSteadyState(forward()), fc.Strong()))
        printed(norms(weights(result)), [1.0121962379, 0.8015026491, 0.9298972554])

    def test_g9_jacobian_feedback(self):
        rule = fc.DeepFeedbackControl(fc.Continuous(forward()), NUDGED, path=fc.JacobianFeedback())
        result = credit(rule, feedback=None)
        printed(norms(weights(result)), [0.0286039045, 0.0041404414, 0.0053788548])
        printed(
            result.solution.value.moment.control[0], [0.0264782335, -0.0125724063, -0.0094119298]
        )


# --- the rest point -------------------------------------------------------------------------------

LONG = fc.Dynamics(0.05, 6000, 0.1, 0.05, 0.5)
SOLVED = fc.SteadyState(0.05, lc.Tolerance(1e-12))


@pytest.mark.slow
@pytest.mark.parametrize("teaching", [NUDGED, fc.Strong()], ids=["nudged", "strong"])
def test_the_solved_rest_point_is_where_a_long_simulation_ends(teaching):
    simulated = credit(fc.DeepFeedbackControl(fc.SimulatedSteadyState(LONG), teaching))
    solved = credit(fc.DeepFeedbackControl(SOLVED, teaching))
    assert np.all(lc.solved(solved.solution))
    assert np.max(solved.solution.stats.state_residual) < 1e-13
    ends = [result.solution.value for result in (simulated, solved)]
    for end, leaf in zip(*(jax.tree.leaves(each.moment) for each in ends), strict=True):
        np.testing.assert_allclose(leaf, end, rtol=0, atol=2e-10)
    np.testing.assert_allclose(ends[1].last_error, 0.05 * ends[1].moment.control, atol=1e-12)
    for weight, end in zip(weights(solved), weights(simulated), strict=True):
        np.testing.assert_allclose(weight, end, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_the_linearised_rest_point_is_the_limit_of_weak_nudges():
    def distance(step):
        updates = [
            weights(credit(fc.DeepFeedbackControl(phase, fc.Nudged(step))))
            for phase in (SOLVED, fc.AnalyticSteadyState(0.05))
        ]
        return max(np.max(np.abs(a - b)) for a, b in zip(*updates, strict=True)) / step

    far, near = distance(1e-2), distance(1e-3)
    assert far < 0.01
    np.testing.assert_allclose(far / near, 10, rtol=0.05)


@pytest.mark.parametrize(
    ("difference", "bounds"),
    [(fc.VoltageDifference(), (0, 0.07)), (fc.RateDifference(), (0.05, 0.9))],
    ids=["voltage", "rate"],
)
def test_weak_control_through_the_jacobian_is_backpropagation(difference, bounds):
    dynamics = fc.Dynamics(5e-4, 200, 5e-4, 1000.0)
    rule = fc.DeepFeedbackControl(
        fc.SimulatedSteadyState(dynamics),
        fc.Nudged(1e-3),
        path=fc.JacobianFeedback(),
        difference=difference,
    )
    measured = angles(weights(credit(rule, feedback=None)), backpropagation()[1])
    assert bounds[0] <= max(measured) <= bounds[1]


@pytest.mark.parametrize(
    "phase", [SOLVED, fc.AnalyticSteadyState(0.0), fc.Continuous(LONG)], ids=str
)
def test_an_output_that_is_held_teaches_nothing(phase):
    result = credit(fc.DeepFeedbackControl(phase, fc.Nudged(0.0)))
    assert max(norms(jax.tree.leaves(result.gradient))) < 1e-14
    assert float(result.objective) < 1e-28


def test_the_control_of_probabilities_sums_to_zero():
    control = credit(fc.DeepFeedbackControl(SOLVED, fc.Strong())).solution.value.moment.control
    np.testing.assert_allclose(jnp.sum(control, axis=1), 0, atol=1e-12)


def test_a_sample_does_not_depend_on_its_batch():
    rule = fc.DeepFeedbackControl(SOLVED, fc.Strong())
    together = weights(credit(rule))
    samples = [
        lc.Batch(BATCH.inputs[part], BATCH.targets[part]) for part in (slice(0, 1), slice(1, 2))
    ]
    alone = [weights(compiled(rule, NETWORK, FEEDBACK, sample, None)) for sample in samples]
    for mean, first, second in zip(together, *alone, strict=True):
        np.testing.assert_allclose(mean, (first + second) / 2, rtol=0, atol=1e-12)


def test_updates_from_a_time_point_on_are_the_mean_of_the_later_ones():
    """The mean over all time points is that over the first s and that over the others, weighed."""
    start, points = 15, 40
    noise = filtered(0.1, 0.1, 0.02)
    early, whole, late = (
        credit(fc.DeepFeedbackControl(phase, NUDGED), noisy=True).gradient
        for phase in (
            fc.Continuous(forward(noise, points=start)),
            fc.Continuous(forward(noise)),
            fc.Continuous(forward(noise), start=start),
        )
    )
    for first, mean, rest in zip(*map(jax.tree.leaves, (early, whole, late)), strict=True):
        both = (start * first + (points - start) * rest) / points
        np.testing.assert_allclose(both, mean, rtol=0, atol=1e-15)


def test_an_update_reads_only_its_own_layer():
    """Weights and feedback of other layers matter through the state alone: with the same voltages
    a layer's update does not see them."""
    rule = fc.DeepFeedbackControl(SOLVED, fc.Strong())
    value = credit(rule).solution.value.moment
    change = value.soma[1] - value.basal[1]
    post = jnp.tanh(value.soma[1]) - jnp.tanh(value.soma[1] - change)
    expected = -post.T @ value.rates[0]
    np.testing.assert_allclose(weights(credit(rule))[1], expected, rtol=0, atol=1e-13)


def test_strong_control_with_hardly_a_leak_reaches_the_target():
    rule = fc.DeepFeedbackControl(fc.SteadyState(1e-7, lc.Tolerance(1e-10)), fc.Strong())
    output = credit(rule).solution.value.moment.soma[-1]
    np.testing.assert_allclose(jax.nn.softmax(output), BATCH.targets, atol=1e-5)


def test_a_sample_that_was_not_solved_is_dropped():
    hasty = fc.SteadyState(0.05, lc.Tolerance(1e-12), lc.FixedPoint(max_steps=1))
    result = credit(fc.DeepFeedbackControl(hasty, fc.Strong()))
    assert not np.any(lc.solved(result.solution))
    assert max(norms(weights(result))) == 0
    kept = fc.SteadyState(0.05, lc.Tolerance(1e-12), lc.FixedPoint(max_steps=2), lc.Keep())
    assert min(norms(weights(credit(fc.DeepFeedbackControl(kept, fc.Strong()))))) > 0


# --- simulation -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "apical"),
    [
        (fc.FilteredNoise(0.3, 0.5, time_constant=0.2), None),
        (fc.FilteredNoise(0.3, 0.5, time_constant=0.2, increments=fc.TwoPointIncrements()), None),
        (fc.WhiteNoise(0.3, 0.5), 0.1),
        (fc.WhiteNoise(0.3, 0.5), None),
    ],
    ids=["filtered", "two-point", "lagging", "white"],
)
def test_the_noise_has_the_deviation_that_it_says(noise, apical):
    """Of the apical voltages, with no control in them."""
    dynamics = fc.Dynamics(0.02, 2001, 0.1, 0.0, 0.0, apical, noise=noise)
    size = 200
    drives = jnp.zeros((size, 5))
    like = [jnp.zeros((size, n)) for n in SIZES[1:]]

    @jax.jit
    def run(key):
        return lc.equilibrium.simulate(
            NETWORK,
            dynamics,
            drives,
            jnp.zeros((size, 3)),
            error=lambda output, reference: jnp.zeros_like(output),
            feedback=lambda soma, control: tuple(jnp.zeros_like(voltage) for voltage in soma),
            draws=noise.increments(key, like),
            record=lambda moment: tuple(voltage[:, 0] for voltage in moment.apical),
        ).recorded

    recorded = run(jax.random.key(0))
    measured = [float(jnp.std(values[400:])) for values in recorded]
    np.testing.assert_allclose(measured, [0.3, 0.3, 0.5], rtol=0.02)
    amplitude = noise.amplitudes(3, 0.02, dynamics.apical)[0]
    memory = noise.memory(dynamics.apical)
    np.testing.assert_allclose(deviation_of(amplitude, 0.02, memory), 0.3, rtol=1e-12)


def test_two_point_increments_are_independent_signs():
    like = [jnp.zeros((100, n)) for n in (40, 5)]
    draw = fc.TwoPointIncrements()(jax.random.key(0), like)
    steps = [np.concatenate(draw(jnp.asarray(k)), axis=1) for k in range(40)]
    signs = np.stack(steps).astype(float)
    assert signs.shape == (40, 100, 45)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    # Means and correlations are within five of their standard deviations of nothing.
    assert abs(signs.mean()) < 5 / np.sqrt(signs.size)
    for one, other in ((signs[1:], signs[:-1]), (signs[:, 1:], signs[:, :-1])):
        assert abs(np.mean(one * other)) < 5 / np.sqrt(one.size)
    columns = signs.reshape(-1, 45)
    correlations = columns.T @ columns / len(columns) - np.eye(45)
    assert np.abs(correlations).max() < 6 / np.sqrt(len(columns))


@pytest.mark.slow
def test_the_noise_of_updates_is_that_of_each_neuron_and_sample():
    """Each layer's update less the quiet one is εᵀr, and its bias' Σε, with ε of the deviation."""
    quiet = fc.DeepFeedbackControl(SOLVED, NUDGED)
    noisy = fc.DeepFeedbackControl(SOLVED, NUDGED, update_noise=0.3)
    without = credit(quiet)
    keys = jax.random.split(jax.random.key(3), 300)
    task = noisy.task(NETWORK, FEEDBACK, BATCH)
    gradients = eqx.filter_jit(
        lambda: jax.vmap(lambda key: noisy.credit(task, BATCH, None, update_key=key).gradient)(keys)
    )()
    rates = (BATCH.inputs, *without.solution.value.moment.rates)
    deviations = []
    for layer, still, rate in zip(gradients.layers, without.gradient.layers, rates, strict=True):
        # The gradient is −2/B times the sum over the B = 2 samples.
        weight, bias = (
            np.asarray(getattr(still, name)) - np.asarray(getattr(layer, name))
            for name in ("weight", "bias")
        )
        noise = np.einsum("kpq,qb->kpb", weight, np.linalg.pinv(np.asarray(rate)))
        np.testing.assert_allclose(np.einsum("kpb,bq->kpq", noise, rate), weight, atol=1e-9)
        np.testing.assert_allclose(np.sum(noise, axis=2), bias, atol=1e-9)
        deviations.append(np.std(noise))
        assert abs(np.corrcoef(noise[:, 0, 0], noise[:, 0, 1])[0, 1]) < 0.2
    np.testing.assert_allclose(deviations, 0.3, rtol=0.06)
    with pytest.raises(ValueError, match="noise, which is drawn from a key"):
        noisy(NETWORK, FEEDBACK, BATCH)
    with pytest.raises(ValueError, match="`update_noise` is -1"):
        fc.DeepFeedbackControl(SOLVED, NUDGED, update_noise=-1.0)


def test_the_memory_does_not_grow_with_simulated_time():
    def needed(points):
        dynamics = fc.Dynamics(0.01, points, 0.1, 0.01, noise=fc.FilteredNoise(0.1, 0.1, 0.05))
        rule = fc.DeepFeedbackControl(
            fc.Continuous(dynamics),
            fc.Strong(),
            lc.CrossEntropy(softness=0.1),
            feedback_learning=fc.SinglePhase(0.5),
        )
        lowered = jax.jit(lambda feedback, batch, key: rule(NETWORK, feedback, batch, key=key))
        analysis = lowered.lower(FEEDBACK, BATCH, jax.random.key(0)).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    # The numbers of the steps are all that there is one of for each.
    assert needed(1000) - needed(10) <= 990 * 8 + 64


@pytest.mark.parametrize("activation", [lc.tanh, lc.relu, lc.identity, lc.gelu])
def test_differences_of_rates_keep_their_digits(activation):
    below = jnp.linspace(-3, 3, 40)
    small = activation is not lc.gelu
    change = 1e-5 * jnp.cos(below) if small else jnp.cos(below)
    exact = np.asarray(activation(below + change) - activation(below))
    with jax.enable_x64(False):
        difference = np.asarray(
            lc.systems.activation_difference(
                activation, jnp.asarray(below, jnp.float32), jnp.asarray(change, jnp.float32)
            )
        )
    assert difference.dtype == np.float32
    # Away from the kink of relu, where the rounding of the voltage itself decides.
    np.testing.assert_allclose(difference, exact, rtol=2e-5, atol=1e-9 if small else 1e-6)


# --- feedback -------------------------------------------------------------------------------------


def test_the_ways_of_feedback():
    weights = fc.WeightProductFeedback().init(NETWORK, key=jax.random.key(0))
    last = NETWORK.layers[2].weight.T
    np.testing.assert_allclose(weights[1], last)
    np.testing.assert_allclose(weights[0], NETWORK.layers[1].weight.T @ last, atol=1e-15)
    np.testing.assert_array_equal(weights[2], np.eye(3))
    random = fc.DirectFeedback().init(NETWORK, key=jax.random.key(0))
    assert [weight.shape for weight in random] == [(5, 3), (4, 3), (3, 3)]
    np.testing.assert_array_equal(random[2], np.eye(3))


def test_the_answer_of_the_output_is_that_of_its_jacobian():
    soma = jax.vmap(lambda x: lc.equilibrium.free_moment(NETWORK, NETWORK.drive(x)).soma)(
        BATCH.inputs
    )
    for voltages in (tuple(leaf[b] for leaf in soma) for b in range(2)):
        blocks = zip(output_jacobian(NETWORK, voltages), FEEDBACK, strict=True)
        expected = sum(block @ weight for block, weight in blocks)
        response = output_response(NETWORK, FEEDBACK, voltages)
        np.testing.assert_allclose(response, expected, rtol=1e-13, atol=1e-15)


def test_quasi_static_feedback_decays_by_its_share():
    noise = draws(0)

    def gradient(decay):
        rule = fc.DeepFeedbackControl(SOLVED, NUDGED, feedback_learning=fc.QuasiStatic(0.05, decay))
        task = rule.task(NETWORK, FEEDBACK, BATCH)
        return rule.credit(task, BATCH, None, learning_draws=lambda _: noise).feedback_gradient

    for without, with_decay, weight in zip(gradient(0.0), gradient(0.3), FEEDBACK, strict=True):
        np.testing.assert_allclose(with_decay - without, 0.3 * weight, atol=1e-9)


@pytest.mark.slow
def test_some_samples_teach_the_feedback_what_a_batch_of_them_would():
    first = lc.Batch(BATCH.inputs[:1], BATCH.targets[:1])
    noise = tuple(leaf[:1] for leaf in draws(0))

    def gradient(learning, batch):
        rule = fc.DeepFeedbackControl(SOLVED, NUDGED, feedback_learning=learning)
        task = rule.task(NETWORK, FEEDBACK, batch)
        return rule.credit(task, batch, None, learning_draws=lambda _: noise).feedback_gradient

    some = gradient(fc.QuasiStatic(0.05, 0.01, 0.1, samples=1), BATCH)
    alone = gradient(fc.QuasiStatic(0.05, 0.01, 0.1), first)
    for one, other in zip(some, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


LEARNING = {
    "quasi-static": (SOLVED, fc.QuasiStatic(0.05)),
    "quasi-static, held": (SOLVED, fc.QuasiStatic(0.05, decay=0.01, leak=0.1)),
    "single phase": (
        fc.Continuous(fc.Dynamics(0.05, 200, 0.1, 0.05, noise=fc.FilteredNoise(0.1, 0.1, 0.2))),
        fc.SinglePhase(0.5),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_feedback_learned_on_one_sample_comes_into_the_row_space(name):
    """Q of all neurons but the output's, which the identity holds in the row space from the start,
    is drawn at random; the condition counts all."""
    phase, learning = LEARNING[name]
    # Strong feedback of probabilities never moves the controls' sum, nor learns from it.
    rule = fc.DeepFeedbackControl(phase, NUDGED, feedback_learning=learning)
    size = 64
    batch = lc.Batch(
        jnp.repeat(BATCH.inputs[:1], size, axis=0), jnp.repeat(BATCH.targets[:1], size, axis=0)
    )
    steps = 600
    optimiser = optax.adam(optax.cosine_decay_schedule(0.02, steps, alpha=0.01))

    def step(carry, key):
        feedback, state = carry
        gradient = rule(NETWORK, feedback, batch, key=key).feedback_gradient
        gradient = jax.tree.map(lambda g, q: g + 0.01 * q, gradient, feedback)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(feedback, updates), state), None

    first = fc.DirectFeedback().init(NETWORK, key=jax.random.key(2))
    keys = jax.random.split(jax.random.key(1), steps)
    (last, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, keys))((first, optimiser.init(first)))
    soma = lc.equilibrium.free_moment(NETWORK, NETWORK.drive(BATCH.inputs[0])).soma
    where = tuple(voltage[None] for voltage in soma)
    before, after = (
        float(diagnostics.feedback_condition(NETWORK, matrices, where)[0])
        for matrices in (first, last)
    )
    assert before < 0.9
    assert after > 0.99


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time_step": 0.0}, "above 0"),
        ({"time_step": 0.3}, "`voltage_time_constant` is 0.2"),
        ({"apical_time_constant": 0.01}, "`apical_time_constant` is 0.01"),
        ({"control_filter": 0.01}, "`control_filter` is 0.01"),
        ({"noise": fc.FilteredNoise(0.1, 0.1, 0.001)}, "`noise.time_constant` is 0.001"),
        ({"points": 2}, "at least 3"),
        ({"leak": -1.0}, "`leak` is -1.0"),
        ({"proportional_gain": float("nan")}, "`proportional_gain` is nan"),
    ],
    ids=str,
)
def test_constants_that_cannot_be_simulated_are_refused(options, words):
    noise = options.pop("noise", None)
    with pytest.raises(ValueError, match=words):
        forward(noise, **options)


NOISY = fc.Continuous(forward(fc.FilteredNoise(0.1, 0.1, 0.1)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fc.Nudged(-1.0), "Nudged"),
        (lambda: fc.FilteredNoise(-0.1, 0.1, 0.1), "standard deviation"),
        (lambda: fc.WhiteNoise(0.1, float("inf")), "`output_deviation` is inf"),
        (lambda: fc.SteadyState(0.0), "`leak` is 0.0"),
        (lambda: fc.Continuous(forward(), reach=0.0), "`reach` is 0.0"),
        (lambda: fc.QuasiStatic(0.0), "noise above 0"),
        (lambda: fc.Continuous(forward(), start=40), "`start` is 40"),
        (lambda: fc.QuasiStatic(decay=-1.0), "`decay` is -1.0"),
        (lambda: fc.QuasiStatic(leak=1.0, samples=0), "`samples` is 0"),
        (lambda: fc.QuasiStatic(samples=4), "`leak` None"),
        (lambda: fc.SinglePhase(0.0), "`filter_time_constant` is 0.0"),
        (lambda: fc.SinglePhase(0.5, start=-1), "`start` is -1"),
        (lambda: fc.SinglePhase(0.5, decay=-1.0), "`decay` is -1.0"),
        (
            lambda: fc.DeepFeedbackControl(
                NOISY, NUDGED, feedback_learning=fc.SinglePhase(0.5, start=39)
            ),
            "has 40",
        ),
        (lambda: fc.TwoPhase(forward()), "have none"),
        (lambda: fc.WeightProductFeedback(-1.0), "standard deviation"),
        (
            lambda: fc.DeepFeedbackControl(SOLVED, NUDGED, path=fc.JacobianFeedback()),
            "LeastControl",
        ),
        (
            lambda: fc.DeepFeedbackControl(
                NOISY, NUDGED, path=fc.JacobianFeedback(), feedback_learning=fc.SinglePhase(0.5)
            ),
            "feedback_learning=None",
        ),
        (
            lambda: fc.DeepFeedbackControl(SOLVED, NUDGED, feedback_learning=fc.SinglePhase(0.5)),
            "which has none",
        ),
        (
            lambda: fc.DeepFeedbackControl(NOISY, NUDGED, feedback_learning=fc.QuasiStatic()),
            "SteadyState",
        ),
        (
            lambda: fc.DeepFeedbackControl(NOISY, NUDGED, feedback_learning=fc.SinglePhase(0.01)),
            "cannot follow it",
        ),
        (lambda: fc.DeepFeedbackControl(SOLVED, NUDGED).pretraining(NOISY), "single-phase"),
    ],
    ids=range(22),
)
def test_parts_that_do_not_fit_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_what_a_rule_cannot_take_is_refused():
    labels = lc.Batch(BATCH.inputs, jnp.asarray([0, 2]))
    with pytest.raises(ValueError, match="softness"):
        fc.DeepFeedbackControl(SOLVED, fc.Strong())(NETWORK, FEEDBACK, labels)
    with pytest.raises(ValueError, match="key="):
        fc.DeepFeedbackControl(NOISY, NUDGED)(NETWORK, FEEDBACK, BATCH)
    recurrent = lc.EquilibriumRNN(4, 5, 3, key=jax.random.key(0))
    with pytest.raises(ValueError, match="Feedforward"):
        fc.DeepFeedbackControl(SOLVED, NUDGED).init(recurrent, key=jax.random.key(0))


def test_control_that_misses_its_target_has_a_name():
    short = fc.Continuous(fc.Dynamics(0.02, 5, 0.2, 0.05), reach=0.1)
    result = credit(fc.DeepFeedbackControl(short, fc.Strong()))
    assert not np.any(lc.solved(result.solution))
    assert np.all(result.solution.result == lc.RESULTS.target_not_reached)
    assert min(norms(weights(result))) > 0

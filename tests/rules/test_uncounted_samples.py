"""Samples that do not count: they change no number of the others, whatever their inputs hold.

The system has a boolean, an integer and a random key among its inputs and normalises a vector, so
that it has neither a value nor a derivative at an input of zeros, which one sample has. Another is
so slow that it is over every budget of steps.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import KEY, flat

import leastcontrol as lc
from leastcontrol import feedback_control as fc

BAD = 1
SIZE = 3


def field(params, state, x):
    direction = x["vector"] / jnp.linalg.norm(x["vector"])
    shift = 0.1 * jax.random.normal(x["key"], (SIZE,))
    drive = params["u"] @ direction + params["bias"][x["class"]] + shift
    drive = jnp.where(~x["off"], drive, -drive)
    settled = jnp.tanh(params["w"] @ state + drive) - state
    # Too slow for the budgets below.
    return jnp.where(x["class"] == 2, 0.01 * settled, settled)


def system():
    keys = jax.random.split(KEY, 4)
    params = {
        "w": 0.4 * jax.random.normal(keys[0], (SIZE, SIZE)) / np.sqrt(SIZE),
        "u": jax.random.normal(keys[1], (SIZE, 2)),
        "bias": 0.3 * jax.random.normal(keys[2], (3, SIZE)),
        "d": 0.4 * jax.random.normal(keys[3], (2, SIZE)),
    }
    return lc.FunctionSystem(field, lambda p, s: p["d"] @ s, params, jnp.zeros(SIZE))


SYSTEM = system()
BATCH = lc.Batch(
    {
        "off": jnp.asarray([False, True, True]),
        "class": jnp.asarray([0, 0, 1]),
        "key": jax.random.split(jax.random.key(3), 3),
        "vector": jax.random.normal(KEY, (3, 2)),
    },
    jnp.asarray([[0.5, -0.3], [0.1, 0.1], [-0.4, 0.8]]),
)
OTHERS = np.asarray([0, 2])
SLOW = BATCH._replace(inputs=BATCH.inputs | {"class": jnp.asarray([0, 2, 1])})
NOWHERE = BATCH._replace(inputs=BATCH.inputs | {"vector": BATCH.inputs["vector"].at[BAD].set(0)})
FEW = lc.FixedPoint(max_steps=100)
TIGHT = lc.Tolerance(relative=1e-8)
LOSS = lc.SquaredError()


def controlled(controller):
    return lc.LeastControl(controller, 2.0, loss=LOSS)


EXACT = {
    "dynamic inversion": controlled(lc.DynamicInversion(TIGHT, FEW)),
    "energy": controlled(lc.Energy(TIGHT, lc.FixedPoint(max_steps=1000))),
    "exact": controlled(lc.Exact(TIGHT, lc.TrustRegion(20))),
    "automatic": controlled(lc.Automatic(TIGHT, FEW)),
    "continuous time": controlled(lc.ContinuousTime(lc.Tolerance(relative=1e-6), max_steps=400)),
    "recurrent backpropagation": lc.RecurrentBackpropagation(LOSS, tolerance=TIGHT, solver=FEW),
    "through time": lc.BackpropagationThroughTime(LOSS, 100, TIGHT),
}
APPROXIMATE = {
    "kolen-pollack": controlled(lc.KolenPollack(TIGHT, FEW)),
    "linear feedback": controlled(lc.LinearFeedback(TIGHT, FEW, None)),
    "equilibrium propagation": lc.EquilibriumPropagation(
        lc.DynamicInversion(TIGHT, FEW), 0.1, loss=LOSS
    ),
    "one-sided": lc.EquilibriumPropagation(
        lc.DynamicInversion(TIGHT, FEW), 0.1, centred=False, loss=LOSS
    ),
    "feedback alignment": lc.FeedbackAlignment(LOSS, tolerance=TIGHT, solver=FEW),
    "direct feedback alignment": lc.DirectFeedbackAlignment(LOSS, tolerance=TIGHT, solver=FEW),
    "phantom gradient": lc.PhantomGradient(LOSS, tolerance=TIGHT, solver=FEW),
    "penalty": lc.JacobianPenalty(
        lc.RecurrentBackpropagation(LOSS, tolerance=TIGHT, solver=FEW), 0.1
    ),
    "parts": lc.InParts(lc.RecurrentBackpropagation(LOSS, tolerance=TIGHT, solver=FEW), 3),
}
RULES = EXACT | APPROXIMATE
credit = eqx.filter_jit(
    lambda rule, system, feedback, batch: rule(system, feedback, batch, key=KEY)
)


def of_batch(rule, batch, system=SYSTEM):
    return credit(rule, system, rule.init(system, key=KEY), batch)


def of_others(rule, batch, system=SYSTEM):
    """The means over the others alone, by the program of the whole batch.

    They are the mean of the means over the batches in which either of the others is there twice.
    """
    first, last = (
        of_batch(rule, jax.tree.map(lambda leaf, rows=rows: leaf[jnp.asarray(rows)], batch), system)
        for rows in ([0, 0, 2], [0, 2, 2])
    )
    assert first.count == last.count == 3
    return {
        part: (flat(getattr(first, part)) + flat(getattr(last, part))) / 2
        for part in ("gradient", "feedback_gradient", "objective", "loss")
    }


BY_STEPS = ("dynamic inversion", "recurrent backpropagation", "through time")
UNSOLVED = [(name, "not finite", NOWHERE) for name in RULES]
UNSOLVED += [(name, "over its budget", SLOW) for name in BY_STEPS]


# They take the longest to compile, and the other rules show the same.
LONG = ("automatic", "continuous time", "energy", "exact", "equilibrium propagation")


def marks(name):
    return [pytest.mark.slow] if name in LONG else []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch"),
    [pytest.param(n, b, id=f"{n}-{fault}", marks=marks(n)) for n, fault, b in UNSOLVED],
)
def test_an_unsolved_sample_changes_no_number_of_the_others(name, batch):
    rule = RULES[name]
    result = of_batch(rule, batch)
    assert list(lc.solved(result.solution)) == [True, False, True]
    assert result.count == 2
    alone = of_others(rule.rule if name == "penalty" else rule, BATCH)
    if name == "penalty":
        # It draws for each sample, so that another sample in a place has another draw.
        result = eqx.tree_at(
            lambda each: (each.gradient, each.objective),
            result,
            jax.tree.map(
                jnp.subtract,
                (result.gradient, result.objective),
                penalised(rule, result.solution.value),
            ),
        )
    for part, expected in alone.items():
        given = flat(getattr(result, part))
        np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-9, err_msg=part)


def penalised(rule, states):
    """The penalty's mean over the other samples and its gradient, by its definition."""
    keys = jax.random.split(jax.random.split(KEY)[1], 3)

    def mean(params):
        total = 0.0
        for index in OTHERS:
            x = jax.tree.map(lambda leaf, index=index: leaf[index], BATCH.inputs)
            step = lambda s, x=x: s + field(params, s, x)  # noqa: E731
            jacobian = jax.jacobian(step)(states[index])
            drawn = jacobian.T @ jax.random.normal(keys[index], (SIZE,))
            total += 0.1 * jnp.sum(drawn**2) / SIZE / len(OTHERS)
        return total

    value, gradient = jax.value_and_grad(mean)(SYSTEM.params)
    return eqx.tree_at(
        lambda filtered: filtered.params, eqx.filter(SYSTEM, eqx.is_inexact_array), gradient
    ), value


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_the_gradient_is_that_of_finite_differences(name):
    rule = EXACT[name]
    gradient, _ = jax.flatten_util.ravel_pytree(of_batch(rule, NOWHERE).gradient.params)
    params, unravel = jax.flatten_util.ravel_pytree(SYSTEM.params)
    # As many directions as tell a wrong gradient: each is one of all parameters at once.
    for key in jax.random.split(KEY, 3):
        direction = jax.random.normal(key, params.shape)
        ends = [
            of_batch(
                rule,
                NOWHERE,
                eqx.tree_at(lambda s: s.params, SYSTEM, unravel(params + h * direction)),
            ).objective
            for h in (-1e-3, 1e-3)
        ]
        slope = (ends[1] - ends[0]) / 2e-3
        np.testing.assert_allclose(gradient @ direction, slope, rtol=2e-4)


@pytest.mark.parametrize("name", RULES)
def test_without_a_solved_sample_values_are_nan_and_the_gradient_is_zero(name):
    rule = RULES[name]
    bad = jax.tree.map(lambda leaf: leaf[np.asarray([BAD, BAD, BAD])], NOWHERE)
    result = of_batch(rule, bad)
    assert result.count == 0
    assert jnp.isnan(result.objective)
    assert jnp.isnan(result.loss)
    assert not np.any(flat(result.gradient))


def test_a_boolean_input_is_seen_as_it_is_by_the_gradient():
    """f = p − s if `off` is not set, and −s if it is: with `off` the value is 2²/6 and p idle."""

    def f(params, state, x):
        return jnp.where(~x["off"], params["p"], 0.0) - state

    estimate = lc.least_control(
        f, lambda params, state: state, LOSS, start=jnp.zeros(1), controller=lc.DynamicInversion()
    )
    inputs = {"off": jnp.ones(1, bool)}
    value, gradient, solution = estimate({"p": jnp.ones(1)}, inputs, jnp.full((1, 1), 2.0))
    assert lc.solved(solution).all()
    assert value == pytest.approx(2**2 / 6, rel=lc.Tolerance().relative)
    assert gradient["p"] == 0


@pytest.mark.slow
def test_a_sample_that_is_not_finite_is_left_out_of_backpropagation():
    network = lc.Feedforward(2, (3,), 2, key=KEY)
    inputs = BATCH.inputs["vector"]
    spoilt = inputs.at[BAD].set(jnp.nan)
    result = lc.Backpropagation(LOSS)(network, None, lc.Batch(spoilt, BATCH.targets))
    alone = lc.Backpropagation(LOSS)(network, None, lc.Batch(inputs[OTHERS], BATCH.targets[OTHERS]))
    assert result.count == 2
    np.testing.assert_allclose(result.loss, alone.loss, rtol=1e-12)
    np.testing.assert_allclose(flat(result.gradient), flat(alone.gradient), rtol=1e-10)


# Every way of deep feedback control to a controlled state.
DYNAMICS = fc.Dynamics(0.05, 40, 0.2, 0.1, 1.0)
PHASES = {
    "steady state": fc.SteadyState(0.1),
    "analytic": fc.AnalyticSteadyState(0.1),
    "simulated": fc.SimulatedSteadyState(DYNAMICS),
    "continuous": fc.Continuous(DYNAMICS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PHASES)
@pytest.mark.parametrize("fault", ["input", "target"])
def test_feedback_control_leaves_out_what_it_cannot_use(name, fault):
    network = lc.Feedforward(2, (3,), 2, key=KEY)
    rule = fc.DeepFeedbackControl(PHASES[name], fc.Nudged(0.1), loss=LOSS)
    inputs, targets = BATCH.inputs["vector"], BATCH.targets
    alone = of_others(rule, lc.Batch(inputs, targets), network)
    if fault == "input":
        inputs = inputs.at[BAD].set(jnp.nan)
    else:
        targets = targets.at[BAD].set(jnp.nan)
    result = of_batch(rule, lc.Batch(inputs, targets), network)
    assert result.count == 2
    for part in ("gradient", "loss"):
        np.testing.assert_allclose(flat(getattr(result, part)), alone[part], rtol=1e-8)


# --- Targets that no loss is defined for, inside the user's trace. ---

LABELS = {"negative": [0, -1, 1], "ignored": [0, -100, 1], "too large": [0, 2, 1]}
PROBABILITIES = {
    "too large": [[0.3, 0.7], [2.0, 0.0], [0.5, 0.5]],
    "negative": [[0.3, 0.7], [1.5, -0.5], [0.5, 0.5]],
    "nan": [[0.3, 0.7], [jnp.nan, 1.0], [0.5, 0.5]],
}
TARGETS = {f"label {n}": t for n, t in LABELS.items()} | {
    f"probabilities {n}": t for n, t in PROBABILITIES.items()
}
HEALTHY = {**BATCH.inputs, "class": jnp.asarray([0, 0, 1])}


# Every rule, and of the kinds of such targets all with one rule and one with every other.
CASES = [("dynamic inversion", fault) for fault in TARGETS]
CASES += [(name, "label ignored") for name in RULES if name not in ("dynamic inversion", "penalty")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault"), [pytest.param(n, fault, marks=marks(n)) for n, fault in CASES]
)
def test_a_target_that_is_none_does_not_count_inside_a_trace(name, fault):
    rule = RULES[name]
    entropy = lc.CrossEntropy()
    rule = eqx.tree_at(lambda each: each.rule.loss if name == "parts" else each.loss, rule, entropy)
    batch = lc.Batch(HEALTHY, jnp.asarray(TARGETS[fault]))
    result = of_batch(rule, batch)
    assert list(lc.solved(result.solution)) == [True, False, True]
    assert jax.tree.map(lambda leaf: leaf[BAD], result.solution.result) == lc.RESULTS.invalid_target
    for part, expected in of_others(rule, batch).items():
        given = flat(getattr(result, part))
        np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-9, err_msg=part)


def test_no_policy_keeps_a_target_that_is_none():
    batch = lc.Batch(HEALTHY, jnp.asarray(LABELS["ignored"]))
    kept, raised = (
        lc.RecurrentBackpropagation(lc.CrossEntropy(), TIGHT, FEW, policy)
        for policy in (lc.Keep(), lc.RaiseError())
    )
    assert of_batch(kept, batch).count == 2
    with pytest.raises(Exception, match="or its target is not one that its loss is defined for"):
        jax.block_until_ready(of_batch(raised, batch).gradient)


@pytest.mark.parametrize("fault", TARGETS)
def test_the_loss_of_a_target_that_is_none_is_nan(fault):
    loss = jax.jit(lc.CrossEntropy())
    target = jnp.asarray(TARGETS[fault])
    output = jnp.asarray([0.2, -0.1])
    assert jnp.isnan(loss(output, target[BAD]))
    assert jnp.isnan(jax.grad(loss)(output, target[BAD])).all()
    assert jnp.isfinite(loss(output, target[0]))


def test_a_task_with_a_label_that_is_none_does_not_count():
    def mean_loss(model, samples):
        losses = jax.vmap(lc.CrossEntropy())(jax.vmap(lambda x: model @ x)(samples[0]), samples[1])
        return jnp.mean(losses)

    weights = lc.meta.FastWeights(jnp.ones((2, 2)), mean_loss, mean_loss, 0.1)
    inputs = jax.random.normal(KEY, (2, 4, 2))
    labels = jnp.asarray([[0, 1, 1, 0], [0, 1, -1, 0]])
    rule = lc.meta.FirstOrderMAML(lc.meta.GradientDescent(2, 0.1))

    @jax.jit
    def credited(labels):
        sets = (inputs[: len(labels)], labels)
        result = rule(weights, None, lc.Batch(sets, sets))
        return result.count, result.gradient, result.loss

    count, gradient, loss = credited(labels)
    assert count == 1
    _, expected, expected_loss = credited(labels[:1])
    np.testing.assert_allclose(flat(gradient), flat(expected), rtol=1e-9)
    assert loss == pytest.approx(expected_loss)


def test_training_goes_on_inside_a_scan_of_ones_own():
    """The whole loop is one compiled scan, where nothing can be refused."""
    estimate = lc.least_control(
        field,
        lambda p, s: p["d"] @ s,
        lc.CrossEntropy(),
        start=jnp.zeros(SIZE),
        controller=lc.DynamicInversion(),
    )
    optimiser = optax.sgd(0.1)

    def step(carry, labels):
        params, moments = carry
        value, gradient, solution = estimate(params, HEALTHY, labels)
        updates, moments = optimiser.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), (value, lc.solved(solution))

    start = (SYSTEM.params, optimiser.init(SYSTEM.params))
    (params, _), (values, solved) = jax.lax.scan(step, start, jnp.asarray([[0, -1, 1]] * 2))
    np.testing.assert_array_equal(solved, [[True, False, True]] * 2)
    assert np.all(np.isfinite(flat(params)))
    assert values[1] < values[0]


# --- What a user's functions are given, and give. ---


@pytest.mark.slow
def test_a_system_is_made_inside_a_trace():
    estimated = lc.LeastControl(lc.DynamicInversion(), 2.0, loss=LOSS)

    def objective(params):
        inside = lc.FunctionSystem(field, lambda p, s: p["d"] @ s, params, jnp.zeros(SIZE))
        return estimated(inside, None, BATCH).objective

    outside = estimated(SYSTEM, None, BATCH).objective
    assert jax.jit(objective)(SYSTEM.params) == pytest.approx(float(outside))
    # Twice: nothing of the first trace is left.
    assert jax.jit(lambda params: 2 * objective(params))(SYSTEM.params) == pytest.approx(
        2 * float(outside)
    )


class WithBatchNorm(eqx.Module):
    norm: eqx.nn.BatchNorm
    state: eqx.nn.State

    def __init__(self):
        self.norm, self.state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(
            SIZE, axis_name="batch", mode="batch"
        )


def plain(params, state, x):
    return x["vector"][:1] * params - state


@pytest.mark.parametrize(
    ("f", "h", "inputs", "targets", "said"),
    [
        (plain, None, [[0.1, 0.2]], jnp.zeros((1, SIZE)), "inputs hold a Python float"),
        (plain, None, {"vector": jnp.ones((1, 2))}, [[0.0, 1.0, 2.0]], "targets hold a Python"),
        (
            lambda p, s, x: WithBatchNorm().norm(s, WithBatchNorm().state)[0] - s,
            None,
            {"vector": jnp.ones((1, 2))},
            jnp.zeros((1, SIZE)),
            "asks for the other samples of a batch",
        ),
        (
            plain,
            lambda p, s: s.astype(jnp.float32),
            {"vector": jnp.ones((1, 2))},
            jnp.zeros((1, SIZE)),
            r"state: float64; output: float32; target: float64",
        ),
        (
            plain,
            None,
            {"vector": jnp.ones((1, 2))},
            jnp.zeros((1, SIZE), jnp.float32),
            r"state: float64; output: float64; target: float32",
        ),
    ],
    ids=["list of inputs", "list of targets", "batch norm", "output", "target"],
)
def test_what_does_not_fit_is_named(f, h, inputs, targets, said):
    estimate = lc.least_control(
        f, h or (lambda p, s: s), LOSS, start=jnp.zeros(SIZE), controller=lc.DynamicInversion()
    )
    with pytest.raises(ValueError, match=said) as caught:
        estimate(jnp.ones(SIZE), inputs, targets)
    assert "\n" not in str(caught.value)

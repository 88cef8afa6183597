"""What a run measures of its own learning: angles, control and feedback by part of the system."""

import json

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol import feedback_control as fc
from leastcontrol.controllers import output_jacobian
from leastcontrol.diagnostics import controlled_margin
from leastcontrol.equilibrium import LinearPath, free_moment
from leastcontrol.monitor.diagnosis import diagnosis
from leastcontrol.monitor.stability import WATCHED, simulated_margins
from leastcontrol.runs import samples, train
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.train import run_training

SYSTEM = helpers.feedforward()
BATCH = lc.Batch(helpers.inputs(), helpers.labels())


def degrees(first, second):
    first, second = helpers.flat(first), helpers.flat(second)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def measured(rule, system=SYSTEM, feedback=None, batch=BATCH):
    return diagnosis(rule, batch, 0)(system, feedback)


@pytest.mark.slow
def test_angles_and_control_are_those_of_every_layer():
    rule = lc.LeastControl(lc.DynamicInversion(), 0.5)
    figures = measured(lc.JacobianPenalty(rule, 1.0))
    credit = helpers.credit(rule, SYSTEM, BATCH)
    exact = helpers.credit(lc.Backpropagation(), SYSTEM, BATCH)
    angles = figures.pop("angle_to_loss")
    both = [result.gradient.layers for result in (credit, exact)]
    expected = {f"layer {n}": degrees(*pair) for n, pair in enumerate(zip(*both, strict=True), 1)}
    assert angles == pytest.approx({**expected, "all": degrees(*both)}, abs=1e-4)
    assert angles["all"] > 1
    point = credit.solution.value
    sizes = {"layer 1": point.control[0], "layer 2": point.control[1]}
    sizes["output"] = point.output_control
    rms = {name: np.sqrt(np.mean(np.square(control))) for name, control in sizes.items()}
    assert figures.pop("control") == pytest.approx(rms, rel=1e-4)
    # At rest φ + f(φ) = φ − ψ.
    below = {
        f"layer {n}": (control, state - control)
        for n, (control, state) in enumerate(zip(point.control, point.state, strict=True), 1)
    }
    read = jax.vmap(SYSTEM.readout)(point.state)
    below["output"] = (point.output_control, read)
    solved = np.asarray(lc.solved(credit.solution))
    ratios = {
        name: np.mean((np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))[solved])
        for name, (one, other) in below.items()
    }
    assert figures.pop("feedback_ratio") == pytest.approx(ratios, rel=1e-4)
    free = jax.vmap(lambda x: free_moment(SYSTEM, SYSTEM.drive(x)).soma[-1])(BATCH.inputs)
    targets = np.eye(helpers.SIZE)[np.asarray(BATCH.targets)]
    errors = [
        np.linalg.norm(jax.nn.softmax(output, axis=1) - targets, axis=1)[solved].mean()
        for output in (free, read + point.output_control)
    ]
    assert figures.pop("error_ratio") == {"all": pytest.approx(errors[1] / errors[0], rel=1e-4)}
    assert 0 < errors[1] < errors[0]
    problem = lc.ControlProblem(SYSTEM, lc.CrossEntropy(), 0.5)
    samples = lc.Sample(jax.vmap(SYSTEM.drive)(BATCH.inputs), BATCH.targets)
    margins = controlled_margin(problem, samples, point)[:WATCHED]
    assert figures.pop("margin") == {"all": pytest.approx(margins.min(), rel=1e-3)}
    gains = [squared_gain(x, label) for x, label in zip(*BATCH[:2], strict=True)]
    assert figures.pop("gain") == {"all": pytest.approx(np.mean(gains), rel=1e-5)}
    # The slope at the controlled output, −αu, sent back through the free network.
    slopes = -0.5 * point.output_control

    def work(layers):
        network = eqx.tree_at(lambda system: system.layers, SYSTEM, layers)
        outputs = jax.vmap(lambda x: forward(network, x))(BATCH.inputs)
        return jnp.sum(outputs * slopes) / len(slopes)

    lowering = jax.grad(work)(SYSTEM.layers)
    shares = {}
    for name, total, part in (
        ("all", credit.gradient.layers, lowering),
        *(
            (f"layer {n}", *pair)
            for n, pair in enumerate(zip(credit.gradient.layers, lowering, strict=True), 1)
        ),
    ):
        whole = 0.5 * helpers.flat(total)
        shares[name] = np.linalg.norm(whole - helpers.flat(part)) / np.linalg.norm(whole)
    assert figures.pop("gain_share") == pytest.approx(shares, rel=1e-3)
    assert 0.01 < shares["all"] < 1
    assert figures == {}


def forward(network, x, control=None):
    first, *others = network.layers
    state = first.weight @ x + first.bias
    state = state if control is None else state + control[0]
    for number, layer in enumerate(others, 1):
        state = layer.weight @ network.activation(state) + layer.bias
        if control is not None and number < len(others):
            state = state + control[number]
    return state


def squared_gain(x, label):
    zero = tuple(map(jnp.zeros_like, (layer.bias for layer in SYSTEM.layers[:-1])))
    slope = jax.nn.softmax(forward(SYSTEM, x)) - jnp.eye(helpers.SIZE)[label]
    answer = jax.jacobian(lambda control: forward(SYSTEM, x, control))(zero)
    gain = sum(block @ block.T for block in answer) + jnp.eye(helpers.SIZE)
    return float(slope @ gain @ slope / (slope @ slope))


@pytest.mark.slow
def test_a_simulated_state_is_measured_where_the_simulation_ends():
    """With the Jacobian for feedback too, which has no weights of its own."""
    dynamics = fc.Dynamics(0.05, 100, 0.1, 0.1, 1.0)
    loss = lc.CrossEntropy(softness=0.1)
    for path in (fc.DirectFeedback(), fc.JacobianFeedback()):
        rule = fc.DeepFeedbackControl(fc.Continuous(dynamics), fc.Strong(), loss=loss, path=path)
        feedback = path.init(SYSTEM, key=helpers.KEY)
        figures = measured(rule, feedback=feedback)
        task = rule.task(SYSTEM, feedback, BATCH)
        ended = task.simulate(dynamics, (), None).last
        margins = simulated_margins(task, dynamics, ended)[:WATCHED]
        assert figures["margin"] == {"all": pytest.approx(margins.min(), rel=1e-6)}
        errors = [
            jnp.linalg.norm(task.errors(output), axis=1).mean()
            for output in (task.free.soma[-1], ended.soma[-1])
        ]
        ratio = float(errors[1] / errors[0])
        assert figures["error_ratio"] == {"all": pytest.approx(ratio, rel=1e-6)}


def test_a_rule_around_another_is_measured_like_that_one():
    rule = lc.FeedbackAlignment()
    feedback = rule.init(SYSTEM, key=helpers.KEY)
    around = lc.WithBatchStatistics(lc.JacobianPenalty(lc.InParts(rule, 1), 1.0))
    assert measured(around, feedback=feedback) == measured(rule, feedback=feedback)


def test_a_gradient_of_the_loss_has_no_angle_to_itself():
    assert measured(lc.Backpropagation()) == {}


class Halved(lc.rules.AbstractRuleWithoutFeedback):
    """A rule that the library does not know: half of backpropagation's gradient."""

    weights: tuple
    loss: lc.AbstractLoss = lc.CrossEntropy()

    @property
    def aspects(self):
        return lc.rules.Aspects(self, path=lambda system, feedback: LinearPath(self.weights))

    def __call__(self, system, feedback, batch, *, key=None):
        credit = lc.Backpropagation(self.loss)(system, None, batch)
        gradient = jax.tree.map(lambda leaf: leaf / 2, credit.gradient)
        return eqx.tree_at(lambda credit: credit.gradient, credit, gradient)


@pytest.mark.slow
def test_a_rule_of_another_kind_is_measured_by_the_aspects_that_it_gives():
    known = lc.DirectFeedbackAlignment()
    weights = known.init(SYSTEM, key=helpers.KEY)
    figures = measured(Halved(weights))
    assert figures.pop("angle_to_loss") == pytest.approx(
        {"all": 0, "layer 1": 0, "layer 2": 0, "layer 3": 0}, abs=1e-5
    )
    expected = measured(known, feedback=weights)["condition"]
    assert figures.pop("condition") == pytest.approx(expected)
    assert figures == {}


@pytest.mark.slow
def test_the_feedback_of_one_sample_may_be_perfect():
    batch = lc.Batch(BATCH.inputs[:1], BATCH.targets[:1])
    drive = SYSTEM.drive(batch.inputs[0])
    rest = lc.free_equilibrium(SYSTEM, drive[None]).value
    state = helpers.one_of(rest, 0)
    # The readout's answer to a control that is held on each layer, row by row.
    _, pull = jax.vjp(lambda held: SYSTEM.readout(SYSTEM.settle(drive, held)), _zero(state))
    rows = jax.vmap(lambda unit: pull(unit)[0])(jnp.eye(helpers.SIZE))
    perfect = jax.tree.map(lambda leaf: leaf.T, rows)
    rule = lc.LeastControl(lc.LinearFeedback(noise=None), 6.4)
    assert measured(rule, feedback=perfect, batch=batch)["condition"] == {"all": pytest.approx(1)}
    other = rule.init(SYSTEM, key=helpers.KEY)
    assert measured(rule, feedback=other, batch=batch)["condition"]["all"] < 0.95


def _zero(tree):
    return jax.tree.map(jnp.zeros_like, tree)


def test_a_mirror_with_the_systems_own_weights_has_no_angle_to_them():
    weights = eqx.filter(SYSTEM, SYSTEM.feedback_parameters())
    figures = measured(lc.FeedbackAlignment(), feedback=weights)
    assert figures["feedback_angle"] == {"all": pytest.approx(0, abs=1e-5)}
    # Then it is backpropagation.
    assert figures["angle_to_loss"]["all"] == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_direct_feedback_to_every_layer_is_measured_there():
    """Through the transposed Jacobian of one sample a nudge is the damped minimum-norm target."""
    batch = lc.Batch(BATCH.inputs[:1], BATCH.targets[:1])
    free = lc.equilibrium.free_moment(SYSTEM, SYSTEM.drive(batch.inputs[0])).soma
    blocks = output_jacobian(SYSTEM, free)
    perfect = tuple(block.T for block in blocks)
    rule = fc.DeepFeedbackControl(fc.SteadyState(0.1, lc.Tolerance(1e-9)), fc.Nudged(1e-4))
    figures = diagnosis(rule, batch, 0, tuple(2 * weight for weight in perfect))(SYSTEM, perfect)
    layers = [f"layer {number}" for number in range(1, len(blocks) + 1)]
    for name in ("angle_to_analytic", "angle_to_minimum_norm"):
        assert figures.pop(name) == pytest.approx(dict.fromkeys(["all", *layers], 0), abs=1e-2)
    for name in ("angle_to_loss", "angle_to_gauss_newton", "angle_to_exact"):
        angles = figures.pop(name)
        assert set(angles) == {"all", *layers}
        assert 0 < angles["all"] < 90
    condition = figures.pop("condition")
    assert condition.pop("all") == pytest.approx(1)
    assert 0 < condition.pop("random") < 0.95
    assert condition == {}
    moved = dict.fromkeys(["all", *layers], pytest.approx(0.5))
    assert figures.pop("feedback_movement") == moved
    # Both to first order in the nudge.
    gram = sum(block @ block.T for block in blocks)
    error = -lc.CrossEntropy().gradient(free[-1], batch.targets[0])
    held = np.linalg.solve(gram + 0.1 * np.eye(helpers.SIZE), error)
    left = 0.1 * np.linalg.norm(held) / np.linalg.norm(error)
    assert figures.pop("error_ratio") == {"all": pytest.approx(left, rel=1e-3)}
    least = np.linalg.eigvalsh(gram).min() + 0.1
    assert figures.pop("margin") == {"all": pytest.approx(least, rel=1e-3)}
    rates = [batch.inputs[0], *(SYSTEM.activation(voltage) for voltage in free[:-1])]
    ratios = {
        name: 1e-4 * np.linalg.norm(weight @ held) / np.linalg.norm(layer.weight @ rate)
        for name, weight, layer, rate in zip(layers, perfect, SYSTEM.layers, rates, strict=True)
    }
    assert figures.pop("feedback_ratio") == pytest.approx(ratios, rel=1e-3)
    assert set(figures.pop("control")) == {*layers[:-1], "output"}
    assert figures == {}


@pytest.mark.slow
def test_learned_feedback_is_compared_with_the_least_control():
    rule = lc.LeastControl(lc.KolenPollack(lc.Tolerance(1e-8)), 6.4)
    weights = eqx.filter(SYSTEM, SYSTEM.feedback_parameters())
    assert measured(rule, feedback=weights)["angle_to_exact"]["all"] == pytest.approx(0, abs=1e-3)
    other = rule.init(SYSTEM, key=helpers.KEY)
    angles = measured(rule, feedback=other)["angle_to_exact"]
    exact = helpers.credit(lc.LeastControl(lc.DynamicInversion(), 6.4), SYSTEM, BATCH)
    credit = eqx.filter_jit(rule)(SYSTEM, other, BATCH)
    assert np.all(lc.solved(credit.solution))
    assert np.all(lc.solved(exact.solution))
    expected = degrees(credit.gradient.layers, exact.gradient.layers)
    assert angles["all"] == pytest.approx(expected, abs=1e-3)
    assert angles["all"] > 1


@pytest.mark.slow
def test_the_metrics_of_a_run_hold_it_and_a_resumed_run_keeps_it(tmp_path):
    config = RunConfig.of(
        rule="feedback-alignment", hidden=(4,), epochs=2, batch_size=400, diagnose=3, seed=1
    )
    path = tmp_path / "run" / "metrics.jsonl"

    def stop(seed, metrics):
        raise KeyboardInterrupt

    with jax.enable_x64(False):
        with pytest.raises(KeyboardInterrupt):
            run_training(config, tmp_path / "run", report=stop)
        begun = path.read_text()
        run_training(config, tmp_path / "run", resume=True)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert json.loads(begun) == first
    for row in (first, second):
        assert set(row["diagnostics"]) == {"angle_to_loss", "feedback_angle", "feedback_movement"}
        # A mirror at random does not learn.
        assert row["diagnostics"]["feedback_movement"] == {"all": 0}
        assert set(row["diagnostics"]["angle_to_loss"]) == {"all", "layer 1", "layer 2"}
    assert first["diagnostics"] != second["diagnostics"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["diagnostics"] == second["diagnostics"]


def test_a_summary_of_seeds_has_their_mean_and_no_number_for_none():
    figures = [1.0, 4.0]
    seeds = [{"diagnostics": {"angle": {"all": angle, "layer 1": None}}} for angle in figures]
    assert train._mean_diagnostics(seeds) == {
        "diagnostics": {"angle": {"all": 2.5, "layer 1": None}}
    }
    assert train._mean_diagnostics([*seeds, {}]) == {}


def test_no_samples_are_none_and_fewer_are_refused():
    splits = samples.load_splits(RunConfig.of())
    batch = samples.first_samples(splits, 3)
    assert np.array_equal(batch.inputs, splits.validation.inputs[:3])
    with pytest.raises(ConfigError, match="--diagnose is -1"):
        RunConfig.of(diagnose=-1).check()

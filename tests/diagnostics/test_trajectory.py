"""One sample's way to rest in time: where it starts, where it ends, and what a run keeps of it."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol import diagnostics, files
from leastcontrol.equilibrium import LinearPath
from leastcontrol.runs import inspection, samples
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.folders import read_metrics
from leastcontrol.runs.inspection import TIMES, inspect_sample
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.train import run_training
from leastcontrol.runs.trained import load_trained

# Long enough for e^(−t) to be below what is asked of it.
SHORT = jnp.array([0.0, 0.5, 40.0])


def linear(state_weight=-2.0, gain=0.5):
    """One neuron, φ̇ = wφ + x, read as gain·φ."""
    return lc.FunctionSystem(
        lambda p, state, x: p["w"] * state + x,
        lambda p, state: p["g"] * state,
        {"w": jnp.array(state_weight), "g": jnp.array(gain)},
        jnp.zeros(1),
    )


def test_a_linear_neuron_follows_its_exponential():
    way = diagnostics.free_trajectory(linear(), jnp.array([3.0]), SHORT)
    expected = 1.5 * (1 - np.exp(-2 * np.asarray(SHORT)))
    assert way.finished
    np.testing.assert_allclose(way.points.state[:, 0], expected, atol=2e-4)
    np.testing.assert_allclose(way.outputs[:, 0], 0.5 * expected, atol=1e-4)
    assert not way.points.control.any()


def test_control_ends_at_the_least_one():
    # f = −2φ + x, y = φ/2 + u, L = ½(y − t)². With ψ = −f at rest the conditions are linear:
    # f + ψ = 0, −2ψ + u/2 = 0, αu + y − t = 0.
    x, target, leak = 3.0, 2.0, 0.5
    matrix = np.array([[-2, 1, 0], [0, -2, 0.5], [0.5, 0, 1 + leak]])
    state, control, output_control = np.linalg.solve(matrix, [-x, 0, target])
    problem = lc.ControlProblem(linear(), lc.SquaredError(), leak)
    sample = lc.Sample(jnp.array([x]), jnp.array([target]))
    way = diagnostics.controlled_trajectory(problem, sample, SHORT)
    assert way.finished
    first, last = (jax.tree.map(lambda leaf, n=n: leaf[n, 0], way.points) for n in (0, -1))
    assert not any(first)
    np.testing.assert_allclose(last, (state, control, output_control), atol=2e-3)
    np.testing.assert_allclose(way.outputs[-1, 0], 0.5 * state + output_control, atol=2e-3)


def test_linear_feedback_ends_where_its_own_condition_holds():
    weights = jnp.array([[0.3]])
    problem = lc.ControlProblem(linear(), lc.SquaredError(), 0.5)
    sample = lc.Sample(jnp.array([3.0]), jnp.array([2.0]))
    way = diagnostics.controlled_trajectory(problem, sample, SHORT, LinearPath(weights).missing)
    last = jax.tree.map(lambda leaf: leaf[-1], way.points)
    np.testing.assert_allclose(last.control, weights @ last.output_control, atol=2e-3)
    np.testing.assert_allclose(-2 * last.state + 3 + last.control, 0, atol=2e-3)


def test_dynamics_that_explode_are_not_finished():
    way = diagnostics.free_trajectory(linear(state_weight=50.0), jnp.array([1.0]), SHORT)
    assert not way.finished


FEEDBACK = RunConfig.of(
    rule="deep-feedback-control", feedback="weight-product", hidden=(6, 5), controller_leak=0.1
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "phase", ["steady-state", "analytic-steady-state", "continuous", "simulated-steady-state"]
)
def test_deep_feedback_control_is_shown_on_its_way(phase):
    simulation = {
        "time_step": 0.05,
        "points": 1201,
        "voltage_time_constant": 0.2,
        "proportional_gain": 0.5,
    }
    simulated = phase in ("continuous", "simulated-steady-state")
    config = FEEDBACK.with_options(phase=phase, **(simulation if simulated else {}))
    rule, system, feedback, x, target = parts_of(config)
    view = inspection.view(rule, system, feedback, x, target)
    way, free = view["controlled"], view["free"]
    assert way["finished"]
    assert way["rest"]["solved"]
    # It starts where the free dynamics rest, and ends where the rule finds its own rest.
    assert way["loss"][0] == pytest.approx(free["rest"]["loss"], rel=1e-3)
    assert not any(line[0] for line in way["control"].values())
    # A linearised rest point is that of the network to first order in the nudge.
    tolerance = 2e-2 if phase == "analytic-steady-state" else 2e-3
    assert way["loss"][-1] == pytest.approx(way["rest"]["loss"], rel=tolerance)
    assert way["rest"]["loss"] < 0.99 * free["rest"]["loss"]
    for name in ("layer 1", "layer 2", "output"):
        size = way["rest"]["control"][name]
        assert way["control"][name][-1] == pytest.approx(size, rel=10 * tolerance)
        assert size > 0
    times = view["times"]
    assert times[0] == 0
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(1200 * 0.05 / 0.2 if simulated else 1000.0)
    assert {len(way["loss"]), len(free["loss"]), len(way["plane"])} == {len(times)}


@pytest.mark.slow
def test_deep_feedback_control_is_shown_with_its_noise():
    config = FEEDBACK.with_options(
        phase="continuous", points=50, time_step=0.1, voltage_time_constant=0.2, noise=0.3
    )
    rule, system, feedback, x, target = parts_of(config)
    way = inspection.view(rule, system, feedback, x, target)["controlled"]
    # Its last moment is the rule's own, which noise has moved off any rest point.
    assert way["plane"][-1] == way["rest"]["plane"]
    assert way["loss"][-1] == way["rest"]["loss"]
    assert np.std(np.diff(way["control"]["layer 1"][-10:])) > 1e-2


def parts_of(config):
    """Returns rule, system, feedback, and the input and target of one sample."""
    system = lc.Feedforward(4, (6, 5), 3, key=jax.random.key(0))
    rule = config.build_rule()
    feedback = rule.init(system, key=jax.random.key(1))
    return rule, system, feedback, jax.random.normal(jax.random.key(2), (4,)), jnp.array(1)


@pytest.mark.slow
def test_a_sample_of_a_run_is_kept_with_it(tmp_path):
    folder = tmp_path / "run"
    config = RunConfig.of(hidden=(6, 5), epochs=1, batch_size=400, alpha=1.0)
    with jax.enable_x64(False):
        run_training(config, folder)
        view = inspect_sample(folder, 7)
        with pytest.raises(ConfigError, match="--sample is 9999"):
            inspect_sample(folder, 9999)
    assert files.read_record(folder / "sample.json") == view
    splits = samples.load_splits(config)
    assert view["target"] == splits.validation.targets[7]
    assert np.shape(view["pixels"]) == (8, 8)
    for name in ("free", "controlled"):
        way = view[name]
        assert way["finished"]
        assert way["rest"]["solved"]
        assert np.shape(way["plane"]) == (len(TIMES), 2)
        # The way ends where the solver says.
        assert way["loss"][-1] == pytest.approx(way["rest"]["loss"], rel=2e-2)
        np.testing.assert_allclose(way["plane"][-1], way["rest"]["plane"], atol=2e-2)
        assert sum(way["rest"]["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert set(view["controlled"]["control"]) == {"layer 1", "layer 2", "output"}
    for name, size in view["controlled"]["rest"]["control"].items():
        assert view["controlled"]["control"][name][-1] == pytest.approx(size, rel=5e-2)
    assert view["controlled"]["rest"]["loss"] < view["free"]["rest"]["loss"]
    assert not any(helpers.flat(view["free"]["rest"]["control"]))


@pytest.mark.slow
def test_a_sample_of_a_training_with_a_share_is_shown_at_its_last_strength(tmp_path):
    folder = tmp_path / "run"
    config = RunConfig.of(hidden=(5,), epochs=1, batch_size=200, strength="0.9")
    with jax.enable_x64(False):
        run_training(config, folder)
        rest = inspect_sample(folder, 7)["controlled"]["rest"]
        kappa = read_metrics(folder)[-1]["kappa"]
        splits = samples.load_splits(config)
        system, _ = load_trained(config, splits, folder, config.all_seeds()[0])
        batch = lc.Batch(splits.validation.inputs[7:8], splits.validation.targets[7:8])

        def loss(kappa):
            rule = lc.LeastControl(lc.DynamicInversion(), lc.RelativeLeak(kappa))
            point = helpers.credit(rule, system, batch).solution.value
            output = jax.vmap(system.readout)(point.state) + point.output_control
            return float(lc.CrossEntropy()(output[0], jnp.asarray(batch.targets[0])))

        first = config.rule.course_of_strength().first_kappa()
        assert rest["loss"] == pytest.approx(loss(kappa), rel=1e-3)
        assert loss(float(first)) > 1.1 * loss(kappa)

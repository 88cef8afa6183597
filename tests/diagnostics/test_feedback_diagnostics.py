"""Diagnostics of direct feedback, from their definitions and the reference values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_network import BATCH, FEEDBACK, NETWORK, credit, forward, printed, weights

import leastcontrol as lc
from leastcontrol import diagnostics
from leastcontrol import feedback_control as fc
from leastcontrol.equilibrium import free_moment

FREE = jax.vmap(lambda x: free_moment(NETWORK, NETWORK.drive(x)))(BATCH.inputs).soma
JACOBIANS = np.asarray(diagnostics.jacobians(NETWORK, FREE))
Q = np.concatenate(FEEDBACK)


def split(rows):
    return tuple(jnp.split(rows, [5, 9]))


def outputs_of_pushed(push, x):
    """The output with a push added to every voltage, by the definition of the network."""
    rate = x
    for index, (layer, part) in enumerate(zip(NETWORK.layers, split(push), strict=True)):
        voltage = layer.weight @ rate + layer.bias + part
        rate = jnp.tanh(voltage) if index < 2 else voltage
    return rate


def test_the_jacobian_is_that_of_a_push():
    expected = jax.vmap(lambda x: jax.jacrev(outputs_of_pushed)(jnp.zeros(12), x))(BATCH.inputs)
    np.testing.assert_allclose(JACOBIANS, expected, rtol=0, atol=1e-14)


def test_the_condition():
    condition = diagnostics.feedback_condition(NETWORK, FEEDBACK, FREE)
    printed(jnp.mean(condition), 0.5564276896)
    one = tuple(voltage[:1] for voltage in FREE)
    mixed = JACOBIANS[0].T @ np.random.default_rng(0).normal(size=(3, 3))
    np.testing.assert_allclose(
        diagnostics.feedback_condition(NETWORK, split(mixed), one), 1, rtol=1e-12
    )
    outside = np.linalg.svd(JACOBIANS[0])[2][3:6].T
    np.testing.assert_allclose(
        diagnostics.feedback_condition(NETWORK, split(outside), one), 0, atol=1e-12
    )


def test_the_gradient_of_the_control():
    result = credit(fc.DeepFeedbackControl(fc.SimulatedSteadyState(forward()), fc.Strong()))
    control = result.solution.value.moment.control
    gradient = diagnostics.linearised_control_gradient(
        NETWORK, BATCH.inputs, FREE, FEEDBACK, 0.05, control
    )
    linearised = [weight for weight, _ in gradient]
    printed(
        [float(jnp.linalg.norm(w)) for w in linearised], [0.9939313412, 0.1405220353, 0.1367818321]
    )
    angles = diagnostics.layer_angles(tuple(weights(result)), tuple(linearised))
    printed(np.divide(angles[:3], 100), [0.894521610466, 0.888109461676, 1.003720571640])


@pytest.mark.slow
def test_the_gradient_of_the_control_is_exact_for_a_linear_network():
    network = lc.Feedforward(4, (5, 4), 3, activation=lc.identity, key=jax.random.key(3))
    leak, goal = 0.3, jnp.asarray([[0.4, -1.0, 0.7], [0.1, 0.3, -0.2]])

    def control(network, x, goal):
        soma = free_moment(network, network.drive(x)).soma
        jacobian = diagnostics.jacobians(network, tuple(voltage[None] for voltage in soma))[0]
        return jnp.linalg.solve(jacobian @ Q + leak * jnp.eye(3), goal - soma[-1])

    def energy(layers):
        # The reference is where the output is to be, and does not move with the weights.
        moved = eqx.tree_at(lambda n: n.layers, network, layers)
        controls = jax.vmap(lambda x, goal: control(moved, x, goal))(BATCH.inputs, goal)
        return 0.5 * jnp.mean(jnp.sum((controls @ Q.T) ** 2, axis=1))

    controls = jax.vmap(lambda x, goal: control(network, x, goal))(BATCH.inputs, goal)
    controlled = jax.vmap(lambda x, u: network.settle(network.drive(x), split(Q @ u)[:2]))(
        BATCH.inputs, controls
    )
    soma = (*controlled, jnp.zeros((2, 3)))
    computed = diagnostics.linearised_control_gradient(
        network, BATCH.inputs, soma, FEEDBACK, leak, controls
    )
    expected = jax.grad(energy)(network.layers)
    for (weight, bias), layer in zip(computed, expected, strict=True):
        np.testing.assert_allclose(weight, layer.weight, atol=1e-13)
        np.testing.assert_allclose(bias, layer.bias, atol=1e-13)


def test_the_minimum_norm_update_of_the_last_layer():
    errors = jnp.asarray([[0.1, -0.2, 0.1], [0.3, 0.0, -0.1]])
    update = diagnostics.minimum_norm_update(NETWORK, BATCH.inputs, FREE, errors, 0.1)
    change = [J.T @ np.linalg.inv(J @ J.T + 0.1 * np.eye(3)) @ e for J, e in zip(JACOBIANS, errors)]  # noqa: B905
    rates = np.tanh(FREE[1])
    expected = -2 * np.mean([np.outer(row[9:], r) for row, r in zip(change, rates)], axis=0)  # noqa: B905
    np.testing.assert_allclose(update[2][0], expected, atol=1e-14)
    moved = np.tanh(np.asarray(FREE[0]) + np.asarray(change)[:, :5]) - np.tanh(FREE[0])
    np.testing.assert_allclose(update[0][1], -2 * moved.mean(axis=0), atol=1e-14)


def test_the_gauss_newton_update_solves_each_sample():
    """Undamped, the parameters' step moves one sample's output by its error, to first order."""
    errors = jnp.asarray([[0.1, -0.2, 0.1], [0.3, 0.0, -0.1]])
    one = tuple(voltage[:1] for voltage in FREE)
    step = diagnostics.gauss_newton_update(NETWORK, BATCH.inputs[:1], one, errors[:1], 0.0)

    def output(size):
        layers = tuple(
            eqx.tree_at(
                lambda n: (n.weight, n.bias),
                layer,
                (layer.weight - size * weight, layer.bias - size * bias),
            )
            for layer, (weight, bias) in zip(NETWORK.layers, step, strict=True)
        )
        network = eqx.tree_at(lambda n: n.layers, NETWORK, layers)
        return free_moment(network, network.drive(BATCH.inputs[0])).soma[-1]

    _, moved = jax.jvp(output, (0.0,), (1.0,))
    np.testing.assert_allclose(moved, errors[0], atol=1e-13)


@pytest.mark.parametrize("gain", [0.0, 1.3])
def test_the_margin_is_that_of_the_linearised_dynamics(gain):
    """The continuous-time equations are written out once more and differentiated as a whole."""
    tau, leak = 0.2, 0.05
    reference = jnp.asarray([0.2, 0.3, 0.5])

    def derivative(state, x):
        voltages, integral = split(state[:12]), state[12:]
        error = reference - voltages[-1]
        control = integral + gain * error
        rates = (x, jnp.tanh(voltages[0]), jnp.tanh(voltages[1]))
        basal = [
            layer.weight @ rate + layer.bias
            for layer, rate in zip(NETWORK.layers, rates, strict=True)
        ]
        apical = [feedback @ control for feedback in FEEDBACK]
        moved = [(a + b - v) / tau for a, b, v in zip(basal, apical, voltages, strict=True)]
        return jnp.concatenate([*moved, error - leak * control])

    flat = jnp.concatenate([voltage[0] for voltage in FREE] + [jnp.zeros(3)])
    matrix = jax.jacfwd(derivative)(flat, BATCH.inputs[0])
    expected = -np.linalg.eigvals(np.asarray(matrix)).real.max()
    dynamics = fc.Dynamics(0.02, 40, tau, leak, gain)
    one = tuple(voltage[:1] for voltage in FREE)
    margin = diagnostics.stability_margin(NETWORK, one, FEEDBACK, dynamics, jnp.eye(3)[None])
    np.testing.assert_allclose(margin, [expected], rtol=1e-10)


def test_the_quasi_static_margin_is_the_limit_of_fast_voltages():
    curvature = jnp.eye(3)[None]
    one = tuple(voltage[:1] for voltage in FREE)
    fast = fc.Dynamics(1e-7, 40, 1e-6, 0.05)
    limit = diagnostics.quasi_static_margin(NETWORK, one, FEEDBACK, 0.05, curvature)
    margin = diagnostics.stability_margin(NETWORK, one, FEEDBACK, fast, curvature)
    np.testing.assert_allclose(margin, limit, rtol=1e-4)


def test_ratios_and_movement():
    basal = (jnp.asarray([[4.0, 4.0]]), jnp.asarray([[2.0], [6.0]])[:1])
    apical = (jnp.asarray([[3.0, 4.0]]), jnp.asarray([[1.0]]))
    biases = (jnp.asarray([1.0, 0.0]), jnp.zeros(1))
    np.testing.assert_allclose(diagnostics.feedback_ratios(basal, apical, biases), [1.0, 0.5])
    first = (jnp.ones((2, 2)), jnp.ones((1, 2)))
    moved = (first[0].at[0, 0].set(3.0), first[1])
    np.testing.assert_allclose(diagnostics.feedback_movement(moved, first), 2 / np.sqrt(6))
    np.testing.assert_allclose(
        diagnostics.error_ratio(jnp.asarray([[3.0, 4.0]]), jnp.asarray([[0.0, 1.0]])), 0.2
    )


def test_angles():
    x, y = {"a": jnp.asarray([1.0, 0.0])}, {"a": jnp.asarray([1.0, 1.0])}
    np.testing.assert_allclose(diagnostics.angle(x, y), 45.0)
    np.testing.assert_allclose(diagnostics.angle(x, jax.tree.map(jnp.negative, x)), 180.0)
    assert diagnostics.angle(x, x) == 0
    np.testing.assert_allclose(diagnostics.layer_angles((x, x), (x, y))[:2], [0, 45])

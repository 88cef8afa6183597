"""The network 4-5-4-3 of the reference values of deep feedback control, and its noise.

Its constants and its deterministic noise are those for which the method's authors' code printed
the values that tests compare with.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import leastcontrol as lc
from leastcontrol import feedback_control as fc
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
        lambda tree: [leaf for layer in tree.layers for leaf in (layer.weight, layer.bias)],
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
    return fc.Dynamics(**(constants | options), noise=noise)


def sleep(noise, apical_time_constant=0.1):
    return fc.Dynamics(0.003, 30, 0.02, 0.3, 0.4, apical_time_constant, noise=noise)


def white(hidden, output, apical_time_constant=0.1):
    unit = deviation_of(1.0, 0.003, apical_time_constant)
    return fc.WhiteNoise(hidden * unit, output * unit)


def filtered(hidden, output, time_step):
    unit = deviation_of(1.0, time_step, 0.07)
    return fc.FilteredNoise(hidden * unit, output * unit, time_constant=0.07)


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


NUDGED = fc.Nudged(0.1)

"""What several tests of the core rooms share: small systems, compiled calls, and an oracle.

The oracle minimises F(φ, θ) = ½‖f‖² (+ ½‖h − y‖²) + L(y)/α by a trust-region method of SciPy on
dense derivatives. It knows of the package only f and h; the losses are written out here.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree

import leastcontrol as lc

KEY = jax.random.PRNGKey(20)
BATCH = 6
SIZE = 3

solve = eqx.filter_jit(lambda controller, problem, samples: controller.equilibrium(problem, samples))
credit = eqx.filter_jit(lambda rule, system, batch: rule(system, None, batch))


def stronger(system, factor):
    """Returns a system with all its parameters times a factor, further from linear."""
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda leaf: factor * leaf, learned), fixed)


def feedforward(seed=0, factor=1.5, **options):
    key = jax.random.fold_in(KEY, seed)
    return stronger(lc.Feedforward(SIZE, (4, 3), SIZE, key=key, **options), factor)


def recurrent(seed=0, factor=1.2, **options):
    key = jax.random.fold_in(KEY, seed)
    return stronger(lc.EquilibriumRNN(SIZE, 5, SIZE, key=key, **options), factor)


def timescales(params, state, x):
    """Two populations: one five times faster than a unit step can follow, one slow."""
    fast = -5 * state["fast"] + 2 * jnp.tanh(params["w"] @ state["slow"]) + params["u"] @ x
    slow = 0.2 * (params["v"] @ jnp.tanh(state["fast"]) - state["slow"]) + params["b"]
    return {"fast": fast, "slow": slow}


def timescales_readout(params, state):
    return params["d"] @ jnp.tanh(state["slow"]) + 0.5 * params["c"] * state["fast"] ** 2


def function_system(seed=0, output_neurons=True):
    shapes = {"w": (3, 4), "u": (3, SIZE), "v": (4, 3), "b": (4,), "d": (SIZE, 4), "c": (SIZE,)}
    keys = jax.random.split(jax.random.fold_in(KEY, 100 + seed), len(shapes))
    params = {n: jax.random.normal(k, s) for (n, s), k in zip(shapes.items(), keys, strict=True)}
    start = {"fast": jnp.zeros(3), "slow": jnp.zeros(4)}
    return lc.FunctionSystem(
        timescales, timescales_readout, params, start, output_neurons=output_neurons
    )


def inputs(batch=BATCH, seed=0):
    return jax.random.normal(jax.random.fold_in(KEY, 200 + seed), (batch, SIZE))


def labels(batch=BATCH):
    return (jnp.arange(batch) * 2) % SIZE


def vectors(batch=BATCH, seed=0):
    return jax.random.normal(jax.random.fold_in(KEY, 300 + seed), (batch, SIZE))


def samples(system, x, targets):
    return lc.Sample(jax.vmap(system.drive)(x), targets)


def naive_cross_entropy(probabilities):
    return lambda output: -jnp.sum(probabilities * jax.nn.log_softmax(output))


def soft(label, softness, outputs=SIZE):
    """Returns 1 − ε for the class and ε / (N − 1) for the others."""
    others = np.full(outputs, softness / (outputs - 1))
    others[int(label)] = 1 - softness
    return jnp.asarray(others)


def naive_squared_error(target):
    return lambda output: 0.5 * jnp.sum((output - target) ** 2)


class Oracle:
    """One sample's F(z, θ), z = (φ, y) with output neurons and z = φ without, and its minimum."""

    def __init__(self, system, x, loss, leak):
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)
        self.theta, unravel = ravel_pytree(learned)
        state = system.initial_state(system.drive(x))
        flat, unravel_state = ravel_pytree(state)
        self.size = flat.size

        def parts(z, theta):
            system = eqx.combine(unravel(theta), fixed)
            state = unravel_state(z[: flat.size])
            field, _ = ravel_pytree(system.vector_field(state, system.drive(x)))
            return field, system.readout(state)

        def split(z, theta):
            """Returns f, u and y."""
            field, read = parts(z, theta)
            if system.output_neurons:
                output = z[flat.size :]
                return field, output - read, output
            return field, -jax.grad(loss)(read) / leak, read

        def energy(z, theta):
            field, control, output = split(z, theta)
            square = jnp.sum(control**2) if system.output_neurons else 0.0
            return 0.5 * jnp.sum(field**2) + 0.5 * square + loss(output) / leak

        self.energy, self.split = energy, split
        self.value = jax.jit(energy)
        self.slope = jax.jit(jax.grad(energy))
        self.curvature = jax.jit(jax.hessian(energy))
        outputs = jax.eval_shape(parts, flat, self.theta)[1].shape[0]
        start = jnp.concatenate([flat, jnp.zeros(outputs)]) if system.output_neurons else flat
        self.z = self.minimise(start)

    def minimise(self, start):
        z = scipy.optimize.minimize(
            lambda z: float(self.value(z, self.theta)),
            np.asarray(start),
            jac=lambda z: np.asarray(self.slope(z, self.theta)),
            hess=lambda z: np.asarray(self.curvature(z, self.theta)),
            method="trust-exact",
            options={"gtol": 1e-9},
        ).x
        for _ in range(3):
            z = z - np.linalg.solve(self.curvature(z, self.theta), self.slope(z, self.theta))
        assert np.linalg.norm(self.slope(z, self.theta)) < 1e-12
        assert np.linalg.eigvalsh(self.curvature(z, self.theta)).min() > 0
        return jnp.asarray(z)

    def point(self):
        """Returns φ, ψ and u at the minimum, flat."""
        field, control, _ = self.split(self.z, self.theta)
        return self.z[: self.size], -field, control

    def minimum_of(self, thetas):
        """Returns min_z F at parameters close to θ, by Newton's method from the minimum at θ."""

        def one(theta):
            def newton(_, z):
                slope, curvature = jax.grad(self.energy)(z, theta), jax.hessian(self.energy)(z, theta)
                return z - jnp.linalg.solve(curvature, slope)

            return self.energy(jax.lax.fori_loop(0, 6, newton, self.z), theta)

        return jax.jit(jax.vmap(one))(thetas)

    def finite_differences(self, step=1e-5):
        """Returns the gradient of min_z F in θ by central differences, flat."""
        moves = step * jnp.eye(self.theta.size)
        up = self.minimum_of(self.theta[None] + moves)
        down = self.minimum_of(self.theta[None] - moves)
        return (up - down) / (2 * step)


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def one_of(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)

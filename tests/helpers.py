"""What several tests of the core rooms share: small systems, compiled calls, and an oracle.

The oracle minimises F(φ, θ) = ½‖f‖² (+ ½‖h − y‖²) + L(y)/α by a trust-region method of SciPy on
dense derivatives. It knows of the package only f and h; the losses are written out here.
"""

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import scipy.optimize
from jax.flatten_util import ravel_pytree

import leastcontrol as lc

KEY = jax.random.PRNGKey(20)
BATCH = 6
SIZE = 3

solve = eqx.filter_jit(
    lambda controller, problem, samples: controller.equilibrium(problem, samples)
)
credit = eqx.filter_jit(lambda rule, system, batch: rule(system, None, batch))


def stronger(system, factor):
    """Returns a system with all its parameters times a factor, further from linear."""
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda leaf: factor * leaf, learned), fixed)


def feedforward(seed=0, factor=1.25, **options):
    key = jax.random.fold_in(KEY, seed)
    return stronger(lc.Feedforward(SIZE, (4, 3), SIZE, key=key, **options), factor)


def recurrent(seed=0, factor=1.0, **options):
    key = jax.random.fold_in(KEY, seed)
    return stronger(lc.EquilibriumRNN(SIZE, 5, SIZE, key=key, **options), factor)


def timescales(params, state, x):
    """Two populations: one five times faster than a unit step can follow, one slow."""
    fast = -5 * state["fast"] + 2 * jnp.tanh(params["w"] @ state["slow"]) + params["u"] @ x
    slow = 0.2 * (params["v"] @ jnp.tanh(state["fast"]) + params["b"] - state["slow"])
    return {"fast": fast, "slow": slow}


def timescales_readout(params, state):
    return params["d"] @ jnp.tanh(state["slow"]) + params["c"] * state["fast"]


def function_system(seed=3, output_neurons=True):
    shapes = {"w": (3, 4), "u": (3, SIZE), "v": (4, 3), "b": (4,), "d": (SIZE, 4), "c": (SIZE,)}
    keys = jax.random.split(jax.random.fold_in(KEY, 100 + seed), len(shapes))
    params = {
        n: 0.5 * jax.random.normal(k, s) for (n, s), k in zip(shapes.items(), keys, strict=True)
    }
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


def naive_cross_entropy(output, probabilities):
    return -jnp.sum(probabilities * jax.nn.log_softmax(output))


def naive_squared_error(output, target):
    return 0.5 * jnp.sum((output - target) ** 2)


def soft(label, softness, outputs=SIZE):
    """Returns 1 − ε for the class and ε / (N − 1) for the others, for each label."""
    chosen = jnp.arange(outputs)[None] == label[:, None]
    return jnp.where(chosen, 1 - softness, softness / (outputs - 1))


def parameters(system):
    """Returns what a system learns, or the same part of its gradient."""
    if isinstance(system, lc.FunctionSystem):
        return system.params
    names = {
        "Feedforward": ("layers",),
        "ConvolutionalFeedforward": ("convolutions", "dense"),
        "ResidualNetwork": ("encoder", "blocks", "decoder"),
        "DeepEquilibrium": ("encoder", "cell", "decoder"),
    }
    fields = names.get(type(system).__name__, ("input", "recurrent", "output"))
    return tuple(getattr(system, name) for name in fields)


class Oracle:
    """F(z, θ) of a system's samples, z = (φ, y) with output neurons and z = φ without.

    `loss(output, target)` is differentiated by JAX; a target is a vector of the output's size.
    """

    def __init__(self, system, loss, inputs, targets, leak):
        self.theta, unravel = ravel_pytree(parameters(system))
        start, unravel_state = ravel_pytree(system.initial_state(system.drive(inputs[0])))
        self.size = start.size
        self.neurons = system.output_neurons

        def split(z, theta, x, target, leak):
            """Returns f, u and y."""
            moved = eqx.tree_at(parameters, system, unravel(theta))
            state = unravel_state(z[: self.size])
            field, _ = ravel_pytree(moved.vector_field(state, moved.drive(x)))
            read = moved.readout(state)
            if self.neurons:
                output = z[self.size :]
                return field, output - read, output
            return field, -jax.grad(loss)(read, target) / leak, read

        def energy(z, theta, x, target, leak):
            field, control, output = split(z, theta, x, target, leak)
            square = jnp.sum(control**2) if self.neurons else 0.0
            return 0.5 * jnp.sum(field**2) + 0.5 * square + loss(output, target) / leak

        self.energy, self.split, self.loss = energy, split, loss
        self.compiled = [jax.jit(of) for of in (energy, jax.grad(energy), jax.hessian(energy))]
        outputs = targets.shape[1]
        self.start = np.append(start, np.zeros(outputs)) if self.neurons else np.asarray(start)
        self.inputs, self.targets = inputs, targets
        self.at(leak)

    def at(self, leak):
        """Minimises at a leak; `z` are the minimisers of all samples."""
        self.leak = leak
        self.z = jnp.stack(
            [self._minimise(*sample) for sample in zip(self.inputs, self.targets, strict=True)]
        )
        return self

    def _minimise(self, x, target):
        value, slope, curvature = (
            lambda z, of=of: np.asarray(of(z, self.theta, x, target, self.leak))
            for of in self.compiled
        )
        z = scipy.optimize.minimize(
            value,
            self.start,
            jac=slope,
            hess=curvature,
            method="trust-exact",
            options={"gtol": 1e-7},
        ).x
        for _ in range(4):
            z = z - np.linalg.solve(curvature(z), slope(z))
        assert np.linalg.norm(slope(z)) < 1e-12 * max(1, 1 / self.leak)
        assert np.linalg.eigvalsh(curvature(z)).min() > 0
        return jnp.asarray(z)

    def points(self):
        """Returns φ, ψ and u of every sample at the minimum, flat."""
        field, control, _ = jax.vmap(self.split, (0, None, 0, 0, None))(
            self.z, self.theta, self.inputs, self.targets, self.leak
        )
        return np.asarray(self.z[:, : self.size]), -np.asarray(field), np.asarray(control)

    def value(self, theta):
        """Returns the mean of min_z F at parameters close to θ, by Newton from the minima at θ."""

        def one(z, x, target):
            energy = lambda z: self.energy(z, theta, x, target, self.leak)  # noqa: E731
            newton = lambda _, z: z - jnp.linalg.solve(jax.hessian(energy)(z), jax.grad(energy)(z))  # noqa: E731
            return energy(jax.lax.fori_loop(0, 5, newton, z))

        return jnp.mean(jax.vmap(one)(self.z, self.inputs, self.targets))

    def finite_differences(self, step=1e-5):
        """Returns the gradient of the mean of min_z F in θ by central differences, flat."""
        moves = step * jnp.eye(self.theta.size)
        both = jnp.concatenate([self.theta[None] + moves, self.theta[None] - moves])
        up, down = jnp.split(jax.jit(jax.vmap(self.value))(both), 2)
        return np.asarray(up - down) / (2 * step)


def implicit(oracle):
    """Returns the gradient of F by implicit differentiation of the three conditions.

    φ, ψ and u are independent unknowns here, so that each has its own derivative in θ, and none
    drops out as it would from the stationary energy.
    """
    n = oracle.size
    state, control, u = map(jnp.asarray, oracle.points())

    def one(theta, x, target, start):
        def residual(z, theta):
            phi, psi, u = jnp.split(z, [n, 2 * n])

            def field_and_readout(phi):
                y = jnp.zeros(SIZE) if oracle.neurons else ()
                z = jnp.concatenate([phi, y]) if oracle.neurons else phi
                field, control, output = oracle.split(z, theta, x, target, oracle.leak)
                return field, -control if oracle.neurons else output

            (field, read), pull = jax.vjp(field_and_readout, phi)
            output = read + u if oracle.neurons else read
            slope = jax.grad(oracle.loss)(output, target)
            conditions = (field + psi, pull((psi, u))[0], oracle.leak * u + slope)
            return jnp.concatenate(conditions), output

        solution = optx.root_find(
            lambda z, theta: residual(z, theta)[0],
            optx.Newton(rtol=1e-12, atol=1e-12),
            start,
            theta,
            adjoint=optx.ImplicitAdjoint(),
        )
        _, psi, u = jnp.split(solution.value, [n, 2 * n])
        _, output = residual(solution.value, theta)
        square = jnp.sum(psi**2) + (jnp.sum(u**2) if oracle.neurons else 0.0)
        return 0.5 * square + oracle.loss(output, target) / oracle.leak

    def mean(theta):
        starts = jnp.concatenate([state, control, u], axis=1)
        return jnp.mean(
            jax.vmap(one, (None, 0, 0, 0))(theta, oracle.inputs, oracle.targets, starts)
        )

    return jax.jit(jax.grad(mean))(oracle.theta)


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def one_of(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stored_weights(folder, name, like):
    """Returns the arrays behind the checksum and the header of a run's file of weights."""
    content = (folder / "checkpoints" / f"{name}.eqx").read_bytes()
    _, _, arrays = content.split(b"\n", 2)
    return eqx.tree_deserialise_leaves(io.BytesIO(arrays), like)

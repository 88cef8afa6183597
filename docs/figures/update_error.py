"""Draws `update_error.svg`: how wrong an update is that is made before the controlled rest.

    python docs/figures/update_error.py

Figure S1 of arXiv 2207.01332. An equilibrium RNN of 32 neurons is integrated under dynamic
inversion (`leastcontrol.diagnostics`) for eight samples with labels, each from its free rest point
on. At every moment the update is made from the state and the control of that moment, and compared
with that of the controlled rest point that a solver finds and certifies.

Proposition S8 bounds the error by a multiple of the distance. The script fails if the slope of all
curves of one strength in logarithms, where the distance is below a hundredth, is not one.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot
from themed import prepare, save

import leastcontrol as lc
from leastcontrol import diagnostics

SAMPLES = 8
TIMES = np.concatenate([[0.0], np.geomspace(0.05, 60.0, 120)])
# What the integration resolves of a distance.
NEAREST = 1e-4


def update(system: lc.EquilibriumRNN, x: jax.Array, point: lc.Point) -> jax.Array:
    """Returns −∂_θfᵀψ − ∂_θhᵀu of one sample, all parameters side by side."""
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)

    def field_and_readout(learned):
        combined = eqx.combine(learned, fixed)
        return combined.vector_field(point.state, combined.drive(x)), combined.readout(point.state)

    _, pull = jax.vjp(field_and_readout, learned)
    gradient = pull((-point.control, -point.output_control))[0]
    return jax.flatten_util.ravel_pytree(gradient)[0]


def one(system: lc.EquilibriumRNN, x: jax.Array, label: jax.Array, leak: float):
    """Returns distance and error along one sample's way, each relative to the rest point's size."""
    problem = lc.ControlProblem(system, lc.CrossEntropy(), leak)
    drive = system.drive(x)
    free = lc.free_equilibrium(system, drive[None], solver=lc.FixedPoint(max_steps=400))
    sample = lc.Sample(drive, label)
    batch = jax.tree.map(lambda leaf: leaf[None], sample)
    rest = lc.Exact(lc.Tolerance(1e-12)).equilibrium(problem, batch)
    end = jax.tree.map(lambda leaf: leaf[0], rest.value)
    way = diagnostics.controlled_trajectory(
        problem, sample, jnp.asarray(TIMES), start=free.value[0]
    )
    exact = update(system, x, end)
    updates = jax.vmap(lambda point: update(system, x, point))(way.points)
    flat = lambda point: jnp.concatenate(point)  # noqa: E731
    apart = jax.vmap(lambda point: flat(point) - flat(end))(way.points)
    distance = jnp.linalg.norm(apart, axis=1) / jnp.linalg.norm(flat(end))
    error = jnp.linalg.norm(updates - exact, axis=1) / jnp.linalg.norm(exact)
    solved = lc.solved(free).all() & lc.solved(rest).all() & way.finished
    return distance, error, solved


def main() -> None:
    """Measures the errors, checks that they are linear in the distance and draws them."""
    jax.config.update("jax_enable_x64", True)
    system = lc.EquilibriumRNN(10, 32, 4, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (SAMPLES, 10))
    prepare("update_error")
    figure, axes = pyplot.subplots(figsize=(5.5, 4), layout="constrained")
    for colour, leak in (("C0", 1.0), ("C1", 0.1)):
        measure, near = eqx.filter_jit(one), []
        for index, x in enumerate(inputs):
            distance, error, solved = map(
                np.asarray, measure(system, x, jnp.asarray(index % 4), leak)
            )
            assert solved, (leak, index)
            drawn = distance > NEAREST
            axes.loglog(
                distance[drawn],
                error[drawn],
                color=colour,
                alpha=0.6,
                label=f"α = {leak:g}" if index == 0 else None,
            )
            close = drawn & (distance < 0.01)
            near.append(np.log([distance[close], error[close]]))
        slope, _ = np.polyfit(*np.concatenate(near, axis=1), 1)
        assert abs(slope - 1) < 0.1, (leak, slope)
        print(f"α = {leak:g}: error ∝ distance^{slope:.2f}")
    ends = np.asarray([NEAREST, 1.0])
    axes.loglog(ends, ends, ":", color="0.4", label="error = distance")
    axes.invert_xaxis()
    axes.set(
        title="An update is as wrong as it is early",
        xlabel="distance to the controlled rest point, of (φ, ψ, u), relative",
        ylabel="error of the update, relative",
    )
    axes.legend()
    save(figure, "update_error")


if __name__ == "__main__":
    main()

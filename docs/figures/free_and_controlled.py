"""Draws `free_and_controlled.svg`: a small recurrent network settling, free and controlled.

    python docs/figures/free_and_controlled.py

Two neurons, f = −φ + W tanh(φ) + Ux + b, with one output y = h(φ) + u and the squared error to a
target t. `leastcontrol.diagnostics` integrates, from the same start,

    free         φ̇ = f(φ)
    controlled   φ̇ = f(φ) + ψ,   ψ̇ = ∂_φfᵀψ + ∂_φhᵀu,   u̇ = −αu − ∇_yL

The script fails if a trajectory does not end where the library's solvers find rest.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from themed import prepare, save

import leastcontrol as lc
from leastcontrol import diagnostics

LEAKS = (1.0, 0.1)
COLOURS = ("C0", "C1", "C2")
TARGET = jnp.array([1.0])
X = jnp.array([1.0])
START = jnp.array([-0.9, 0.9])
# In time constants of the neurons.
DURATION = 40.0
SHOWN = 20.0


def network() -> lc.EquilibriumRNN:
    """Returns a network whose free rest point is a spiral, away from its target."""
    system = lc.EquilibriumRNN(1, 2, 1, key=jax.random.key(0))
    weights = (
        jnp.array([[0.3, -0.8], [0.8, 0.3]]),
        jnp.array([[0.3], [-0.9]]),
        jnp.zeros(2),
        jnp.array([[0.8, 0.9]]),
        jnp.zeros(1),
    )
    return eqx.tree_at(
        lambda s: (s.recurrent, s.input.weight, s.input.bias, s.output.weight, s.output.bias),
        system,
        weights,
    )


def rest(problem: lc.ControlProblem) -> lc.Point:
    """Returns the controlled rest point, certified."""
    system = problem.system
    samples = lc.Sample(system.drive(X)[None], TARGET[None])
    solution = lc.Exact().equilibrium(problem, samples)
    assert lc.solved(solution).all()
    return jax.tree.map(lambda leaf: leaf[0], solution.value)


def draw_plane(axes: Axes, system: lc.EquilibriumRNN) -> None:
    """Draws the free flow and the states whose readout is the target."""
    first, second = np.meshgrid(np.linspace(-1.2, 1.7, 40), np.linspace(-1.3, 1.3, 40))
    states = jnp.stack([first, second], axis=-1)
    drive = system.drive(X)
    flow = jax.vmap(jax.vmap(lambda state: system.vector_field(state, drive)))(states)
    axes.streamplot(
        first,
        second,
        np.asarray(flow[..., 0]),
        np.asarray(flow[..., 1]),
        color="0.85",
        linewidth=0.7,
        arrowsize=0.7,
        density=0.9,
        zorder=0,
    )
    read = jax.vmap(jax.vmap(system.readout))(states)[..., 0]
    axes.contour(first, second, np.asarray(read), levels=[float(TARGET[0])], colors="0.4")
    axes.plot([], [], color="0.4", label="h(φ) = t, no loss")


def main() -> None:
    """Integrates the trajectories, checks where they end and writes the figure."""
    system = network()
    drive, loss = system.drive(X), lc.SquaredError()
    times = jnp.linspace(0.0, DURATION, 1601)
    shown = np.asarray(times) <= SHOWN

    free = diagnostics.free_trajectory(system, drive, times, START).points.state
    free_rest = lc.free_equilibrium(system, drive[None], solver=lc.FixedPoint(max_steps=400))
    assert lc.solved(free_rest).all()
    curves = [("free, ψ = 0", free, jax.vmap(system.readout)(free), free_rest.value[0])]
    for leak in LEAKS:
        problem = lc.ControlProblem(system, loss, leak)
        way = diagnostics.controlled_trajectory(
            problem, lc.Sample(drive, TARGET), times, start=START
        )
        assert way.finished
        end = rest(problem).state
        curves.append((f"controlled, α = {leak:g}", way.points.state, way.outputs, end))

    prepare("free_and_controlled")
    figure, (plane, time) = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    draw_plane(plane, system)
    for (label, states, outputs, end), colour in zip(curves, COLOURS, strict=True):
        assert jnp.allclose(states[-1], end, atol=1e-4), (label, states[-1], end)
        plane.plot(states[:, 0], states[:, 1], color=colour, label=label)
        plane.plot(*end, "x", color=colour, markersize=8, markeredgewidth=2)
        losses = jax.vmap(lambda output: loss(output, TARGET))(outputs)
        time.plot(times[shown], losses[shown], color=colour, label=label)
    plane.plot(*START, "o", color="0.2", label="start")
    plane.plot([], [], "x", color="0.2", label="rest found by a solver")
    plane.set(
        title="Two neurons on their way to rest",
        xlabel="state φ₁ (dimensionless)",
        ylabel="state φ₂ (dimensionless)",
        xlim=(-1.2, 1.7),
        ylim=(-1.3, 1.3),
    )
    plane.legend(loc="lower left", fontsize=7)
    time.set(
        title="Loss on the way",
        xlabel="time (time constants of the neurons)",
        ylabel="loss ½(y − t)² (dimensionless)",
        xlim=(0, SHOWN),
        ylim=(0, None),
    )
    time.legend()
    save(figure, "free_and_controlled")


if __name__ == "__main__":
    main()

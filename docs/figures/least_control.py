"""Draws `least_control.svg` and `least_control_tall.svg`: what least control is, in three steps.

    python docs/figures/least_control.py

Two neurons, f = −φ + W tanh(φ) + Ux + b, whose output h = D tanh(φ) is to be t. First they settle
freely and miss; then the least control ψ holds them where the output is good; then `LeastControl`
changes W, U and b until they settle there with almost no control. States, controls and weights are
the library's own; the script fails if an equilibrium was not found, or if learning leaves more than
a twentieth of the control.
"""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from themed import GRID, INK, MUTED, prepare, save

import leastcontrol as lc
from leastcontrol import diagnostics

LEAK = 0.02
STEPS, LEARNING_RATE = 36, 0.05
START = jnp.array([-0.9, 0.9])
X, TARGET = jnp.array([1.0]), jnp.array([1.0])
READOUT = jnp.array([[0.8, 0.9]])
TIMES = jnp.linspace(0.0, 30.0, 201)
WEIGHTS = {
    "W": jnp.array([[0.3, -0.8], [0.8, 0.3]]),
    "U": jnp.array([[0.3], [-0.9]]),
    "b": jnp.zeros(2),
}
WORDS = {"textcoords": "offset points"}
ARROW = {"arrowstyle": "-|>", "color": "C1", "linewidth": 2, "shrinkA": 0, "shrinkB": 0}


def field(params, state, x):
    """Computes f of one sample."""
    return params["W"] @ jnp.tanh(state) + params["U"] @ x + params["b"] - state


def system_of(params) -> lc.FunctionSystem:
    """Returns the neurons with their weights."""
    readout = lambda params, state: READOUT @ jnp.tanh(state)  # noqa: E731
    return lc.FunctionSystem(field, readout, params, START, output_neurons=False)


@jax.jit
def credit_of(params) -> lc.Credit:
    """Returns what the rule makes of the one sample."""
    rule = lc.LeastControl(lc.Exact(), LEAK, loss=lc.SquaredError())
    return rule(system_of(params), None, lc.Batch(X[None], TARGET[None]))


def learned(params) -> list[tuple[lc.FunctionSystem, lc.Point]]:
    """Returns systems on the way of learning, each with its controlled equilibrium."""
    way = []
    for _ in range(STEPS):
        credit = credit_of(params)
        assert lc.solved(credit.solution).all()
        way.append((system_of(params), jax.tree.map(lambda leaf: leaf[0], credit.solution.value)))
        slopes = credit.gradient.params
        params = jax.tree.map(lambda weight, slope: weight - LEARNING_RATE * slope, params, slopes)
    return way


def free_way(system: lc.FunctionSystem) -> np.ndarray:
    """Returns the states on the way to the free equilibrium."""
    way = diagnostics.free_trajectory(system, system.drive(X), TIMES, START)
    return np.asarray(way.points.state)


def controlled_way(system: lc.FunctionSystem, end: jax.Array) -> np.ndarray:
    """Returns the states on the way to the controlled equilibrium, which ends where it is."""
    problem = lc.ControlProblem(system, lc.SquaredError(), LEAK)
    sample = lc.Sample(system.drive(X), TARGET)
    way = diagnostics.controlled_trajectory(problem, sample, TIMES, start=START)
    assert jnp.allclose(way.points.state[-1], end, atol=1e-2)
    return np.asarray(way.points.state)


def draw_plane(axes: Axes, system: lc.FunctionSystem, title: str, text: str) -> None:
    """Draws the free flow, the line of good outputs and the words of a panel."""
    first, second = np.meshgrid(np.linspace(-1.05, 1.45, 10), np.linspace(-1.15, 1.15, 9))
    states = jnp.stack([first, second], axis=-1)
    drive = system.drive(X)
    flow = np.asarray(jax.vmap(jax.vmap(lambda s: system.vector_field(s, drive)))(states))
    size = np.linalg.norm(flow, axis=-1, keepdims=True)
    flow = flow / np.sqrt(size + 0.05)
    axes.quiver(first, second, flow[..., 0], flow[..., 1], color=GRID, width=0.005, zorder=0)
    fine = np.linspace(-1.3, 1.6, 60)
    grid = jnp.stack(np.meshgrid(fine, fine), axis=-1)
    read = np.asarray(jax.vmap(jax.vmap(system.readout))(grid))[..., 0]
    axes.contour(fine, fine, read, levels=[float(TARGET[0])], colors=MUTED, linestyles="--")
    axes.plot(*START, "o", color=INK, markersize=5)
    axes.set(xlim=(-1.2, 1.6), ylim=(-1.3, 1.3), xticks=[], yticks=[], aspect="equal")
    axes.set_title(title, loc="left", fontsize=13, weight="bold")
    axes.set_xlabel(text, fontsize=10.5, loc="left", linespacing=1.4)
    for spine in axes.spines.values():
        spine.set_color(GRID)


def draw(name: str, rows: int, columns: int, size: tuple[float, float]) -> None:
    """Settles, controls, learns and writes a figure."""
    way = learned(WEIGHTS)
    (system, point), (last, end) = way[0], way[-1]
    needed, left = (float(jnp.linalg.norm(each.control)) for each in (point, end))
    assert left < needed / 20, (needed, left)

    prepare(name, font_size=10)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, layout="constrained")
    free, held, taught = panels
    freely = free_way(system)
    draw_plane(free, system, "1  Settle", "The free state comes to rest,\nand its output is wrong.")
    free.plot(*freely.T, color="C0", linewidth=2)
    free.plot(*freely[-1], "o", color="C0", markersize=9)
    free.annotate("free state", freely[-1], (9, -14), **WORDS, color="C0")
    free.annotate("the output is right", (0.3, 0.98), (14, 6), **WORDS, color=MUTED)

    text = f"The least control ψ that makes it right\nholds it there: ‖ψ‖ = {needed:.2f}."
    draw_plane(held, system, "2  Control", text)
    held.plot(*freely.T, color="C0", linewidth=1.2, alpha=0.5)
    held.plot(*freely[-1], "o", color="C0", markersize=7, alpha=0.6)
    held.plot(*controlled_way(system, point.state).T, color="C1", linewidth=2)
    held.plot(*point.state, "o", color="C1", markersize=9)
    tip = point.state + point.control / 2
    held.annotate("", tuple(tip), tuple(point.state), arrowprops=ARROW)
    held.annotate("ψ", tuple(tip), (5, 2), **WORDS, color="C1", fontsize=14)
    held.annotate("controlled state", point.state, (-64, -18), **WORDS, color="C1")

    text = f"Weights change by ψ × activity, until it\nrests there by itself: ‖ψ‖ = {left:.2f}."
    draw_plane(taught, last, "3  Learn", text)
    for index in (0, 6, 15):
        taught.plot(*free_way(way[index][0]).T, color="C2", linewidth=1, alpha=0.45)
    final = free_way(last)
    taught.plot(*final.T, color="C2", linewidth=2)
    taught.plot(*final[-1], "o", color="C2", markersize=9)
    taught.annotate("free state", final[-1], (-44, -20), **WORDS, color="C2")
    save(figure, name)


if __name__ == "__main__":
    draw("least_control", 1, 3, (10.5, 4.2))
    # For a narrow screen.
    draw("least_control_tall", 3, 1, (4.0, 12.2))

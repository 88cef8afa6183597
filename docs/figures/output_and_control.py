"""Draws `output_and_control.svg`: an output on its way to its nudged target, and the control.

    python docs/figures/output_and_control.py

Figure 1D of arXiv 2106.07887. A 15-10-10-1 tanh network is to learn what a teacher says. Its
feedback learns from slow noise at first (`QuasiStatic`, instead of the paper's noisy phase); then
three samples are simulated without noise under proportional-integral control towards a target that
is nudged by λ = 0.05, with K = 2000, Δt = 0.005, τ_v = 0.2, k_p = 1 and α = 0.0015.

The script fails if an output does not end where the rest point that is solved for has it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import pyplot
from themed import prepare, save

import leastcontrol as lc
from leastcontrol import data
from leastcontrol import feedback_control as fc

LEAK = 0.0015
DYNAMICS = fc.Dynamics(0.005, 2000, 0.2, LEAK, 1.0, proactive=False)
TEACHING = fc.Nudged(0.05)
STEPS = 400
SHOWN = 3


def learned_feedback(network: lc.Feedforward, inputs: jax.Array, targets: jax.Array):
    """Returns the feedback weights after learning from noise."""
    rule = fc.DeepFeedbackControl(
        fc.SteadyState(LEAK),
        TEACHING,
        loss=lc.SquaredError(),
        feedback_learning=fc.QuasiStatic(0.1, decay=0.03, leak=0.25),
    )
    optimiser = optax.adam(optax.cosine_decay_schedule(0.02, STEPS))

    def step(carry, pair):
        feedback, state = carry
        first, key = pair
        part = lambda rows: jax.lax.dynamic_slice_in_dim(rows, first, 64)  # noqa: E731
        credit = rule(network, feedback, lc.Batch(part(inputs), part(targets)), key=key)
        updates, state = optimiser.update(credit.feedback_gradient, state)
        return (optax.apply_updates(feedback, updates), state), None

    feedback = rule.init(network, key=jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), STEPS)
    firsts = 64 * (jnp.arange(STEPS) % (len(inputs) // 64))
    start = (feedback, optimiser.init(feedback))
    (feedback, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, (firsts, keys)))(start)
    return feedback


def main() -> None:
    """Simulates the samples, checks where they end and writes the figure."""
    splits = data.student_teacher(15, 1)
    scale = splits.train.targets.std()
    inputs, targets = jnp.asarray(splits.train.inputs), jnp.asarray(splits.train.targets / scale)
    network = lc.Feedforward(
        15, (10, 10), 1, initialisation=lc.XavierNormal(), key=jax.random.key(0)
    )
    feedback = learned_feedback(network, inputs, targets)

    batch = lc.Batch(inputs[:SHOWN], targets[:SHOWN])
    rule = fc.DeepFeedbackControl(fc.Continuous(DYNAMICS), TEACHING, loss=lc.SquaredError())
    task = rule.task(network, feedback, batch)
    simulation = lc.equilibrium.simulate(
        network,
        DYNAMICS,
        task.drives,
        (task.free.soma[-1], task.references),
        error=lambda output, sample: task.error(sample[0], output - sample[0], sample[1]),
        feedback=lambda soma, control: task.path.drive(network, feedback, soma, control),
        record=lambda moment: (moment.soma[-1], moment.control),
    )
    outputs, controls = (np.asarray(series)[:, :, 0] for series in simulation.recorded)
    held = fc.DeepFeedbackControl(fc.SteadyState(LEAK), TEACHING, loss=lc.SquaredError())
    credit = held(network, feedback, batch)
    assert lc.solved(credit.solution).all()
    rest = np.asarray(credit.solution.value.moment.soma[-1])[:, 0]
    free = np.asarray(task.free.soma[-1])[:, 0]
    assert np.allclose(outputs[-1] - free, rest - free, rtol=0.05), (
        outputs[-1] - free,
        rest - free,
    )

    prepare("output_and_control")
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(6, 5), sharex=True, layout="constrained"
    )
    times = DYNAMICS.time_step * np.arange(1, DYNAMICS.points)
    nudges = np.asarray(task.references)[:, 0]
    for index in range(SHOWN):
        colour = f"C{index}"
        above.plot(
            times, outputs[:, index] - free[index], color=colour, label=f"sample {index + 1}"
        )
        above.axhline(nudges[index], color=colour, linestyle=":", linewidth=1)
        below.plot(times, controls[:, index], color=colour)
    above.plot([], [], ":", color="0.4", label="target of the nudge")
    above.set(
        title="The output is driven to its nudged target", ylabel="change of the output r − r⁻"
    )
    above.legend(fontsize=8)
    below.set(
        title="The control that holds it there",
        xlabel="time (time constants of the controller)",
        ylabel="control u",
    )
    save(figure, "output_and_control")


if __name__ == "__main__":
    main()

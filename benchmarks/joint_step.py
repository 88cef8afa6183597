"""Where the time of a joint step goes: the floor of dynamic inversion on a recurrent network.

    python benchmarks/joint_step.py --json results/profile-rnn.json

Parts of a step are compiled as loops of 50 and timed in turn, in CPU time on one core, so that
other work on the machine counts less. Each part has everything in it that the one above it has; the
steps of recurrent backpropagation stand beside them. Random weights, inputs and labels: what a step
costs does not depend on them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from _origin import origin
from _profile import on_one_core, timed
from jaxtyping import PyTree

from leastcontrol.bench.timing import Spread
from leastcontrol.equilibrium import (
    AdjointProblem,
    ControlProblem,
    FixedPoint,
    FreeProblem,
    JointProblem,
    Linearised,
    Sample,
    Tolerance,
)
from leastcontrol.equilibrium._driver import Progress, advance
from leastcontrol.equilibrium._free import Controlled
from leastcontrol.files import write_json
from leastcontrol.losses import CrossEntropy
from leastcontrol.systems import EquilibriumRNN

BATCH, WIDTH, LEAK = 64, 256, 6.4
STEPS, ROUNDS = 50, 31
ENDLESS = FixedPoint(max_steps=2**30)


def parts() -> dict[str, tuple[Callable[[PyTree, PyTree], PyTree], PyTree, PyTree]]:
    """Returns by name one sample's step, the batch's samples and where they start."""
    key = jax.random.key(0)
    system = EquilibriumRNN(784, WIDTH, 10, key=key)
    x = jax.random.uniform(key, (BATCH, 784))
    samples = Sample(jax.vmap(system.drive)(x), jnp.arange(BATCH) % 10)
    problem, tolerance = ControlProblem(system, CrossEntropy(), LEAK), Tolerance()
    joint = JointProblem(problem, tolerance)
    first = jax.vmap(joint.initial)(samples)

    def product(_: Sample, z: Any) -> Any:
        state = system.recurrent @ z.point.state
        return z._replace(point=z.point._replace(state=state))

    def moved(sample: Sample, z: Any, output_control: Any) -> Any:
        state, control, _ = z.point
        field, _, pull = system.pullback(state, sample.drive)
        change = pull(control, output_control)
        point = z.point._replace(state=state + field + control, control=control + change)
        return z._replace(point=point._replace(output_control=output_control))

    def held(sample: Sample, z: Any) -> Any:
        return moved(sample, z, 0.9 * z.point.output_control)

    def answered(sample: Sample, z: Any) -> Any:
        read, last = system.readout(z.point.state), z.point.output_control
        gain = z.gain.updated(problem, read, last, problem.own_gain)
        answer = problem.respond(sample, read, last, gain.value, tolerance.rounding)
        return moved(sample, z._replace(gain=gain), answer)

    run = lambda problem: lambda sample, z: advance(problem, ENDLESS, sample, z)  # noqa: E731
    drives = Controlled(samples.drive, None)
    states = jax.vmap(system.initial_state)(samples.drive)
    linear = Linearised(samples.drive, states, jnp.full((BATCH, 10), 0.1))
    return {
        "one product with the recurrent weights": (product, samples, first),
        "state and control under a given output control": (held, samples, first),
        "the same, with the output control answered": (answered, samples, first),
        "a joint step, with residuals and its end": (run(joint), samples, _progress(first)),
        "a free step of recurrent backpropagation": (
            run(FreeProblem(system, tolerance)),
            drives,
            _progress(states),
        ),
        "an adjoint step of recurrent backpropagation": (
            run(AdjointProblem(system, tolerance)),
            linear,
            _progress(states),
        ),
    }


def _progress(start: PyTree) -> Progress:
    return Progress.first(start, None, BATCH, jnp.float32)


def measure() -> list[dict[str, Any]]:
    """Returns a row for each part."""

    def compiled(step: Callable, samples: PyTree, start: PyTree) -> Callable[[], PyTree]:
        def loop(samples: PyTree, start: PyTree) -> PyTree:
            return jax.lax.fori_loop(0, STEPS, lambda _, z: jax.vmap(step)(samples, z), start)

        program = jax.jit(loop).lower(samples, start).compile()
        return lambda: jax.block_until_ready(program(samples, start))

    calls = {name: (compiled(*part), STEPS) for name, part in parts().items()}
    times = timed(calls, ROUNDS)
    return [{"part": name, "us": Spread.of(values)._asdict()} for name, values in times.items()]


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    on_one_core()
    rows = measure()
    for row in rows:
        print(f"{row['us']['median']:8.1f} us  {row['part']}")
    if given.json is not None:
        sizes = {"batch_size": BATCH, "width": WIDTH}
        write_json(given.json, {"parts": rows, **sizes, **origin()})


if __name__ == "__main__":
    main()

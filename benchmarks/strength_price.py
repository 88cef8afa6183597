"""What a training step costs whose control removes half of the loss, beside backpropagation's.

    python benchmarks/strength_price.py --data-dir data --json results/strength-price.json

Each network is trained for a little with half of the loss removed. Then the step of that training,
and others that might be cheaper, are compiled as `leastcontrol bench` does it and timed in turn
with the step of backpropagation on the same batches, or of recurrent backpropagation for the deep
equilibrium model. The κ of every step removes half of the loss of these batches. Times are those of
one core.

The products of a step are counted. A solve of an ordered system is a pass forward and back for each
sweep, and the gain is one more. That of a deep equilibrium model has a free state and an adjoint,
step by step, for the gain, and then joint steps.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _counting import SampleWork
from _origin import origin
from _profile import on_one_core
from _shares import kappa_for, removed_by, trained_by
from kinks import EQUILIBRIUM

from leastcontrol.bench.timing import Step, compile_step, interleaved
from leastcontrol.controllers import Quick, RelativeLeak
from leastcontrol.equilibrium import (
    AdjointSystem,
    Controlled,
    FixedPoint,
    Linearised,
    Tolerance,
)
from leastcontrol.equilibrium._free_equilibrium import approach
from leastcontrol.equilibrium._free_gain import _APPROXIMATE, _STEPS
from leastcontrol.files import write_json
from leastcontrol.losses import CrossEntropy
from leastcontrol.rules import (
    AbstractRule,
    Backpropagation,
    Batch,
    LeastControl,
    RecurrentBackpropagation,
    WithBatchStatistics,
)
from leastcontrol.runs.config import RunConfig
from leastcontrol.systems import AbstractBatchNormalised, AbstractOrderedSystem, AbstractSystem

SHARE = 0.5
BATCHES = 4
SHARE_MISSED, MOST_SOLVES = 0.005, 30
KEY = jax.random.key(0)
FEW = {"validation_fraction": 0.95}
RESIDUAL = {"system": "residual", "hidden": (64,), "depth": 50, "preprocessing": "standardise"}


class Case(NamedTuple):
    """A network: its data, the words that train it, and the bar of the time of a step."""

    data: str
    words: dict[str, Any]
    bar: float


CASES = {
    "feedforward 784-256-256-10": Case(
        "mnist", {**FEW, "system": "feedforward", "hidden": (256, 256)}, 2.0
    ),
    "50 residual blocks of 64, tanh": Case(
        "fashion-mnist", {**FEW, **RESIDUAL, "activation": "tanh"}, 2.5
    ),
    "50 residual blocks of 64, relu": Case(
        "fashion-mnist", {**FEW, **RESIDUAL, "activation": "relu"}, 2.5
    ),
    "convolutional, strided": Case(
        "fashion-mnist",
        {**FEW, "system": "convolutional", "convolutions": "strided", "hidden": (48,)},
        3.5,
    ),
    "deep equilibrium, swapped cell": Case(
        "fashion-mnist",
        {**FEW, **EQUILIBRIUM, "cell": "swapped", "jacobian_penalty": 0.3},
        1.6,
    ),
}

# Each without the safeguard, which a training calls only for a batch that is not solved without it.
# What the share is asked of: a leak of its own for each sample, or one leak for all, which is the
# mean gain of an earlier batch times κ.
Leak = Callable[[jax.Array, jax.Array], Any]
EACH: Leak = lambda kappa, gain: RelativeLeak(kappa)  # noqa: E731
ALL: Leak = lambda kappa, gain: float(kappa * gain)  # noqa: E731
LOOSE, LOOSER = Tolerance(1e-3), Tolerance(1e-2)
AS_TRAINED = "as trained"
VARIANTS: dict[str, tuple[Any, Leak]] = {
    AS_TRAINED: (Quick(), EACH),
    "tolerance of 1e-3": (Quick(LOOSE), EACH),
    "tolerance of 1e-2": (Quick(LOOSER), EACH),
    "one leak for all samples": (Quick(), ALL),
}


def suited(system: AbstractSystem, rule: AbstractRule) -> AbstractRule:
    """Returns the rule as a training uses it for the system."""
    return WithBatchStatistics(rule) if isinstance(system, AbstractBatchNormalised) else rule


def baseline_of(system: AbstractSystem) -> AbstractRule:
    """Returns the rule whose step the others are compared with."""
    if isinstance(system, AbstractOrderedSystem):
        return Backpropagation()
    return RecurrentBackpropagation()


def gain_steps(system: AbstractSystem, batch: Batch) -> tuple[float, float]:
    """Computes the mean numbers of steps of the free states and of the adjoints for the gain."""
    drives = jax.vmap(system.drive)(batch.inputs)
    solver = FixedPoint(_STEPS)
    free = approach(system, Controlled(drives, None), solver=solver, tolerance=_APPROXIMATE)
    slopes = jax.vmap(CrossEntropy().gradient)(jax.vmap(system.readout)(free.states), batch.targets)
    points = Controlled(Linearised(drives, free.states, slopes), None)
    adjoint = approach(AdjointSystem(system=system), points, solver=solver, tolerance=_APPROXIMATE)
    return float(free.steps.mean()), float(adjoint.steps.mean())


def products(system: AbstractSystem, batch: Batch, leak: Leak, steps: float) -> float:
    """Counts the products of a step of least control for one sample."""
    work = SampleWork.of(system, batch.inputs[0])
    total = work.step("least control", steps).products
    if leak is ALL:
        return total
    if work.ordered:
        return total + work.solve("backpropagation", 1).products
    states, adjoints = gain_steps(system, batch)
    # The gain's free state takes the place of the free steps that a joint iteration begins with.
    total -= work.step("least control", 0).products - work.rest.products
    return total + states * work.field.products + adjoints * work.pullback.products


def distance(step: Step, other: Step) -> float:
    """Computes the distance of the gradients of two steps, relative to the second."""
    flat = [np.concatenate([np.ravel(leaf) for leaf in one.gradient]) for one in (step, other)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1]))


def removed_by_all(controller: Any, system: AbstractSystem, batch: Batch, leak: float) -> float:
    """Computes the share of the loss that one leak for all samples removes."""
    rule = LeastControl(controller, leak)

    @eqx.filter_jit
    def shares(system: AbstractSystem) -> tuple[jax.Array, jax.Array]:
        credit = rule(system, None, batch)
        measure = rule.aspects.removed
        assert measure is not None
        return measure(system, batch, credit), credit.loss

    return float(shares(system)[0])


def measured(name: str, options: Any) -> list[dict[str, Any]]:
    """Trains a network; returns a row for the baseline and for each kind of step."""
    case = CASES[name]
    config = RunConfig.of(
        **case.words,
        data=case.data,
        data_dir=options.data_dir / case.data,
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        rule="least-control",
        strength=f"{SHARE}",
    )
    result, splits = trained_by(config, options.seed)
    system, loss = result.system, CrossEntropy()
    count = BATCHES * options.batch_size
    inputs, targets = (
        jnp.asarray(values[:count]) for values in (splits.train.inputs, splits.train.targets)
    )
    whole = Batch(inputs, targets)
    batches = jax.tree.map(lambda leaf: leaf.reshape(BATCHES, -1, *leaf.shape[1:]), whole)
    if isinstance(system, AbstractBatchNormalised):
        system = system.with_batch_statistics(inputs)
    kappa = kappa_for(
        SHARE, Quick(), system, loss, whole, missed=SHARE_MISSED, most_solves=MOST_SOLVES
    )
    removed, gain, _ = removed_by(Quick(), system, loss, whole, kappa)
    base = compile_step(system, suited(system, baseline_of(system)), batches, KEY)
    steps: dict[str, Step] = {}
    shares: dict[str, float] = {}
    for variant in options.variants:
        controller, leak_of = VARIANTS[variant]
        leak = leak_of(kappa, gain)
        rule = LeastControl(controller, leak)
        steps[variant] = compile_step(system, suited(system, rule), batches, KEY)
        shares[variant] = (
            float(removed) if leak_of is EACH else removed_by_all(controller, system, whole, leak)
        )
    timings = interleaved(
        base, list(steps.values()), repeats=options.repeats, seconds=options.seconds
    )
    assert base.solves is not None
    work = SampleWork.of(system, inputs[0])
    baseline = (
        work.step("backpropagation", 1)
        if work.ordered
        else work.step("recurrent backpropagation", base.solves.steps_mean)
    ).products
    about = {"case": name, "bar": case.bar, "batch_size": options.batch_size}
    rows = [
        {
            **about,
            "step": "baseline",
            "ms": timings[0].ms._asdict(),
            "steps": base.solves.steps_mean,
            "solved": base.solves.converged_fraction,
        }
    ]
    for (variant, step), timing in zip(steps.items(), timings[1:], strict=True):
        assert step.solves is not None
        counted = products(system, whole, VARIANTS[variant][1], step.solves.steps_mean)
        rows.append(
            {
                **about,
                "step": variant,
                "removed": shares[variant],
                "ms": timing.ms._asdict(),
                "ratio": timing.ratio._asdict(),
                "products_ratio": counted / baseline,
                "steps": step.solves.steps_mean,
                "solved": step.solves.converged_fraction,
                "gradient_distance": distance(step, steps[options.variants[0]]),
            }
        )
        row = rows[-1]
        print(
            f"{name}, {variant}: {row['ratio']['median']:.2f} × in time, "
            f"{row['products_ratio']:.2f} × in products, {row['steps']:.1f} steps, "
            f"solved {row['solved']:.4f}, removed {row['removed']:.3f}, "
            f"gradient {row['gradient_distance']:.1e} apart",
            flush=True,
        )
    return rows


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with mnist and fashion-mnist"
    )
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    options = parser.parse_args()
    on_one_core()
    names = ("epochs", "batch_size", "seed")
    result: dict[str, Any] = {name: getattr(options, name) for name in names}
    result["rows"] = []
    for name in options.cases:
        result["rows"] += measured(name, options)
        if options.json is not None:
            write_json(options.json, {**result, **origin()})


if __name__ == "__main__":
    main()

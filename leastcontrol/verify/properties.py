"""Properties of least control, checked on random systems in double precision.

Every expected value comes from a definition and not from the solvers under test: the minimal energy
from plain gradient descent on F, a gradient from central differences of that energy, a local update
from the outer product of its control and activity.

Three small systems (feedforward, recurrent, and a user-defined f without output neurons) share the
checks that need only credits, so that each rule is compiled once per system. Separate checks cover
the limits of weak and strong control, batches, and the recurrent form of a feedforward network.
Reference vectors are replayed by `vectors`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..controllers import AbstractController, DynamicInversion, Energy, Exact
from ..equilibrium import ControlProblem, FixedPoint, Point, Sample, Tolerance, solved
from ..losses import AbstractLoss, CrossEntropy, SquaredError
from ..rules import (
    AbstractRule,
    Backpropagation,
    Batch,
    Credit,
    LeastControl,
    RecurrentBackpropagation,
)
from ..systems import AbstractSystem, EquilibriumRNN, Feedforward, FunctionSystem
from .rows import Row, judged
from .vectors import read_vectors, recurrent_network, replay

# Required accuracy: 1e-6 for gradients and equilibria, 0.1 for the order of first-order limits.
AGREEMENT = 1e-6
SLOPE = 0.1
# Both sides are equal by construction, up to rounding and residuals.
IDENTITY = 1e-9

TOLERANCE = Tolerance(relative=1e-12)
LEAK = 0.5
INPUTS, OUTPUTS, SAMPLES = 3, 3, 3
LARGE_BATCH = 16  # large enough that the driver splits the batch

MIXED = FixedPoint(max_steps=2000, memory=10)
CONTROLLERS: dict[str, AbstractController] = {
    "dynamic-inversion": DynamicInversion(TOLERANCE, MIXED),
    "energy": Energy(TOLERANCE, FixedPoint(max_steps=1000)),
    "exact": Exact(TOLERANCE),
}


class Case(NamedTuple):
    """A random system with a loss and a batch for it."""

    name: str
    system: AbstractSystem
    loss: AbstractLoss
    batch: Batch


def verify(
    vectors: Sequence[Path] = (),
    *,
    seed: int = 0,
    report: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Checks the properties of the method and replays reference vectors, with a row for each check.

    Computes in double precision, without changing the setting of the caller. A row is a dictionary
    for JSON:

    * `name`: the property and the system, or the vector and its array, as in
      `ff_lcp-di/grad/weight`.
    * `error`, `tolerance`: the check passes if the first is at most the second. `error` is `None`
      if a sample was not solved or the error is not finite.
    * `ok`: `True` or `False`; `None` for unsupported checks.
    * `status`: `"passed"`, `"failed"` or `"unsupported"`.
    * `detail`: a sentence that says what was compared.

    **Arguments:**

    * `vectors`: files of reference vectors, or folders with such files.
    * `seed`: of the random systems.
    * `report`: called with each row as soon as it is known.

    **Raises:** `VectorError`, before any computation, for a path or file that is not a reference
    vector.
    """
    read = read_vectors(vectors)
    with jax.enable_x64(True):
        cases = _cases(jax.random.key(seed))
        feedforward, recurrent, _ = cases
        larger = _with_more_samples(recurrent, seed)
    recurrent_backpropagation = RecurrentBackpropagation(tolerance=TOLERANCE, solver=MIXED)
    checks: list[Callable[[], Iterator[Row]]] = [
        partial(check_recurrent_form, feedforward),
        partial(check_batch, feedforward),
        partial(check_batch, larger),
        partial(check_weak_control, feedforward, Backpropagation()),
        partial(check_weak_control, recurrent, recurrent_backpropagation),
        *(partial(check_controllers, case) for case in cases),
        partial(check_strength, feedforward),
        partial(check_strength, recurrent),
        *(partial(replay, vector) for vector in read),
    ]
    rows = []
    # Most of the time is compilation, which releases Python's lock for other checks.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for finished in pool.map(_in_double_precision, checks):
            for row in finished:
                rows.append(row)
                if report is not None:
                    report(row)
    return rows


def _in_double_precision(check: Callable[[], Iterator[Row]]) -> list[Row]:
    # The setting is local to a thread.
    with jax.enable_x64(True):
        return list(check())


@eqx.filter_jit
def _cases(key: PRNGKeyArray) -> tuple[Case, Case, Case]:
    keys = jax.random.split(key, 6)
    inputs = jax.random.normal(keys[0], (SAMPLES, INPUTS))
    outputs = jax.random.normal(keys[1], (SAMPLES, OUTPUTS))
    soft_labels = Batch(inputs, jax.nn.softmax(outputs))
    values = Batch(inputs, outputs)
    feedforward = Feedforward(INPUTS, (5, 4), OUTPUTS, key=keys[2])
    recurrent = EquilibriumRNN(INPUTS, 5, OUTPUTS, key=keys[3])
    start = {"excited": np.zeros(4), "gated": np.zeros(3)}
    function = FunctionSystem(
        _gated_field, _gated_readout, _gated_params(keys[4]), start, output_neurons=False
    )
    return (
        Case("feedforward", feedforward, CrossEntropy(), soft_labels),
        Case("recurrent", recurrent, SquaredError(), values),
        Case("function", function, SquaredError(), values),
    )


def _gated_params(key: PRNGKeyArray) -> dict[str, Array]:
    shapes = {"U": (4, INPUTS), "W": (4, 3), "V": (3, 4), "gate": (3,), "D": (OUTPUTS, 7)}
    return {
        name: 0.3 * jax.random.normal(part, shape)
        for part, (name, shape) in zip(
            jax.random.split(key, len(shapes)), shapes.items(), strict=True
        )
    }


def _gated_field(params: PyTree, state: PyTree, x: Array) -> PyTree:
    """Computes a user-defined f with a pytree as state and a gain among its parameters."""
    excited = jnp.tanh(params["U"] @ x + params["W"] @ state["gated"])
    gated = jax.nn.sigmoid(params["gate"]) * jnp.tanh(params["V"] @ state["excited"])
    return {"excited": excited - state["excited"], "gated": gated - state["gated"]}


def _gated_readout(params: PyTree, state: PyTree) -> Array:
    return params["D"] @ jnp.concatenate([state["excited"], state["gated"]])


@eqx.filter_jit
def _credit(rule: AbstractRule, system: AbstractSystem, batch: Batch) -> Credit:
    return rule(system, None, batch)


def _unsolved(credit: Credit) -> int:
    return int(np.sum(~np.asarray(solved(credit.solution))))


def _distance(tree: PyTree[Any], reference: PyTree[Any]) -> float:
    """Computes the largest relative distance of two corresponding leaves."""
    pairs = zip(_leaves(tree), _leaves(reference), strict=True)
    return _largest(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs)


def _leaves(tree: PyTree[Any]) -> list[np.ndarray]:
    """Converts the leaves to NumPy, which compares small arrays without compilation."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _flat(tree: PyTree[Any]) -> np.ndarray:
    return np.concatenate([leaf.ravel() for leaf in _leaves(tree)])


def _largest(errors: Iterable[Any]) -> float:
    """Computes the maximum, which is NaN if any number is, unlike Python's `max`."""
    return float(np.max([float(error) for error in errors]))


def _order(errors: Sequence[Any], scales: Sequence[float]) -> float:
    """Computes the exponent p of two errors proportional to scale**p; NaN if undefined."""
    with np.errstate(all="ignore"):
        return float(np.log(np.float64(errors[0]) / errors[1]) / np.log(scales[0] / scales[1]))


def check_controllers(case: Case) -> Iterator[Row]:
    """Checks the credits of the exact controllers.

    Yields rows for theorem 1 by central differences, the agreement of the equilibria, locality, and
    zero control for targets that the free system meets.
    """
    differences = central_differences(case, LEAK)
    rules = {
        name: LeastControl(controller, leak=LEAK, loss=case.loss)
        for name, controller in CONTROLLERS.items()
    }
    credits = {}
    for name, rule in rules.items():
        credits[name] = credit = _credit(rule, case.system, case.batch)
        yield judged(
            f"theorem-1/{case.name}/{name}",
            _distance(_flat(credit.gradient), differences),
            AGREEMENT,
            f"The gradient against central differences of min F in {differences.size} parameters.",
            unsolved=_unsolved(credit),
        )
    exact = credits["exact"]
    for name in ("dynamic-inversion", "energy"):
        yield judged(
            f"agreement/{case.name}/{name}",
            _distance(credits[name].solution.value, exact.solution.value),
            AGREEMENT,
            "The rest point (φ, ψ, u) against that of the exact controller.",
            unsolved=_unsolved(credits[name]) + _unsolved(exact),
        )
    if isinstance(case.system, Feedforward | EquilibriumRNN):
        yield judged(
            f"locality/{case.name}",
            _largest(
                _distance(credit.gradient, local_gradient(case.system, case.batch.inputs, credit))
                for credit in credits.values()
            ),
            IDENTITY,
            "The update of each layer against its control times its input.",
            unsolved=sum(map(_unsolved, credits.values())),
        )
    fitted = Batch(case.batch.inputs, fitted_targets(case))
    for name, rule in rules.items():
        credit = _credit(rule, case.system, fitted)
        yield judged(
            f"fitted/{case.name}/{name}",
            _largest(np.asarray(credit.solution.stats.control_norm)),
            IDENTITY,
            "The control ‖(ψ, u)‖ for targets that the free system meets.",
            unsolved=_unsolved(credit),
        )


def central_differences(case: Case, leak: float) -> Float[Array, " parameters"]:
    """Computes the batch mean of ∂ min F / ∂θ by central differences in every parameter.

        F = ½‖f(φ)‖² + ½‖y − h(φ)‖² + L(y)/α

    is minimised by gradient descent in (φ, y); without output neurons y = h(φ). The result is NaN
    if a descent does not converge.
    """
    learned, fixed = eqx.partition(case.system, eqx.is_inexact_array)
    theta, unravel = ravel_pytree(learned)
    # The relative errors are step² = 1e-8 and rounding/step = 1e-12.
    step = 1e-4

    def energy(
        point: tuple[PyTree, Array], system: AbstractSystem, x: Array, target: Array
    ) -> Array:
        state, output = point
        field = system.vector_field(state, system.drive(x))
        read = system.readout(state)
        output = output if system.output_neurons else read
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves((field, output - read)))
        return 0.5 * squares + case.loss(output, target) / leak

    def least(theta: Array, x: Array, target: Array) -> Array:
        system = eqx.combine(unravel(theta), fixed)
        slope = jax.grad(lambda point: energy(point, system, x, target))
        start = (system.initial_state(system.drive(x)), jnp.zeros(OUTPUTS))
        descend = lambda _, point: jax.tree.map(lambda p, s: p - 0.1 * s, point, slope(point))  # noqa: E731
        point = jax.lax.fori_loop(0, 3000, descend, start)
        # At a minimum the energy error is quadratic in the error of the point.
        at_rest = jnp.linalg.norm(ravel_pytree(slope(point))[0]) < 1e-8
        return jnp.where(at_rest, energy(point, system, x, target), jnp.nan)

    @jax.jit
    def mean_least(thetas: Array) -> Array:
        of_batch = jax.vmap(least, in_axes=(None, 0, 0))
        return jax.vmap(lambda theta: jnp.mean(of_batch(theta, *case.batch[:2])))(thetas)

    shifts = step * jnp.eye(theta.size)
    return (mean_least(theta[None] + shifts) - mean_least(theta[None] - shifts)) / (2 * step)


def local_gradient(
    system: Feedforward | EquilibriumRNN, inputs: Array, credit: Credit
) -> list[np.ndarray]:
    """Computes the leaves of the gradient as outer products of each layer's control and input."""
    state, control, output_control = jax.tree.map(np.asarray, credit.solution.value)
    if isinstance(system, Feedforward):
        before = [np.asarray(inputs), *map(np.tanh, state)]
        connections = zip([*control, output_control], before, strict=True)
        return [leaf for post, pre in connections for leaf in (_outer(post, pre), _bias(post))]
    active = np.tanh(state)
    return [
        _outer(control, np.asarray(inputs)),
        _bias(control),
        _outer(control, active),
        _outer(output_control, active),
        _bias(output_control),
    ]


def _outer(post: np.ndarray, pre: np.ndarray) -> np.ndarray:
    return -np.mean(post[:, :, None] * pre[:, None, :], axis=0)


def _bias(post: np.ndarray) -> np.ndarray:
    return -np.mean(post, axis=0)


def fitted_targets(case: Case) -> Array:
    """Computes targets that the free system meets, by iterating φ ← φ + f(φ)."""

    @jax.jit
    def free_outputs(inputs: Array) -> Array:
        def of_one(x: Array) -> Array:
            drive = case.system.drive(x)
            move = lambda _, state: jax.tree.map(  # noqa: E731
                jnp.add, state, case.system.vector_field(state, drive)
            )
            state = jax.lax.fori_loop(0, 500, move, case.system.initial_state(drive))
            return case.system.readout(state)

        return jax.vmap(of_one)(inputs)

    outputs = free_outputs(case.batch.inputs)
    return jax.nn.softmax(outputs) if isinstance(case.loss, CrossEntropy) else outputs


def check_weak_control(case: Case, baseline: AbstractRule) -> Iterator[Row]:
    """Checks that α·∇ min F converges to the gradient of the loss with an error of order β."""
    baseline = eqx.tree_at(lambda rule: rule.loss, baseline, case.loss)
    reference = _credit(baseline, case.system, case.batch)
    target = _flat(reference.gradient)
    strengths = (1e-2, 1e-3)
    errors, unsolved = [], _unsolved(reference)
    for strength in strengths:
        rule = LeastControl(CONTROLLERS["dynamic-inversion"], leak=1 / strength, loss=case.loss)
        credit = _credit(rule, case.system, case.batch)
        errors.append(_distance(_flat(credit.gradient) / strength, target))
        unsolved += _unsolved(credit)
    yield judged(
        f"weak-control/{case.name}",
        abs(_order(errors, strengths) - 1),
        SLOPE,
        f"The order in β of the distance of Δθ/β to {type(baseline).__name__}, against 1.",
        unsolved=unsolved,
    )


def check_strength(case: Case) -> Iterator[Row]:
    """Checks that min F grows with β, stays below the least control H, and converges to it."""
    loss = SquaredError()
    samples = Sample(jax.vmap(case.system.drive)(case.batch.inputs), case.batch.targets)

    @jax.jit
    def least(leak: Array) -> tuple[Array, Array]:
        problem = ControlProblem(case.system, loss, leak)
        solution = CONTROLLERS["dynamic-inversion"].equilibrium(problem, samples)

        def energy(sample: Sample, point: Point) -> Array:
            square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(point.control))
            read = case.system.readout(point.state)
            return problem.energy(sample, jnp.asarray(square), read, point.output_control)

        return jax.vmap(energy)(samples, solution.value), jnp.sum(~solved(solution))

    strengths = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    solutions = [least(jnp.asarray(leak)) for leak in (*(1 / s for s in strengths), 0.0)]
    unsolved = sum(int(count) for _, count in solutions)
    *energies, bound = (np.asarray(energy) for energy, _ in solutions)
    drops = [(weak - strong) / strong for weak, strong in pairwise(energies)]
    yield judged(
        f"monotone/{case.name}",
        float(np.maximum(0, np.max(drops))),
        IDENTITY,
        "The largest relative drop of min F from one control strength to the next.",
        unsolved=unsolved,
    )
    yield judged(
        f"bounded/{case.name}",
        float(np.maximum(0, np.max([(energy - bound) / bound for energy in energies]))),
        IDENTITY,
        "The largest relative excess of min F over the least control H.",
        unsolved=unsolved,
    )
    gaps = [np.sum(bound - energy) for energy in energies[-2:]]
    yield judged(
        f"strong-control/{case.name}",
        abs(_order(gaps, (1 / strengths[-2], 1 / strengths[-1])) - 1),
        SLOPE,
        "The order in 1/β of the distance of min F to the least control H, against 1.",
        unsolved=unsolved,
    )


def _with_more_samples(case: Case, seed: int) -> Case:
    inputs, targets = np.random.default_rng(seed).normal(size=(2, LARGE_BATCH, INPUTS))
    return case._replace(batch=Batch(jnp.asarray(inputs), jnp.asarray(targets)))


def check_batch(case: Case) -> Iterator[Row]:
    """Checks that the update of a batch is the mean of the updates of its samples."""
    rule = LeastControl(CONTROLLERS["dynamic-inversion"], leak=LEAK, loss=case.loss)
    together = _credit(rule, case.system, case.batch)
    size = case.batch.inputs.shape[0]
    inputs, targets = map(np.asarray, case.batch[:2])
    alone = [
        _credit(rule, case.system, Batch(jnp.asarray(x), jnp.asarray(target)))
        for x, target in zip(inputs[:, None], targets[:, None], strict=True)
    ]
    gradient = np.mean([_flat(credit.gradient) for credit in alone], axis=0)
    points = [
        np.concatenate(leaves)
        for leaves in zip(*(_leaves(credit.solution.value) for credit in alone), strict=True)
    ]
    yield judged(
        f"batch/{case.name}",
        _largest(
            [
                _distance(_flat(together.gradient), gradient),
                _distance(together.solution.value, points),
            ]
        ),
        IDENTITY,
        f"Update and rest points of a batch of {size} against those of its samples alone.",
        unsolved=_unsolved(together) + sum(map(_unsolved, alone)),
    )


def check_recurrent_form(case: Case) -> Iterator[Row]:
    """Checks that recurrent backpropagation equals backpropagation on a feedforward network.

    The network is written as a recurrent network with block lower triangular W.
    """
    system = case.system
    assert isinstance(system, Feedforward)
    first, second, last = jax.tree.map(np.asarray, system.layers)
    before, after = first.bias.size, second.bias.size
    recurrent = recurrent_network(
        np.pad(first.weight, ((0, after), (0, 0))),
        np.concatenate([first.bias, second.bias]),
        np.pad(second.weight, ((before, 0), (0, after))),
        np.pad(last.weight, ((0, 0), (before, 0))),
        last.bias,
    )
    expected = _credit(Backpropagation(case.loss), system, case.batch)
    rule = RecurrentBackpropagation(case.loss, TOLERANCE, MIXED)
    recurrent_credit = _credit(rule, recurrent, case.batch)
    part: Any = recurrent_credit.gradient
    yield judged(
        "recurrent-form/feedforward",
        _distance(
            [
                part.input.weight[:before],
                part.input.bias[:before],
                part.recurrent[before:, :before],
                part.input.bias[before:],
                part.output.weight[:, before:],
                part.output.bias,
            ],
            expected.gradient,
        ),
        AGREEMENT,
        "RecurrentBackpropagation against Backpropagation on the same feedforward network.",
        unsolved=_unsolved(expected) + _unsolved(recurrent_credit),
    )

"""The least-control rule, for systems of the library and for a user's functions f and h."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from ..controllers import (
    AbstractController,
    AbstractOutputControl,
    Automatic,
    Exact,
    as_output_control,
)
from ..equilibrium import Point, Sample, Solution, energy_and_loss, solved
from ..equilibrium._trees import dot, tree_add, tree_scale
from ..losses import AbstractLoss, AnyLoss, CrossEntropy, FunctionLoss, Outputs, as_loss
from ..systems import AbstractSystem, FunctionSystem, pullback_around_rest
from ._policy import AbstractUnsolved, Chosen, Drop
from ._quick import Safeguarded
from ._rule import (
    AbstractRule,
    Aspects,
    Batch,
    Control,
    Counted,
    Credit,
    Equations,
    check_batch,
    check_values,
    outputs_of,
    parameter_gradient,
    share_removed,
    split_by_tangents,
    with_admitted_targets,
)
from ._signature import Signature, of_strong_types

Estimate = tuple[Array, PyTree[Any], Solution[Point]]
SystemOf = Callable[[PyTree[Any]], FunctionSystem]

# Number of signatures that an estimator remembers.
_SIGNATURES = 64


class LeastControl(AbstractRule):
    """Descends the control that a good output needs (arXiv 2207.01332, theorem 1).

    For each sample the controller finds the controlled equilibrium (φ⋆, ψ⋆, u⋆), the solution of

        min_φ F(φ, θ),   F = ½‖ψ‖² + ½‖u‖² + L(y, t)/α,   ψ = −f(φ, θ, x).

    The gradient of the minimum in θ is exact and takes first derivatives only:
    ∇_θ min F = −∂_θfᵀψ⋆ − ∂_θhᵀu⋆. For α → 0 it becomes the gradient of the least control ½‖ψ⋆‖²;
    for α → ∞, multiplied by α, the gradient of the loss. `docs/derivations/least-control.md`
    derives both. With a `RelativeLeak` each sample's F is multiplied by its leak.

    **Arguments:**

    * `controller`: finds the controlled equilibria.
    * `leak`: α ≥ 0 for one sample's loss, as a number or as an output controller; β = 1/α is the
      control strength.
    * `loss`: of one sample; by default the cross-entropy.
    * `unsolved`: the policy for unsolved samples; by default they are dropped.

    **Raises:** `ValueError` if the leak is not a number of at least 0, for a leak of 0 with one-hot
    targets, and for inputs and targets that do not fit.
    """

    controller: AbstractController
    output_control: AbstractOutputControl
    loss: AbstractLoss
    unsolved: AbstractUnsolved

    def __init__(
        self,
        controller: AbstractController,
        leak: float | AbstractOutputControl,
        *,
        loss: AnyLoss | None = None,
        unsolved: AbstractUnsolved | None = None,
    ):
        self.controller = controller
        self.output_control = as_output_control(leak)
        self.loss = CrossEntropy() if loss is None else as_loss(loss)
        self.unsolved = Drop() if unsolved is None else unsolved

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws the controller's feedback weights."""
        return self.controller.init(system, key=key)

    @property
    def aspects(self) -> Aspects:
        return Aspects(
            self,
            control=Control(self.controller, self.loss, self.output_control, descended=True),
            path=self.controller.path,
            with_exact_control=self.with_exact_control,
            removed=share_removed(self.loss, self.unsolved),
            # Of a leak of its own, which is measured, a sample's equations know nothing.
            equations=None
            if self.output_control.in_loss_units
            else Equations(self._unknowns, self._residual, self._signals),
        )

    def _unknowns(self, system: AbstractSystem, batch: Batch, solution: Solution[Point]) -> Any:
        del system, batch
        point = solution.value
        return point.state, (point.control, point.output_control)

    def _residual(self, system: AbstractSystem, sample: Sample, unknowns: Any) -> Any:
        state, (control, output_control) = unknowns
        problem = self.output_control.problem(system, self.loss)
        field, read, pull = pullback_around_rest(system, state, sample.drive)
        output = read + problem.own_gain * output_control
        slope = self.loss.gradient(output, sample.target)
        behind = pull(control, output_control), problem.leak_of(sample) * output_control + slope
        return tree_add(field, control), behind

    def _signals(self, system: AbstractSystem, sample: Sample, unknowns: Any) -> Any:
        del sample
        state, (control, output_control) = unknowns
        signal = self.controller.teaching_control(system, Point(state, control, output_control))
        return tree_scale(-1.0, signal), -output_control

    def with_exact_control(self, solution: Solution) -> "LeastControl":
        """Builds the rule with `Exact`, over the samples that this rule counts in a solution."""
        same = Chosen(self.unsolved.weights(solution))
        return LeastControl(Exact(), self.output_control, loss=self.loss, unsolved=same)

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        check_batch(system, self.loss, batch, self.checked_leak)
        if self.output_control.unlimited and not system.output_neurons:
            raise ValueError(
                "The leak is 0 and the system has no output neurons, for which no controller is "
                "built: write FunctionSystem(..., output_neurons=True), or a leak above 0."
            )
        problem = self.output_control.problem(system, self.loss)
        samples = Sample(jax.vmap(system.drive)(batch.inputs), batch.targets, batch.start)
        samples, weights, free_loss = self.output_control.ask(problem, samples)
        solution = self.controller.equilibrium(problem, samples, feedback)
        outputs = solution.value.output_control.shape[1]
        solution = with_admitted_targets(solution, self.loss, batch.targets, outputs)
        counted = Counted.in_batch(batch, self.unsolved, solution)
        kept = (batch.inputs, samples, solution.value, solution.shares)
        inputs, samples, point, shares = counted.safe(kept)
        objective, loss = jax.vmap(lambda s, p: energy_and_loss(problem, s, p))(samples, point)
        scaled = counted
        if weights is not None:
            weights = counted.safe(weights)
            objective = weights * objective
            scaled = Counted(counted.weights * weights, counted.count)
        signal = jax.vmap(lambda p: self.controller.teaching_control(system, p))(point)
        gradient = parameter_gradient(
            system,
            inputs,
            point.state,
            *jax.tree.map(jnp.negative, scaled.weighted((signal, point.output_control))),
            shares=shares,
        )
        feedback_gradient = self.controller.feedback_gradient(
            problem, samples, point, scaled.weights, feedback, key=key
        )
        return Credit(
            counted.gradient(gradient),
            counted.gradient(feedback_gradient),
            counted.mean(objective),
            counted.mean(loss),
            counted.count,
            solution,
            None if free_loss is None else counted.mean(free_loss),
        )

    @property
    def checked_leak(self) -> float:
        """The leak that targets are checked for: 0, or an infinite one in the place of others."""
        return 0.0 if self.output_control.unlimited else math.inf


def least_control(
    vector_field: Callable[[PyTree, PyTree, PyTree], PyTree],
    readout: Callable[[PyTree, PyTree], PyTree[Array]],
    loss: AnyLoss,
    *,
    start: PyTree[Any],
    leak: float | AbstractOutputControl = 1.0,
    controller: AbstractController | None = None,
    unsolved: AbstractUnsolved | None = None,
    output_neurons: bool = True,
) -> Callable[..., Estimate]:
    """Builds an estimator of the least-control objective and its gradient, for your own f and h.

        estimate = least_control(f, h, CrossEntropy(), start=jnp.zeros(64))
        value, gradient, solution = estimate(params, x, target)

    `value` is the batch mean of min_φ ½‖ψ‖² + ½‖u‖² + L(y, t)/α, and `gradient` is its exact
    gradient in `params` (arXiv 2207.01332, theorem 1). The solve is neither unrolled nor stored.
    `solved(solution)` tells for each sample whether its equilibrium was found; by default unsolved
    samples are left out of the value and the gradient.

    `value` is differentiable by JAX, so that what comes before the system trains with it:
    `jax.grad` of it is `gradient` in `params`, −∂_xfᵀψ⋆/B in the inputs of the B samples that
    count, and ∂_tL/(αB) in targets of floating point. These are first derivatives at the
    equilibrium and differentiate nothing through the solve; second derivatives are refused.
    `gradient` and `solution` are constants to JAX.

    `gradient` is zero for integer and boolean arrays in `params`, so that Optax passes them on, and
    `None` for what is not an array: initialise Optax with `eqx.filter(params, eqx.is_array)` then,
    and update by `eqx.apply_updates`.

    The first call compiles for the shapes and types of its arguments. The safeguard of `Automatic`,
    which is most of what has to be compiled, is compiled when the first batch needs it. Inside of a
    program that JAX compiles, such as a `jax.jit` of your own, nothing can be compiled later, so
    there it is compiled with the rest.

    `estimate(params, x, target, weights)` takes the mean with one weight of at least 0 for each
    sample, or with a boolean mask, as in `Batch`; the value is differentiable in the weights of the
    samples that count.

    **Arguments:**

    * `vector_field`: f(params, state, x) for one sample, zero at rest; a pytree like the state.
    * `readout`: h(params, state) for one sample, of shape `(outputs,)`; with a function for a loss
      any pytree of arrays, and then `solution.value.output_control` is one vector all the same.
    * `loss`: of one sample: a loss of the library, or a function of the output and the target that
      is convex in the output.
    * `start`: the state from which solvers start: a pytree of arrays, for one sample.
    * `leak`: α ≥ 0; β = 1/α is the control strength.
    * `controller`: by default `Automatic()`, which is quick where f contracts and continues with
      `Exact()`, which needs only the derivatives of f, for the samples that are left.
    * `unsolved`: the policy for unsolved samples; by default they are dropped.
    * `output_neurons`: whether y = h + u at rest (the paper's choice), or y = h.

    **Raises:** `ValueError` if arguments do not fit, when the estimator is built or first called.
    """
    rule = LeastControl(
        Automatic() if controller is None else controller, leak, loss=loss, unsolved=unsolved
    )

    def output_vector(params: PyTree, state: PyTree) -> Array:
        return ravel_pytree(readout(params, state))[0]

    def vector_system(params: PyTree) -> FunctionSystem:
        return system_with(readout, params)

    def pytree_system(params: PyTree) -> FunctionSystem:
        return system_with(output_vector, params)

    def system_with(read: Callable[[PyTree, PyTree], Array], params: PyTree) -> FunctionSystem:
        return FunctionSystem(vector_field, read, params, start, output_neurons=output_neurons)

    def fit(signature: Signature) -> _Fitted:
        """Fits the rule and the system to the shapes of params and a batch, after checks."""
        params, batch = signature.shapes()
        fitted, system_of = rule, vector_system
        if isinstance(rule.loss, FunctionLoss):
            output = eqx.filter_eval_shape(readout, params, jax.tree.map(jnp.asarray, start))
            if not isinstance(output, jax.ShapeDtypeStruct) or len(output.shape) != 1:
                loss = FunctionLoss(rule.loss.function, Outputs.of(output))
                fitted, system_of = eqx.tree_at(lambda r: r.loss, rule, loss), pytree_system
        outputs = outputs_of(system_of(params), batch)
        return _Fitted(fitted, system_of, outputs, Safeguarded(fitted))

    fitted = functools.lru_cache(_SIGNATURES)(fit)

    def solve(
        params: PyTree, batch: Batch, rule: AbstractRule, system_of: SystemOf
    ) -> tuple[Estimate, Bool[Array, ""]]:
        data = (batch.inputs, batch.targets, batch.weights)
        estimate = _valued(params, *data, rule=rule, system_of=system_of)
        done = solved(estimate[2])
        if batch.weights is not None:
            done = done | ~(batch.weights > 0)
        return estimate, jnp.all(done)

    # The derivative of a program within a program cannot close over a traced start.
    within = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(start))
    compiled = solve if within else eqx.filter_jit(solve)

    def estimate(
        params: PyTree, inputs: PyTree, targets: PyTree, weights: Array | None = None
    ) -> Estimate:
        params, batch = of_strong_types((params, Batch(inputs, targets, weights=weights)))
        signature = Signature((params, batch))
        prepared = fitted(signature) if signature.hashable else fit(signature)
        # The values of targets can be checked only here, before they are traced.
        leak = prepared.rule.checked_leak
        check_values(prepared.rule.loss, batch, prepared.outputs, leak)
        return prepared.safeguarded(lambda rule: compiled(params, batch, rule, prepared.system_of))

    return estimate


class _Fitted(NamedTuple):
    """A rule and a system that fit a batch, the number of outputs, and the compiled calls."""

    rule: LeastControl
    system_of: SystemOf
    outputs: int
    safeguarded: Safeguarded


@eqx.filter_custom_jvp
def _estimated(
    params: Any, inputs: Any, targets: Any, weights: Any, *, rule: LeastControl, system_of: SystemOf
) -> Estimate:
    credit = rule(system_of(params), None, Batch(inputs, targets, weights=weights))

    def filled(slope: Any, leaf: Any) -> Any:
        fixed = eqx.is_array(leaf) and not eqx.is_inexact_array(leaf)
        # Keys of random numbers have no zero.
        numbers = fixed and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
        return jnp.zeros_like(leaf) if numbers else slope

    gradient = jax.tree.map(
        filled, credit.gradient.params, params, is_leaf=lambda node: node is None
    )
    return credit.objective, gradient, credit.solution


@_estimated.def_jvp
def _estimated_jvp(primals: Any, tangents: Any, **_: Any) -> Any:
    del primals, tangents
    # Its derivative would be that of the equilibrium, which theorem 1 does without.
    raise ValueError(
        "A second derivative of the least control was asked for, but only first derivatives are "
        "defined, because nothing is differentiated through the solve: differentiate the value "
        "once, or write settle(...), whose derivatives are of any order."
    )


@eqx.filter_custom_jvp
def _valued(
    params: Any, inputs: Any, targets: Any, weights: Any, *, rule: LeastControl, system_of: SystemOf
) -> Estimate:
    return _estimated(params, inputs, targets, weights, rule=rule, system_of=system_of)


@_valued.def_jvp
def _valued_jvp(
    primals: tuple[Any, ...], tangents: tuple[Any, ...], *, rule: LeastControl, system_of: SystemOf
) -> tuple[Estimate, Any]:
    estimate = _estimated(*primals, rule=rule, system_of=system_of)
    value, _, solution = estimate
    batch = Batch(*primals[1:3], weights=primals[3])
    counted = Counted.in_batch(batch, rule.unsolved, solution)
    points = counted.safe(solution.value)
    moving, fixed = split_by_tangents(primals, tangents)
    # If no sample counts there is no safe point, and 0 · NaN must not come out of any product.
    tangents = jax.tree.map(lambda leaf: jnp.where(counted.count > 0, leaf, 0), tangents)
    system = system_of(primals[0])
    problem = rule.output_control.problem(system, rule.loss)
    inputs, targets = primals[1], primals[2]
    samples, scales, _ = rule.output_control.ask(
        problem, Sample(jax.vmap(system.drive)(inputs), targets)
    )
    samples, scales = counted.safe((samples, scales))
    # The leaks, and with them the scales, are constants.
    leaks = jax.vmap(problem.leak_of)(samples)

    def of_one(
        system: AbstractSystem, x: PyTree, target: PyTree, point: Point, leak: Array
    ) -> Array:
        """Computes what depends on θ, x and t in the energy of a fixed point."""
        signal = rule.controller.teaching_control(fixed_system, point)
        field = system.vector_field(point.state, system.drive(x))
        read = system.readout(point.state)
        work = dot(signal, field) + jnp.sum(point.output_control * read)
        own_gain = 1.0 if system.output_neurons else 0.0
        output = fixed_system.readout(point.state) + own_gain * point.output_control
        loss = rule.loss(output, target) / jnp.where(leak > 0, leak, jnp.inf)
        return loss - work

    fixed_system = system

    def energies(moving: PyTree[Any]) -> Array:
        params, inputs, targets, _ = eqx.combine(moving, fixed)
        inputs, targets = counted.safe((inputs, targets))
        of_sample = lambda *sample: of_one(system_of(params), *sample)  # noqa: E731
        changes = jax.vmap(of_sample)(inputs, targets, points, leaks)
        return changes if scales is None else scales * changes

    _, change = jax.jvp(energies, (moving,), (tangents,))
    still = jax.tree.map(lambda _: None, estimate)
    value_change = jnp.sum(counted.weighted(change)).astype(value.dtype)
    if tangents[3] is not None:
        values, _ = jax.vmap(lambda s, p: energy_and_loss(problem, s, p))(samples, points)
        values = values if scales is None else scales * values
        share = tangents[3] / jnp.where(primals[3] > 0, primals[3], 1)
        value_change = value_change + jnp.sum(counted.weighted(share * (values - value)))
    return estimate, (value_change, *still[1:])

"""Rest points of a user's f, differentiable by JAX in all that f depends on.

`settle` is a function of parameters and inputs like any other. Its derivative comes from the
implicit function theorem: at a rest point φ of f(θ, φ, x) = 0,

    ∂_φf dφ + ∂_θf dθ + ∂_xf dx = 0.

The rule is written once, for tangents. Its linear solve has a transpose of its own, ∂_φfᵀa + c = 0
for a cotangent c, so that JAX derives reverse mode, and derivatives of derivatives, from it. Both
directions are free equilibria of linear systems (`leastcontrol.equilibrium.AdjointSystem` and
`TangentSystem`), which the solver of the rest point solves too: no matrix is formed, and no
iteration is stored.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from ..equilibrium import (
    AdjointSystem,
    Certificate,
    Controlled,
    Linearised,
    Solution,
    Solver,
    TangentSystem,
    Tolerance,
    controlled_rest,
    free_equilibrium,
    solved,
    verdict,
    with_stability,
)
from ..systems import AbstractSystem, FunctionSystem
from ._policy import AbstractUnsolved, Drop
from ._rule import Counted, per_sample, split_by_tangents
from ._signature import as_pytree, of_strong_types

State = PyTree[Float[Array, "batch ..."]]


def settle(
    vector_field: Callable[[PyTree, PyTree, PyTree], PyTree],
    params: PyTree[Any],
    x: PyTree[Any],
    *,
    start: PyTree[Any],
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
    unsolved: AbstractUnsolved | None = None,
    stability: bool = False,
    probe: Float[Array, " batch"] | None = None,
) -> Solution[State]:
    """Solves f(params, φ, x) = 0 for each sample of a batch, differentiably.

        solution = settle(f, params, x, start=jnp.zeros(64))
        loss = jnp.mean((solution.value @ readout - target) ** 2)

    `solution.value` holds the rest points φ, with a leading batch axis, and is differentiable in
    `params`, in `x`, and in what f closes over, by `jax.grad`, `jax.jvp` and their compositions.
    Its memory does not depend on the number of iterations. `solved(solution)` tells for each sample
    whether its rest point was found.

    What is checked by shapes is checked, and what is compiled is compiled, once for each signature:
    the code of f, and the structures, shapes and types of all arguments and of what f closes over.
    An f that depends on an object which may change, such as a method of a class of your own, is
    traced and compiled in every call outside of `jax.jit`.

    A sample that does not count under the policy `unsolved` adds nothing to a gradient. This holds
    for a sample whose rest point was not found, and for a sample whose linear equation was not
    solved on the way back. The latter is known only there, so `solution` cannot tell. It shows in
    the gradient in `probe`, which is 1 for each sample whose equation on the way back was not
    solved, and 0 for the others:

        def loss(params, probe):
            states = settle(f, params, x, start=start, probe=probe).value
            return ...

        gradient, missed = jax.grad(loss, argnums=(0, 1))(params, jnp.zeros(batch))

    If it was solved for none of the samples that a loss depends on, the gradient is NaN; `Keep()`
    counts such samples all the same, and `RaiseError()` stops. `gradient_certificate` measures the
    equation for a given cotangent. A mean over the batch still divides by all samples; weigh by
    `solved(solution)` to divide by those that count. If a sample is not finite, its value is its
    start, so that what is computed from it, and then left out, stays finite.

    **Arguments:**

    * `vector_field`: f(params, state, x) for one sample, zero at rest; a pytree like the state.
    * `params`: any pytree, the same for all samples.
    * `x`: a pytree of arrays with a leading batch axis. Those that are not of floating point, such
      as masks, labels and keys, reach f unchanged.
    * `start`: the state from which the solver starts: a pytree of arrays, for one sample or with a
      leading batch axis. Where both readings fit f, it is one for each sample. No gradient passes.
    * `solver`: of the rest point and of the linear equation, as for `free_equilibrium`. A
      fixed-point iteration needs φ + f to contract; `TrustRegion()` does not.
    * `tolerance`: of both.
    * `unsolved`: the policy for unsolved samples; by default they are dropped.
    * `stability`: whether to compute the largest real part of the spectrum of ∂_φf at each rest
      point, as `solution.stats.largest_real_part`. If it is above
      `solution.stats.stability_accuracy`, the dynamics φ̇ = f leave the rest point, and the sample
      is `RESULTS.unstable` and not solved. For a state of at most 32 numbers it is exact up to
      rounding; for a larger one Arnoldi's method takes 32 products with ∂_φf, and as many again for
      each of at most 15 restarts. It finds the rightmost eigenvalue unless another one hides it.
    * `probe`: one number for each sample. No value depends on it; see above for its gradient.

    **Raises:** `ValueError` if f, the start, the inputs and the probe do not fit.
    """
    # What f closes over becomes an argument, since a rule of differentiation sees arguments alone.
    field = as_pytree(vector_field)
    solve = _solved if field is None else _compiled
    return solve(
        vector_field if field is None else field,
        *of_strong_types((params, x, start, probe)),
        closes=field is None,
        solver=solver,
        tolerance=Tolerance() if tolerance is None else tolerance,
        unsolved=Drop() if unsolved is None else unsolved,
        stability=stability,
    )


def _solved(
    field: Callable[[PyTree, PyTree, PyTree], PyTree],
    params: PyTree[Any],
    x: PyTree[Any],
    start: PyTree[Any],
    probe: Array | None,
    *,
    closes: bool,
    **options: Any,
) -> Solution[State]:
    """Checks the arguments and solves; `closes` says whether f may close over traced arrays."""
    x, starts = _checked(field, params, x, start, probe)
    if closes:
        field = _closed(field, params, *jax.tree.map(_of_one, (starts, x)))
    return _settled(field, params, x, starts, probe, **options)


# Checks by shapes are made inside, and so once for all that is compiled once.
_compiled = eqx.filter_jit(_solved)


def _checked(
    vector_field: Callable[[PyTree, PyTree, PyTree], PyTree],
    params: PyTree[Any],
    x: PyTree[Any],
    start: PyTree[Any],
    probe: Array | None,
) -> tuple[PyTree[Array], State]:
    """Returns the inputs as arrays, and one start for each sample."""
    x, batch = batch_of(x)
    starts = starts_of(vector_field, params, x, start, batch)
    if probe is not None and (jnp.shape(probe), jnp.result_type(probe).kind) != ((batch,), "f"):
        raise ValueError(
            f"The probe is {jnp.result_type(probe)}{list(jnp.shape(probe))}, but it has a number "
            f"for each of the {batch} samples: write probe=jnp.zeros({batch})."
        )
    return x, starts


class _ClosedField(eqx.Module):
    """A traced f, with the arrays that it closed over.

    Unlike `eqx.filter_closure_convert` it does not compare the arguments of a call with those it
    was traced for, whose shardings differ inside `jax.shard_map`.
    """

    jaxpr: Any
    closed_over: list[Any]
    structure: Any = eqx.field(static=True)

    def __call__(self, params: PyTree, state: PyTree[Array], x: PyTree[Array]) -> PyTree[Array]:
        arrays = jax.tree.leaves(eqx.filter((params, state, x), eqx.is_array))
        traced = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, self.closed_over))
        return jax.tree.unflatten(self.structure, traced(*arrays))


def _closed(
    vector_field: Callable[[PyTree, PyTree, PyTree], PyTree],
    params: PyTree[Any],
    one_state: PyTree[Any],
    one_x: PyTree[Any],
) -> Callable[[PyTree, PyTree, PyTree], PyTree]:
    traced, output, _ = eqx.filter_make_jaxpr(vector_field)(params, one_state, one_x)
    return _ClosedField(traced.jaxpr, traced.consts, jax.tree.structure(output))


def batch_of(x: PyTree[Any]) -> tuple[PyTree[Array], int]:
    """Converts the inputs of a batch into arrays, and returns them with its size.

    **Raises:** `ValueError` if they are not of one batch.
    """
    x = jax.tree.map(_batched, x)
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(x)}
    if len(sizes) != 1:
        raise ValueError(
            f"The first axes of x are {sorted(sizes)}, but x is one batch: give arrays with the "
            "same first axis."
        )
    return x, sizes.pop()


def _of_one(leaf: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def _batched(leaf: Any) -> Array:
    if not hasattr(leaf, "dtype") or jnp.ndim(leaf) == 0:
        given = "a scalar" if hasattr(leaf, "dtype") else f"a Python {type(leaf).__name__}"
        raise ValueError(
            f"x holds {given}, but its arrays have a leading batch axis: give what all samples "
            "share in params, and the rest as arrays of shape (batch, ...)."
        )
    return jnp.asarray(leaf)


def starts_of(
    vector_field: Callable[[PyTree, PyTree, PyTree], PyTree],
    params: PyTree[Any],
    x: PyTree[Array],
    start: PyTree[Any],
    batch: int,
) -> State:
    """Makes one start for each sample, without gradient, and checks f against it.

    **Raises:** `ValueError` or `TypeError` if f does not fit.
    """
    one_x = jax.tree.map(_of_one, x)
    # A weak type would change at the first step of the solver's loop.
    given = of_strong_types(jax.tree.map(jnp.asarray, jax.lax.stop_gradient(start)))

    def check(batch_axes: int) -> None:
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape[batch_axes:], leaf.dtype), given)
        FunctionSystem(_call, _no_output, (vector_field, params), zeros).initial_state(one_x)

    leaves = jax.tree.leaves(given)
    refused = None
    if leaves and all(leaf.shape[:1] == (batch,) for leaf in leaves):
        try:
            check(1)
            return given
        except (TypeError, ValueError) as error:
            refused = error
    try:
        check(0)
    except (TypeError, ValueError) as error:
        raise (error if refused is None else refused) from None
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), given)


def _no_output(params: PyTree[Any], state: PyTree[Array]) -> Float[Array, " outputs"]:
    del params
    return jnp.zeros(0, jax.tree.leaves(state)[0].dtype)


def _call(params: tuple[Any, PyTree[Any]], state: PyTree[Array], x: PyTree[Any]) -> PyTree[Array]:
    field, params = params
    return field(params, state, x)


def system_of(field: Any, params: PyTree[Any], starts: State) -> AbstractSystem:
    """Makes a system without output of f and its parameters, for states like the starts."""
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape[1:], leaf.dtype), starts)
    return FunctionSystem(_call, _no_output, (field, params), zeros)


@eqx.filter_custom_jvp
def _settled(
    field: Any,
    params: PyTree[Any],
    x: PyTree[Any],
    starts: State,
    probe: Float[Array, " batch"] | None,
    *,
    solver: Solver | None,
    tolerance: Tolerance,
    unsolved: AbstractUnsolved,
    stability: bool,
) -> Solution[State]:
    del probe
    system = system_of(field, params, starts)
    solution = free_equilibrium(system, x, solver=solver, tolerance=tolerance, start=starts)
    if stability:
        solution = with_stability(system, x, solution)
    kept = (unsolved.weights(solution) > 0) | _finite(solution.value)
    return eqx.tree_at(lambda s: s.value, solution, _chosen(kept, solution.value, starts))


@_settled.def_jvp
def _settled_jvp(
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    solver: Solver | None,
    tolerance: Tolerance,
    unsolved: AbstractUnsolved,
    stability: bool,
) -> tuple[Solution[State], Solution[Any]]:
    field, params, x, starts, _ = primals
    options = {"solver": solver, "tolerance": tolerance, "unsolved": unsolved}
    solution = _settled(*primals, stability=stability, **options)
    counted = Counted.of(unsolved.weights(jax.lax.stop_gradient(solution)))
    counts = counted.weights > 0
    states = counted.safe(solution.value)

    moving, fixed = split_by_tangents(primals, tangents)
    # If no sample counts there is no safe point, and 0 · NaN must not come out of any product.
    tangents = jax.tree.map(lambda leaf: jnp.where(counted.count > 0, leaf, 0), tangents)

    def fields(moving: PyTree[Any]) -> PyTree[Array]:
        field, params, x, *_ = eqx.combine(moving, fixed)
        return jax.vmap(lambda state, x: field(params, state, x))(states, counted.safe(x))

    _, change = jax.jvp(fields, (moving,), (tangents,))
    system = system_of(field, params, starts)
    points = Linearised(counted.safe(x), states)
    # As one vector for each sample, because a part of the state that the tangents do not reach is a
    # constant to JAX, and it transposes no linear solve with a constant on its right-hand side.
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], states))
    flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])

    # The probe's tangent goes along, one number a sample, so that the way back has a place in which
    # to say which samples were not solved there.
    def solve(linear: AbstractSystem, force: Array) -> tuple[Array, Bool[Array, " batch"]]:
        rest = linear_rest(
            linear, points, jax.vmap(unravel)(force), solver=solver, tolerance=tolerance
        )
        asked = jnp.any(force != 0, axis=1)
        kept = unsolved.weights(rest) > 0
        value = jnp.where(kept[:, None], flat(rest.value), 0)
        all_lost = jnp.any(asked) & ~jnp.any(asked & kept)
        missed = asked & ~solved(rest)
        return jnp.where((all_lost & asked)[:, None], jnp.nan, value), missed

    def with_probe(states: Array, of_probe: Array) -> Array:
        return jnp.concatenate([states, of_probe[:, None].astype(states.dtype)], axis=1)

    def forward(_: Any, force: Array) -> Array:
        return with_probe(solve(TangentSystem(system=system), force[:, :-1])[0], force[:, -1])

    def back(_: Any, force: Array) -> Array:
        return with_probe(*solve(AdjointSystem(system=system), force[:, :-1]))

    def minus_jacobian(change: Array) -> Array:
        product = jax.vmap(TangentSystem(system=system).vector_field)
        pushed = product(jax.vmap(unravel)(change[:, :-1]), points)
        return with_probe(-flat(pushed), change[:, -1])

    force = jnp.where(counts[:, None], flat(change), 0)
    of_probe = jnp.zeros_like(force[:, 0]) if tangents[4] is None else tangents[4]
    change = jax.lax.custom_linear_solve(
        minus_jacobian, with_probe(force, of_probe), forward, transpose_solve=back
    )[:, :-1]
    change = jax.vmap(unravel)(jnp.where(counts[:, None], change, 0))
    still = jax.tree.map(lambda _: None, solution)
    return solution, eqx.tree_at(
        lambda s: s.value, still, change, is_leaf=lambda node: node is None
    )


def linear_rest(
    linear: AbstractSystem,
    points: Linearised,
    force: State,
    *,
    solver: Solver | None,
    tolerance: Tolerance,
) -> Solution[State]:
    """Solves Jv + c = 0 or Jᵀa + c = 0 for a batch, for J = ∂_φf at the points and a force c.

    **Arguments:**

    * `linear`: a `TangentSystem` or an `AdjointSystem`.
    * `points`, `force`: of each sample.
    * `solver`, `tolerance`: as for `settle`.
    """
    samples = Controlled(points, force)
    values, steps, errors = controlled_rest(linear, samples, solver=solver, tolerance=tolerance)
    unmeasured = jnp.zeros_like(errors)
    stats = Certificate(steps, unmeasured, unmeasured, unmeasured, unmeasured, errors)
    return Solution(values, jax.vmap(verdict)(errors), stats)


def _finite(tree: State) -> Bool[Array, " batch"]:
    finite = [
        jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
        for leaf in jax.tree.leaves(tree)
    ]
    return jnp.all(jnp.stack(finite), axis=0)


def _chosen(condition: Bool[Array, " batch"], yes: State, no: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(per_sample(condition, a), a, b), yes, no)

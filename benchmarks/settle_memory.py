"""What `settle` needs in memory and says when it fails, beside other ways to differentiate a layer.

    python benchmarks/settle_memory.py --json results/settle-memory.json

The layer is the rest of f(θ, φ, x) = tanh(Wφ + Ux) − φ for a batch, and its loss a squared error.
Memory is that of the temporary arrays of its gradient, as XLA lays them out, for solves of at most
10, 100 and 1 000 iterations. Failure is provoked: W is −gV with a positive V of norm 1 and a gain
g for each sample, so that plain iteration contracts for g < 1, and for g > 1 goes round the rest
point that is still there. The last case has no rest point at all. The exact gradient is that of
short steps and a dense implicit derivative, in double precision, over the samples that a way
says it found, or all samples if it says nothing.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from _origin import origin
from jaxtyping import Array

import leastcontrol as lc
from leastcontrol.files import write_json
from leastcontrol.training import Program

SIZE, INPUTS, BATCH = 128, 32, 64
BUDGETS = (10, 100, 1000)
SMALL, FEW = 8, 4
TOLERANCE = 1e-5

Params = dict[str, Array]
Field = Callable[[Params, Array, Any], Array]


class Settled(NamedTuple):
    """The states of a batch, which samples a way says it found (`None` for no word), and how."""

    states: Array
    solved: Array | None
    says: Any


Way = Callable[[Field, Params, Any, int, int], Settled]


def tanh_field(params: Params, state: Array, x: tuple[Array, Array]) -> Array:
    """Returns f for one sample: its gain and its input."""
    gain, drive = x
    return jnp.tanh(gain * (params["W"] @ state) + params["U"] @ drive) - state


def restless_field(params: Params, state: Array, x: tuple[Array, Array]) -> Array:
    """Returns an f that is nowhere zero."""
    return 1 + (tanh_field(params, state, x) + state) ** 2


def by_settle(field: Field, params: Params, x: Any, size: int, steps: int) -> Settled:
    """`settle` with its default iteration."""
    return _settled(field, params, x, size, lc.FixedPoint(max_steps=steps))


def by_settle_newton(field: Field, params: Params, x: Any, size: int, steps: int) -> Settled:
    """`settle` with Newton's method in a trust region."""
    return _settled(field, params, x, size, lc.TrustRegion(max_steps=steps))


def _settled(field: Field, params: Params, x: Any, size: int, solver: Any) -> Settled:
    solution = lc.settle(field, params, x, start=jnp.zeros(size), solver=solver)
    return Settled(solution.value, lc.solved(solution), solution.result)


def by_optimistix(field: Field, params: Params, x: Any, size: int, steps: int) -> Settled:
    """Optimistix's fixed-point iteration with its defaults: it raises, and its matrix is dense."""
    return _optimistix(field, params, x, size, steps)


def by_optimistix_gmres(field: Field, params: Params, x: Any, size: int, steps: int) -> Settled:
    """The same with GMRES for the implicit derivative."""
    adjoint = optx.ImplicitAdjoint(lx.GMRES(rtol=TOLERANCE, atol=TOLERANCE))
    return _optimistix(field, params, x, size, steps, adjoint=adjoint)


def by_optimistix_quietly(field: Field, params: Params, x: Any, size: int, steps: int) -> Settled:
    """The same with `throw=False`."""
    return _optimistix(field, params, x, size, steps, throw=False)


def _optimistix(
    field: Field, params: Params, x: Any, size: int, steps: int, **options: Any
) -> Settled:
    def of_sample(x: Any) -> optx.Solution:
        return optx.fixed_point(
            lambda state, args: state + field(args[0], state, args[1]),
            optx.FixedPointIteration(rtol=TOLERANCE, atol=TOLERANCE),
            jnp.zeros(size),
            (params, x),
            max_steps=steps,
            **options,
        )

    solution = jax.vmap(of_sample)(x)
    return Settled(solution.value, solution.result == optx.RESULTS.successful, solution.result)


def by_hand(field: Field, params: Params, x: Any, size: int, steps: int) -> Settled:
    """A `custom_vjp` of an iteration that stops when the whole batch is at rest, both ways."""
    fields = jax.vmap(field, in_axes=(None, 0, 0))

    def iterate(step: Callable[[Array], Array], first: Array) -> Array:
        def unfinished(carry: tuple[Array, Array, Array]) -> Array:
            _, change, count = carry
            return (change > TOLERANCE) & (count < steps)

        def advance(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            state, _, count = carry
            onwards = step(state)
            change = jnp.linalg.norm(onwards - state) / (jnp.linalg.norm(onwards) + 1e-12)
            return onwards, change, count + 1

        return jax.lax.while_loop(unfinished, advance, (first, jnp.array(jnp.inf), jnp.array(0)))[0]

    @jax.custom_vjp
    def rest(params: Params, x: Any) -> Array:
        first = jnp.zeros((x[1].shape[0], size))
        return iterate(lambda state: state + fields(params, state, x), first)

    def forward(params: Params, x: Any) -> tuple[Array, Any]:
        states = rest(params, x)
        return states, (params, x, states)

    def backward(saved: Any, cotangent: Array) -> Any:
        params, x, states = saved
        _, pull = jax.vjp(lambda state: state + fields(params, state, x), states)
        adjoint = iterate(lambda a: pull(a)[0] + cotangent, cotangent)
        return jax.vjp(lambda params, x: fields(params, states, x), params, x)[1](adjoint)

    rest.defvjp(forward, backward)
    return Settled(rest(params, x), None, None)


def by_unrolling(field: Field, params: Params, x: Any, size: int, steps: int) -> Settled:
    """All iterations, through which JAX differentiates."""
    fields = jax.vmap(field, in_axes=(None, 0, 0))
    first = jnp.zeros((x[1].shape[0], size))
    states, _ = jax.lax.scan(
        lambda state, _: (state + fields(params, state, x), None), first, None, steps
    )
    return Settled(states, None, None)


# Each with what turns its results into sentences.
WAYS: dict[str, tuple[Way, Any]] = {
    "settle": (by_settle, lc.RESULTS),
    "settle, `TrustRegion()`": (by_settle_newton, lc.RESULTS),
    "Optimistix": (by_optimistix, optx.RESULTS),
    "Optimistix, GMRES": (by_optimistix_gmres, optx.RESULTS),
    "Optimistix, `throw=False`": (by_optimistix_quietly, optx.RESULTS),
    "hand-written `custom_vjp`": (by_hand, None),
    "unrolled": (by_unrolling, None),
}
# Another solver changes what is said, another linear solver what is held.
MEASURED = [name for name in WAYS if "TrustRegion" not in name and "throw" not in name]
TRIED = [name for name in WAYS if "GMRES" not in name]


def loss(params: Params, x: Any, way: Way, field: Field, steps: int) -> tuple[Array, Settled]:
    """Returns the mean over the batch of ½‖Dφ − 1‖²."""
    settled = way(field, params, x, params["W"].shape[0], steps)
    return jnp.mean(jnp.sum((settled.states @ params["D"].T - 1) ** 2, axis=1)) / 2, settled


def drawn(size: int, inputs: int, batch: int, gains: Any) -> tuple[Params, tuple[Array, Array]]:
    """Draws parameters and a batch."""
    keys = jax.random.split(jax.random.key(0), 4)
    matrix = jax.random.normal(keys[0], (size, size))
    positive = matrix @ matrix.T
    params = {
        "W": -positive / jnp.linalg.norm(positive, 2),
        "U": 0.3 * jax.random.normal(keys[1], (size, inputs)) / inputs**0.5,
        "D": jax.random.normal(keys[2], (3, size)) / size**0.5,
    }
    drives = jax.random.normal(keys[3], (batch, inputs))
    return params, (jnp.broadcast_to(jnp.asarray(gains), (batch,)), drives)


def memory() -> list[dict[str, Any]]:
    """Returns the memory of each way's gradient, for each number of iterations."""
    params, x = drawn(SIZE, INPUTS, BATCH, 0.9)
    rows = []
    for name in MEASURED:
        megabytes = {}
        for steps in BUDGETS:

            def value(params: Params, x: Any, name: str = name, steps: int = steps) -> Array:
                return loss(params, x, WAYS[name][0], tanh_field, steps)[0]

            program = Program.of(jax.jit(jax.grad(value, argnums=(0, 1))), params, x)
            megabytes[str(steps)] = program.temporary_bytes / 1e6
        rows.append({"way": name, "temporary_mb": megabytes})
        print(rows[-1], flush=True)
    return rows


def exact_gradients(params: Params, x: Any) -> Params:
    """Returns the gradient of each sample's loss: short steps, and a dense derivative."""

    def of_sample(sample: Any) -> Params:
        # −∂_φf has eigenvalues between 1 and 4 here, so that short steps contract.
        field = lambda _, state: state + 0.3 * tanh_field(params, state, sample)  # noqa: E731
        state = jax.lax.fori_loop(0, 500, field, jnp.zeros(SMALL))
        jacobian = jax.jacfwd(tanh_field, argnums=1)(params, state, sample)
        of_loss = lambda params, state: jnp.sum((params["D"] @ state - 1) ** 2) / 2  # noqa: E731
        direct, cotangent = jax.grad(of_loss, argnums=(0, 1))(params, state)
        adjoint = -jnp.linalg.solve(jacobian.T, cotangent)
        through = jax.vjp(lambda params: tanh_field(params, state, sample), params)[1](adjoint)[0]
        return jax.tree.map(jnp.add, direct, through)

    return jax.vmap(of_sample)(x)


def failures() -> list[dict[str, Any]]:
    """Returns what each way does and says where plain iteration does not find all rest points."""
    cases = {
        f"{FEW} of {2 * FEW} samples do not contract": (tanh_field, [0.5] * FEW + [3.0] * FEW),
        "no sample contracts": (tanh_field, [3.0] * 2 * FEW),
        "there is no rest point": (restless_field, [0.5] * 2 * FEW),
    }
    rows = []
    for case, (field, gains) in cases.items():
        params, x = drawn(SMALL, 3, 2 * FEW, gains)
        exact = exact_gradients(params, x) if field is tanh_field else None
        for name in TRIED:
            row: dict[str, Any] = {
                "case": case,
                "way": name,
                **outcome(params, x, *WAYS[name], field, exact),
            }
            rows.append(row)
            print(row, flush=True)
    return rows


def outcome(
    params: Params, x: Any, way: Way, sentences: Any, field: Field, exact: Params | None
) -> dict[str, Any]:
    """Returns what a way gives and says for a batch; entries that it does not give are missing."""
    gradient_of = eqx.filter_jit(jax.grad(loss, has_aux=True))
    try:
        gradient, settled = jax.block_until_ready(gradient_of(params, x, way, field, 200))
    except Exception as error:  # What it raises is what is reported.
        # Equinox puts the stacks outside and inside of the compiled program before it.
        message = str(error).rpartition("EquinoxRuntimeError: ")[2]
        return {"says": f"raises “{first_sentence(message)}”", "gradient": "none"}
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
    row: dict[str, Any] = {"gradient": "finite" if finite else "not finite"}
    batch = x[0].shape[0]
    if settled.solved is None:
        row["says"] = "nothing"
        counted = np.ones(batch, bool)
    else:
        counted = np.asarray(settled.solved)
        row["found"] = int(counted.sum())
        row["says"] = words(settled.says, sentences, counted)
    if exact is not None and finite and counted.any():
        wanted = jax.tree.map(lambda leaf: leaf[counted].sum(0) / batch, exact)
        # D is outside of the layer: it sees the states of all samples.
        inside = lambda tree: jnp.concatenate([tree[name].ravel() for name in "WU"])  # noqa: E731
        error = jnp.linalg.norm(inside(gradient) - inside(wanted))
        row["error"] = float(error / jnp.linalg.norm(inside(wanted)))
    return row


def words(results: Any, sentences: Any, counted: np.ndarray) -> str:
    """Returns the sentence of the first sample that was not found, or that all were."""
    if counted.all():
        return "all found"
    one = jax.tree.map(lambda leaf: leaf[int(np.argmin(counted))], results)
    return f"“{first_sentence(sentences[one])}”"


def first_sentence(text: str) -> str:
    """Returns the first sentence of a message, on one line."""
    return " ".join(text.split()).partition(". ")[0].removesuffix(".")


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    rows = memory()
    with jax.enable_x64(True):
        failed = failures()
    if given.json is not None:
        sizes = {"size": SIZE, "batch_size": BATCH, "budgets": BUDGETS}
        write_json(given.json, {"rows": rows, "failures": failed, **sizes, **origin()})


if __name__ == "__main__":
    main()

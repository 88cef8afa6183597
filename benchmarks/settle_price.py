"""What a gradient through `settle` costs beside what a person would write, in one process.

    python benchmarks/settle_price.py --json results/settle-price.json

The model is an encoder, the equilibrium of f = tanh(ρWφ + Ex) − φ with W orthogonal, and a decoder
with a cross-entropy; what is timed is its value and gradient in all weights, under `jax.jit`.
Small inputs keep the slope of tanh close to 1, so that every sample contracts by nearly ρ in a
step; where speeds differ, ρ runs from 0.5 to 0.98 through the batch. `settle` is compared with

* a `jax.custom_vjp` written by hand, whose two loops stop by the norm of the whole batch and
  certify nothing: when a step is small beside the state, as people write it, which leaves an error
  of 1 / (1 − ρ) steps, and again with a tolerance that is smaller by 1 − ρ, so that its states are
  as exact as those of `settle`;
* Optimistix' fixed point with its implicit gradient by GMRES, mapped over the batch;
* the same loop, of as many steps as `settle` took, unrolled for reverse mode.

Least control computes its own value and gradient of the same model. All take turns, and a ratio is
that of two timings of one turn: its median is shown, with the quartiles.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _origin import origin

import leastcontrol as lc
from leastcontrol.bench.peers import MAX_STEPS, TOLERANCE, Layer, layer_by_hand, layer_by_optimistix
from leastcontrol.files import write_json

BATCH, INPUTS, CLASSES = 64, 16, 10
SIZES, CONTRACTIONS = (128, 512), (0.6, 0.9)
MIXED = (0.5, 0.98)
BY_HAND, AS_EXACT, SETTLE, OPTIMISTIX, UNROLLED, LEAST = (
    "custom_vjp",
    "custom_vjp, as exact",
    "settle",
    "optimistix, gmres",
    "unrolled",
    "least control",
)
KEYS = jax.random.split(jax.random.key(0), 6)


def field(weight: jax.Array, state: jax.Array, sample: tuple) -> jax.Array:
    """Computes f of one sample, which is a drive and a contraction."""
    drive, contraction = sample
    return jnp.tanh(contraction * (weight @ state) + drive) - state


def encoded(params: dict, x: jax.Array, contractions: jax.Array) -> tuple:
    """Encodes a batch."""
    return x @ params["encoder"].T, contractions


def loss_of(params: dict, states: jax.Array, labels: jax.Array) -> jax.Array:
    """Decodes states, and computes the mean cross-entropy."""
    outputs = states @ params["decoder"].T
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, labels))


def _zeros(samples: tuple) -> jax.Array:
    return jnp.zeros_like(samples[0])


def _moved(weight: jax.Array, sample: tuple, state: jax.Array) -> jax.Array:
    return state + field(weight, state, sample)


def settled(weight: jax.Array, samples: tuple) -> jax.Array:
    """Finds the rest points by `settle`."""
    solver = lc.FixedPoint(max_steps=MAX_STEPS)
    start = jnp.zeros(weight.shape[0])
    return lc.settle(field, weight, samples, start=start, solver=solver).value


def unrolled(steps: int, weight: jax.Array, samples: tuple) -> jax.Array:
    """Iterates for so many steps, which reverse mode stores."""
    of_batch = jax.vmap(_moved, (None, 0, 0))
    step = lambda states, _: (of_batch(weight, samples, states), None)  # noqa: E731
    return jax.lax.scan(step, _zeros(samples), None, length=steps)[0]


def programs(size: int, contractions: jax.Array) -> tuple[dict[str, Callable[[], Any]], dict]:
    """Compiles the value and gradient of every kind; returns them with what `settle` says."""
    orthogonal = jnp.linalg.qr(jax.random.normal(KEYS[0], (size, size)))[0]
    params = {
        "encoder": 0.1 * jax.random.normal(KEYS[1], (size, INPUTS)) / INPUTS**0.5,
        "weight": orthogonal,
        "decoder": jax.random.normal(KEYS[2], (CLASSES, size)) / size**0.5,
    }
    x = jax.random.normal(KEYS[3], (BATCH, INPUTS))
    labels = jax.random.randint(KEYS[4], (BATCH,), 0, CLASSES)
    solver = lc.FixedPoint(max_steps=MAX_STEPS)
    solution = lc.settle(
        field,
        params["weight"],
        encoded(params, x, contractions),
        start=jnp.zeros(size),
        solver=solver,
    )
    steps = int(jnp.max(solution.stats.steps))

    def implicit(find: Callable[[jax.Array, tuple], jax.Array]) -> Callable[[dict], jax.Array]:
        def value(params: dict) -> jax.Array:
            states = find(params["weight"], encoded(params, x, contractions))
            return loss_of(params, states, labels)

        return value

    def from_zero(layer: Layer) -> Callable[[dict], jax.Array]:
        return implicit(lambda weight, samples: layer(weight, samples, _zeros(samples)))

    as_exact = TOLERANCE * (1 - float(jnp.max(contractions)))

    estimate = lc.least_control(
        lambda params, state, sample: field(params["weight"], state, sample),
        lambda params, state: params["decoder"] @ state,
        lc.CrossEntropy(),
        start=jnp.zeros(size),
        controller=lc.DynamicInversion(solver=solver),
    )

    def least(params: dict) -> jax.Array:
        weights = {name: params[name] for name in ("weight", "decoder")}
        return estimate(weights, encoded(params, x, contractions), labels)[0]

    values = {
        BY_HAND: from_zero(layer_by_hand(_moved)),
        AS_EXACT: from_zero(layer_by_hand(_moved, as_exact)),
        SETTLE: implicit(settled),
        OPTIMISTIX: from_zero(layer_by_optimistix(_moved)),
        UNROLLED: implicit(functools.partial(unrolled, steps)),
        LEAST: least,
    }
    calls = {}
    gradients = {}
    for name, value in values.items():
        compiled = jax.jit(jax.value_and_grad(value)).lower(params).compile()
        calls[name] = functools.partial(compiled, params)
        gradients[name] = compiled(params)[1]
    exact = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradients[UNROLLED])])
    errors = {}
    for name in (BY_HAND, AS_EXACT, SETTLE, OPTIMISTIX):
        gradient = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradients[name])])
        errors[name] = float(jnp.linalg.norm(gradient - exact) / jnp.linalg.norm(exact))
    said = {
        "solved_fraction": float(jnp.mean(lc.solved(solution))),
        "steps": [int(jnp.min(solution.stats.steps)), steps],
        "difference_from_unrolled": errors,
    }
    return calls, said


def measured(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Times all in turns; returns milliseconds, and ratios to what is written by hand."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    while len(times[SETTLE]) < 20 or time.perf_counter() - began < seconds:
        for name, call in calls.items():
            jax.block_until_ready(call())
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    arrays = {name: np.asarray(durations) for name, durations in times.items()}
    quartiles = lambda values: [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]  # noqa: E731
    return {
        "milliseconds": {
            name: 1e3 * float(np.median(durations)) for name, durations in arrays.items()
        },
        "ratio_to_custom_vjp": {
            n: quartiles(durations / arrays[BY_HAND]) for n, durations in arrays.items()
        },
        "settle_to_equally_exact": quartiles(arrays[SETTLE] / arrays[AS_EXACT]),
        "settle_to_optimistix": quartiles(arrays[SETTLE] / arrays[OPTIMISTIX]),
        "turns": len(arrays[SETTLE]),
    }


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of each case, at least 20 turns"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    cases = {str(rate): jnp.full(BATCH, rate) for rate in CONTRACTIONS}
    cases["0.5 to 0.98"] = jnp.linspace(*MIXED, BATCH)
    rows = []
    for size in given.sizes:
        for name, contractions in cases.items():
            calls, said = programs(size, contractions)
            row = {"size": size, "contraction": name, **said, **measured(calls, given.seconds)}
            print(row, flush=True)
            rows.append(row)
    if given.json is not None:
        load = os.getloadavg()[0]
        write_json(given.json, {"rows": rows, "batch_size": BATCH, "load": load, **origin()})


if __name__ == "__main__":
    main()

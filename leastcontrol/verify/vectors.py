"""Reference vectors: small networks with equilibria and updates computed by other code.

A vector is an `.npz` file of float64 arrays and a JSON string `meta`. It is read into a `Vector`
with checked names, shapes and numbers; reading never runs code from the file. `replay` makes a
system from the parameters, applies the rule of the vector's trainer, and compares every array of
results.

The other code takes the **mean of the losses of a batch inside the controller**. With B samples and
constants α, k_i and k_p, the controller of a sample receives ∇L/B:

    u̇_I = −∇L/B − αu_I,   u = k_i u_I − k_p ∇L/B.

For the loss of one sample this is a leak of Bα, the same k_i, and a proportional gain of k_p/B.
Energy-based control is gradient descent on F with β = 1/α, without a controller that has gains. For
least control the gradient of the vectors is the sum over the batch, ours is the mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from ..controllers import (
    DynamicInversion,
    Energy,
    Exact,
    KolenPollack,
    LeakyIntegral,
    LinearFeedback,
    batch_mean_leak,
)
from ..equilibrium import FixedPoint, Point, Tolerance, free_equilibrium, solved
from ..rules import (
    AbstractRule,
    Backpropagation,
    Batch,
    Credit,
    LeastControl,
    RecurrentBackpropagation,
)
from ..systems import AbstractSystem, EquilibriumRNN, Feedforward
from .feedback_vectors import FeedbackVector, feedback_vector, replay_feedback
from .rows import Row, compared, results_of, unsupported
from .vector_files import (
    UnsupportedVector,
    VectorError,
    choice,
    number_of,
    read_arrays,
    read_meta,
)

AGREEMENT = 1e-8
TOLERANCE = Tolerance(relative=1e-12)
DESCENT = FixedPoint(max_steps=2000)
MIXED = FixedPoint(max_steps=2000, memory=8)

FEEDBACK = ("feedback_weight", "feedback_readout")
PARAMETERS = ("input_weight", "input_bias", "weight", "bias", "readout_weight", "readout_bias")
KINDS = ("ff", "rnn")
BASELINES = ("bp", "rbp")
LEARNED_FEEDBACK = ("lcp-kp", "lcp-lf")
LEAST_CONTROL = ("lcp-di", "lcp-ebd", *LEARNED_FEEDBACK)


@dataclass(frozen=True)
class Vector:
    """A reference vector.

    * `name`: file name without its suffix.
    * `kind`, `trainer`: `ff` or `rnn`, and `bp`, `rbp`, `lcp-di`, `lcp-ebd`, `lcp-kp` or `lcp-lf`.
    * `alpha`, `integral_gain`, `proportional_gain`: α, k_i and k_p of the other code.
    * `arrays`: the arrays of the file by name, without `meta`.
    """

    name: str
    kind: str
    trainer: str
    alpha: float
    integral_gain: float
    proportional_gain: float
    arrays: Mapping[str, np.ndarray]


AnyVector = Vector | FeedbackVector | UnsupportedVector


def read_vectors(paths: Sequence[Path]) -> list[AnyVector]:
    """Reads the vectors of files and folders, those of a folder in the order of their names.

    **Raises:** `VectorError` for the first path or file that is not a reference vector.
    """
    return [read_vector(file) for path in paths for file in _files(path)]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise VectorError(
            f"There is nothing at {path}: give a file of reference vectors (.npz), or a folder "
            "with such files."
        )
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.npz"))
    if not files:
        raise VectorError(
            f"The folder {path} holds no file that ends in .npz: give the folder that holds the "
            "reference vectors."
        )
    return files


def read_vector(path: Path) -> AnyVector:
    """Reads the vector in a file, and checks its names, shapes, dtypes and numbers.

    **Raises:** `VectorError` for anything that is not a reference vector.
    """
    arrays = read_arrays(path)
    meta = read_meta(path, arrays)
    if "kind" not in meta and "mode" in meta:
        return feedback_vector(path, meta, arrays)
    kind = choice(path, meta, "kind", KINDS)
    trainer = choice(path, meta, "trainer", BASELINES + LEAST_CONTROL)
    if (kind, trainer) == ("rnn", "bp"):
        raise VectorError(
            f"{path} has the trainer 'bp' and the kind 'rnn', but backpropagation needs the kind "
            "'ff': give the trainer 'rbp', or another file."
        )
    _check_arrays(path, kind, trainer, arrays)
    alpha, integral_gain, proportional_gain = 1.0, 1.0, 0.0
    if trainer in LEAST_CONTROL:
        alpha = number_of(path, meta, "alpha", positive=True)
        integral_gain = number_of(path, meta, "k_i", positive=True)
        proportional_gain = number_of(path, meta, "k_p", positive=False)
    return Vector(path.stem, kind, trainer, alpha, integral_gain, proportional_gain, arrays)


def _check_arrays(path: Path, kind: str, trainer: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises `VectorError` for missing or misshapen arrays, wrong dtypes and infinite values."""
    required = ["x", "y", "loss", "output", "free_output"]
    required += [f"{part}/{name}" for part in ("param", "grad") for name in PARAMETERS]
    if trainer not in BASELINES:
        required += ["eq/state", "eq/output"]
    if trainer in LEAST_CONTROL and trainer != "lcp-ebd":
        required += ["eq/integral", "eq/control"]
    if trainer == "lcp-kp":
        required += [f"{part}/{name}" for part in ("aux", "aux_grad") for name in FEEDBACK]
    if trainer == "lcp-lf":
        required += ["aux/Q"]
    missing = [name for name in required if name not in arrays]
    if missing:
        raise VectorError(
            f"{path} lacks {', '.join(repr(name) for name in missing)}, which a vector of the "
            f"trainer {trainer!r} has: give an undamaged file of reference vectors."
        )
    shapes = _shapes(path, kind, arrays)
    for name in sorted(shapes.keys() & arrays.keys()):
        array = arrays[name]
        if array.shape != shapes[name]:
            raise VectorError(
                f"{path} holds {name!r} of shape {array.shape}, but with its other arrays that is "
                f"{shapes[name]}: give an undamaged file of reference vectors."
            )
        integer = array.dtype.kind in "iu"
        if not integer if name == "y" else array.dtype != np.float64:
            expected = "integer labels" if name == "y" else "float64"
            raise VectorError(
                f"{path} holds {name!r} of dtype {array.dtype}, but that is {expected} in "
                "reference vectors: give a file that was made in double precision."
            )
        if not np.isfinite(array).all():
            raise VectorError(
                f"{path} holds {name!r} with values that are not finite: give an undamaged file "
                "of reference vectors."
            )
    outputs = shapes["output"][1]
    low, high = arrays["y"].min(), arrays["y"].max()
    if low < 0 or high >= outputs:
        raise VectorError(
            f"{path} holds labels from {low} to {high}, but its network has {outputs} outputs: "
            f"give labels from 0 to {outputs - 1}."
        )


def _shapes(path: Path, kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Derives the shapes of all known arrays from those of the inputs and the weights."""
    for name in ("x", "param/input_weight", "param/weight", "param/readout_weight"):
        array = arrays[name]
        if array.ndim != 2 or array.size == 0:
            raise VectorError(
                f"{path} holds {name!r} of shape {array.shape}, but that is a matrix: give an "
                "undamaged file of reference vectors."
            )
    batch, inputs = arrays["x"].shape
    first = arrays["param/input_weight"].shape[0]
    # Only the weight between two hidden layers can be other than square.
    second = arrays["param/weight"].shape[0] if kind == "ff" else first
    outputs = arrays["param/readout_weight"].shape[0]
    state = first + second if kind == "ff" else first
    parameters = {
        "input_weight": (first, inputs),
        "input_bias": (first,),
        "weight": (second, first),
        "bias": (second,),
        "readout_weight": (outputs, second),
        "readout_bias": (outputs,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "x": (batch, inputs),
        "y": (batch,),
        "loss": (),
        "output": (batch, outputs),
        "free_output": (batch, outputs),
        "eq/state": (batch, state),
        "eq/control": (batch, state),
        "eq/output": (batch, outputs),
        "eq/integral": (batch, outputs),
        "aux/Q": (state, outputs),
    }
    for part in ("aux", "aux_grad"):
        shapes[f"{part}/feedback_weight"] = (first, second)
        shapes[f"{part}/feedback_readout"] = (second, outputs)
    for part in ("param", "grad"):
        shapes.update({f"{part}/{name}": shape for name, shape in parameters.items()})
    return shapes


def replay(vector: AnyVector) -> Iterator[Row]:
    """Replays a vector and yields a row for each array of results; requires 64-bit numbers.

    An error is ‖ours − theirs‖ / ‖theirs‖, or ‖ours‖ if theirs is zero.
    """
    if isinstance(vector, UnsupportedVector):
        yield unsupported(vector.name, vector.reason)
        return
    if isinstance(vector, FeedbackVector):
        yield from replay_feedback(vector)
        return
    ours, unsolved, method = _results(vector)
    theirs = results_of(vector.arrays, ("param/", "aux/"))
    yield from compared(vector.name, theirs, ours, AGREEMENT, method, unsolved=unsolved)


def _results(vector: Vector) -> tuple[dict[str, Any], int, str]:
    """Computes our results by name, the number of unsolved samples, and the name of the method."""
    names = ["x", "y", *(f"param/{name}" for name in PARAMETERS)]
    arrays = {name: jnp.asarray(vector.arrays[name]) for name in names}
    batch = Batch(arrays["x"], arrays["y"])
    size = arrays["x"].shape[0]
    system = _system(vector, arrays)
    rule, method = _rule(vector, size)
    feedback = _feedback(vector, system)
    credit, free_output, output = _apply(rule, system, feedback, batch)
    exact = vector.trainer not in LEARNED_FEEDBACK
    if isinstance(rule, LeastControl) and exact and not np.all(solved(credit.solution)):
        # Newton's method also solves samples under strong control where the iteration fails.
        method = f"exact control (after {method} left samples unsolved)"
        rule = LeastControl(Exact(TOLERANCE), rule.output_control)
        credit, free_output, output = _apply(rule, system, None, batch)
    unsolved = int(np.sum(~np.asarray(solved(credit.solution))))

    results: dict[str, Any] = {"free_output": free_output, "loss": credit.loss, "output": output}
    scale = 1
    if vector.trainer in LEAST_CONTROL:
        state, control, output_control = credit.solution.value
        # At rest u = k_i u_I − k_p ∇L/B with ∇L/B = −αu_I.
        gain = vector.integral_gain + vector.alpha * vector.proportional_gain
        results["eq/output"] = output
        results["eq/state"] = np.concatenate(jax.tree.leaves(state), axis=-1)
        results["eq/control"] = np.concatenate(jax.tree.leaves(control), axis=-1)
        if vector.trainer != "lcp-ebd":
            results["eq/integral"] = output_control / gain
        scale = size
    for name, gradient in zip(PARAMETERS, _in_their_order(credit.gradient), strict=True):
        results[f"grad/{name}"] = scale * gradient
    if vector.trainer == "lcp-kp":
        gradients = _carrying(credit.feedback_gradient)
        for name, gradient in zip(FEEDBACK, gradients, strict=True):
            results[f"aux_grad/{name}"] = scale * gradient.T
    return results, unsolved, method


@eqx.filter_jit
def _apply(
    rule: AbstractRule, system: AbstractSystem, feedback: PyTree, batch: Batch
) -> tuple[Credit, Array, Array]:
    """Computes a rule's credit, the free output, and the output at the rule's equilibrium."""
    drives = jax.vmap(system.drive)(batch.inputs)
    free = free_equilibrium(system, drives, solver=MIXED, tolerance=TOLERANCE)
    free_output = jax.vmap(system.readout)(free.value)
    credit = rule(system, feedback, batch)
    point = credit.solution.value
    if not isinstance(point, Point):
        return credit, free_output, jax.vmap(system.readout)(point)
    return credit, free_output, jax.vmap(system.readout)(point.state) + point.output_control


def _system(vector: Vector, arrays: Mapping[str, Array]) -> Feedforward | EquilibriumRNN:
    parameters = [arrays[f"param/{name}"] for name in PARAMETERS]
    input_weight, input_bias, weight, bias, readout_weight, readout_bias = parameters
    if vector.kind == "rnn":
        # The reference network has two biases for the same neurons.
        return recurrent_network(
            input_weight, input_bias + bias, weight, readout_weight, readout_bias
        )
    after, before = weight.shape
    sizes = (input_weight.shape[1], (before, after), readout_weight.shape[0])
    structure = eqx.filter_eval_shape(Feedforward, *sizes, key=jax.random.key(0))
    return eqx.tree_at(_in_their_order, structure, parameters)


def recurrent_network(
    input_weight: ArrayLike,
    bias: ArrayLike,
    recurrent_weight: ArrayLike,
    readout_weight: ArrayLike,
    readout_bias: ArrayLike,
) -> EquilibriumRNN:
    """Makes the recurrent network with these parameters and tanh neurons."""
    inputs, hidden = np.shape(input_weight)[1], np.shape(recurrent_weight)[0]
    outputs = np.shape(readout_bias)[0]
    structure = eqx.filter_eval_shape(
        EquilibriumRNN, inputs, hidden, outputs, key=jax.random.key(0)
    )
    parameters = (input_weight, bias, recurrent_weight, readout_weight, readout_bias)
    return eqx.tree_at(
        lambda s: [s.input.weight, s.input.bias, s.recurrent, s.output.weight, s.output.bias],
        structure,
        [jnp.asarray(parameter) for parameter in parameters],
    )


def _in_their_order(system: PyTree) -> list[Any]:
    """Lists the leaves of a system, or of its gradient, in the order of `PARAMETERS`."""
    if isinstance(system, Feedforward):
        return [leaf for layer in system.layers for leaf in (layer.weight, layer.bias)]
    return [
        system.input.weight,
        system.input.bias,
        system.recurrent,
        system.input.bias,
        system.output.weight,
        system.output.bias,
    ]


def _feedback(vector: Vector, system: Feedforward | EquilibriumRNN) -> PyTree:
    """Converts the feedback weights of a vector into those of the controller of its trainer."""
    if vector.trainer == "lcp-lf":
        weights = jnp.asarray(vector.arrays["aux/Q"])
        if isinstance(system, EquilibriumRNN):
            return weights
        return tuple(jnp.split(weights, [system.layers[0].bias.size]))
    if vector.trainer == "lcp-kp":
        mirrored = eqx.filter(system, system.feedback_parameters())
        # The vector stores them in the orientation of the transposed weights.
        weights = [jnp.asarray(vector.arrays[f"aux/{name}"].T) for name in FEEDBACK]
        return eqx.tree_at(_carrying, mirrored, weights)
    return None


def _carrying(system: PyTree) -> list[Any]:
    """Lists the two weights that carry the control backwards."""
    if isinstance(system, Feedforward):
        return [system.layers[1].weight, system.layers[2].weight]
    return [system.recurrent, system.output.weight]


def _rule(vector: Vector, size: int) -> tuple[AbstractRule, str]:
    """Makes the rule of a vector's trainer, and its name for a sentence."""
    if vector.trainer == "bp":
        return Backpropagation(), "backpropagation"
    if vector.trainer == "rbp":
        rule = RecurrentBackpropagation(tolerance=TOLERANCE, solver=MIXED)
        return rule, "recurrent backpropagation"
    leak = batch_mean_leak(vector.alpha, size)
    if vector.trainer == "lcp-ebd":
        return LeastControl(Energy(TOLERANCE, DESCENT), leak), "energy-based control"
    gains = (vector.integral_gain, vector.proportional_gain / size)
    output_control = LeakyIntegral(leak, *gains)
    if vector.trainer == "lcp-kp":
        return LeastControl(
            KolenPollack(TOLERANCE, MIXED), output_control
        ), "Kolen-Pollack feedback"
    if vector.trainer == "lcp-lf":
        return LeastControl(
            LinearFeedback(TOLERANCE, MIXED, None), output_control
        ), "linear feedback"
    controller = DynamicInversion(TOLERANCE, MIXED)
    return LeastControl(controller, output_control), "dynamic inversion"

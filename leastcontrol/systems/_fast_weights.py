"""Fast weights: a system whose state is the weights of a network, pulled towards slow weights."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ._system import AbstractSystem, all_matrices

Weights = PyTree[Float[Array, "..."]]
LearnerLoss = Callable[[Any, PyTree[Any]], Float[Array, ""]]


class FastWeights(AbstractSystem):
    """A learner whose fast weights φ learn a task while slow weights ω pull them back.

        f(φ) = −∇L_learn(φ) − λ(φ − ω),   h(φ) = φ

    (arXiv 2207.01332, equations 16 to 18). One sample is a task: its input is the support set, read
    by L_learn, and its target is the query set, read by L_evaluate. The parameters are the slow
    weights, an Equinox model like the learner, and the pull λ. The pull is stored as log λ, which
    keeps it positive while it learns.

    **Arguments:**

    * `model`: the learner, any Equinox model; its inexact arrays are ω.
    * `learn_loss`: `(model, support) ↦ L_learn`, a number.
    * `evaluate_loss`: `(model, query) ↦ L_evaluate`, a number.
    * `pull`: λ > 0, either one number or a pytree with one number per weight.
    * `learn_pull`: whether λ is learned; if not, its gradient is zero.

    **Raises:** `ValueError` for a learner without weights, and for a pull that is not positive or
    is neither one number nor shaped like the weights.
    """

    model: PyTree[Any]
    log_pull: PyTree[Float[Array, "..."]]
    learn_loss: LearnerLoss = eqx.field(static=True)
    evaluate_loss: LearnerLoss = eqx.field(static=True)
    learn_pull: bool = eqx.field(static=True)
    output_neurons: bool = eqx.field(static=True)

    def __init__(
        self,
        model: PyTree[Any],
        learn_loss: LearnerLoss,
        evaluate_loss: LearnerLoss,
        pull: float | Float[Array, ""] | Weights,
        *,
        learn_pull: bool = False,
    ):
        weights = eqx.filter(model, eqx.is_inexact_array)
        if not jax.tree.leaves(weights):
            raise ValueError(
                f"The learner {type(model).__name__} has no weights, so nothing could learn a "
                "task: give an Equinox model with arrays of floating point."
            )
        self.model = model
        self.log_pull = _log_pull(pull, weights)
        self.learn_loss = learn_loss
        self.evaluate_loss = evaluate_loss
        self.learn_pull = learn_pull
        self.output_neurons = False

    @property
    def slow_weights(self) -> Weights:
        """The slow weights ω, the model's inexact arrays."""
        return eqx.filter(self.model, eqx.is_inexact_array)

    def pull(self) -> Weights:
        """Returns λ for each weight, in shapes that broadcast against the weights."""
        log_pull = self.log_pull if self.learn_pull else jax.lax.stop_gradient(self.log_pull)
        if isinstance(log_pull, jax.Array):
            return jax.tree.map(lambda w: jnp.exp(log_pull).astype(w.dtype), self.slow_weights)
        return jax.tree.map(jnp.exp, log_pull)

    def learner(self, state: Weights) -> Any:
        """Returns the model with the slow weights replaced by fast weights."""
        return eqx.combine(state, eqx.filter(self.model, eqx.is_inexact_array, inverse=True))

    def learning(self, state: Weights, support: PyTree[Any]) -> Float[Array, ""]:
        """Computes L_learn(φ)."""
        return self.learn_loss(self.learner(state), support)

    def evaluation(self, state: Weights, query: PyTree[Any]) -> Float[Array, ""]:
        """Computes L_evaluate(φ)."""
        return self.evaluate_loss(self.learner(state), query)

    def potential(self, state: Weights, support: PyTree[Any]) -> Float[Array, ""]:
        """Computes L_learn(φ) + ½λ‖φ − ω‖², whose negative gradient is f."""
        pulls = jax.tree.map(
            lambda pull, fast, slow: 0.5 * jnp.sum(pull * (fast - slow) ** 2),
            self.pull(),
            state,
            self.slow_weights,
        )
        return self.learning(state, support) + sum(jax.tree.leaves(pulls))

    def drive(self, x: PyTree[Any]) -> PyTree[Any]:
        """Returns the support set unchanged."""
        return x

    def initial_state(self, drive: PyTree[Any]) -> Weights:
        """Returns the slow weights."""
        del drive
        return self.slow_weights

    def zero_state(self) -> Weights:
        """Returns zeros with the shapes of the weights."""
        return jax.tree.map(jnp.zeros_like, self.slow_weights)

    def activity(self, state: Weights) -> Weights:
        """Returns φ itself."""
        return state

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    def vector_field(self, state: Weights, drive: PyTree[Any]) -> Weights:
        """Computes −∇L_learn(φ) − λ(φ − ω)."""
        return jax.tree.map(
            lambda slope, pull, fast, slow: -slope - pull * (fast - slow),
            jax.grad(self.learning)(state, drive),
            self.pull(),
            state,
            self.slow_weights,
        )

    def readout(self, state: Weights) -> Float[Array, " weights"]:
        """Flattens the fast weights into one vector."""
        return ravel_pytree(state)[0]


def _log_pull(pull: PyTree[Any], weights: Weights) -> PyTree[Array]:
    if isinstance(pull, bool | int | float) or (eqx.is_array(pull) and jnp.ndim(pull) == 0):
        # In the precision of the weights; a Python number would get JAX's default.
        dtype = jax.tree.leaves(weights)[0].dtype
        given = jnp.asarray(pull, dtype)
    else:
        shapes = lambda tree: (  # noqa: E731
            jax.tree.structure(tree),
            [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)],
        )
        if shapes(pull) != shapes(weights):
            raise ValueError(
                "`pull` is neither one number nor one for each weight of the learner: write "
                "pull=0.001, or jax.tree.map(lambda w: jnp.full_like(w, 0.001), "
                "eqx.filter(model, eqx.is_inexact_array))."
            )
        given = jax.tree.map(lambda leaf, w: jnp.asarray(leaf, w.dtype), pull, weights)
    for leaf in jax.tree.leaves(given):
        if isinstance(leaf, Tracer):
            continue
        values = np.asarray(leaf)
        wrong = values[~((values > 0) & np.isfinite(values))]
        if wrong.size:
            raise ValueError(
                f"`pull` holds {wrong[0]:g}, but the pull λ of the slow weights is a finite number "
                "above 0: write pull=0.001."
            )
    return jax.tree.map(jnp.log, given)

"""Fast weights: a whole network's weights as the state, and slow weights that pull on them."""

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
    """The weights φ of a learner, which learn a task while slow weights ω pull them back.

        f(φ) = −∇L_learn(φ) − λ(φ − ω),   h(φ) = φ

    (arXiv 2207.01332, equations 16 to 18.) One sample is a task: its input is the support set that
    L_learn reads, its target the query set that L_evaluate reads. The parameters are the slow
    weights, an Equinox model like the learner, and the pull λ. The pull is stored as log λ, for it
    has to stay positive while it learns.

    **Arguments:**

    * `model`: the learner, any Equinox model; its inexact arrays are ω.
    * `learn_loss`: `(model, support) ↦ L_learn`, a number.
    * `evaluate_loss`: `(model, query) ↦ L_evaluate`, a number.
    * `pull`: λ > 0, one number, or one for each weight, a pytree of the model's inexact arrays.
    * `learn_pull`: whether λ is a parameter that learns; otherwise its gradient is zero.

    **Raises:** `ValueError` for a learner without weights, or a pull that is not above 0, or that
    is neither one number nor like the weights.
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
        """Returns ω, the model's inexact arrays."""
        return eqx.filter(self.model, eqx.is_inexact_array)

    def pull(self) -> Weights:
        """Returns λ for each weight, of shapes that broadcast against the weights'."""
        log_pull = self.log_pull if self.learn_pull else jax.lax.stop_gradient(self.log_pull)
        if isinstance(log_pull, jax.Array):
            return jax.tree.map(lambda w: jnp.exp(log_pull).astype(w.dtype), self.slow_weights)
        return jax.tree.map(jnp.exp, log_pull)

    def learner(self, state: Weights) -> Any:
        """Returns the model with fast weights in the place of the slow ones."""
        return eqx.combine(state, eqx.filter(self.model, eqx.is_inexact_array, inverse=True))

    def learning(self, state: Weights, support: PyTree[Any]) -> Float[Array, ""]:
        """Returns L_learn(φ)."""
        return self.learn_loss(self.learner(state), support)

    def evaluation(self, state: Weights, query: PyTree[Any]) -> Float[Array, ""]:
        """Returns L_evaluate(φ)."""
        return self.evaluate_loss(self.learner(state), query)

    def potential(self, state: Weights, support: PyTree[Any]) -> Float[Array, ""]:
        """Returns L_learn(φ) + ½λ‖φ − ω‖², of which f is minus the gradient."""
        pulls = jax.tree.map(
            lambda pull, fast, slow: 0.5 * jnp.sum(pull * (fast - slow) ** 2),
            self.pull(),
            state,
            self.slow_weights,
        )
        return self.learning(state, support) + sum(jax.tree.leaves(pulls))

    def drive(self, x: PyTree[Any]) -> PyTree[Any]:
        """Returns the support set itself."""
        return x

    def initial_state(self, drive: PyTree[Any]) -> Weights:
        """Returns the slow weights."""
        del drive
        return self.slow_weights

    def zero_state(self) -> Weights:
        """Returns zeros like the weights."""
        return jax.tree.map(jnp.zeros_like, self.slow_weights)

    def activity(self, state: Weights) -> Weights:
        """Returns φ itself."""
        return state

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    def vector_field(self, state: Weights, drive: PyTree[Any]) -> Weights:
        """Returns −∇L_learn(φ) − λ(φ − ω)."""
        return jax.tree.map(
            lambda slope, pull, fast, slow: -slope - pull * (fast - slow),
            jax.grad(self.learning)(state, drive),
            self.pull(),
            state,
            self.slow_weights,
        )

    def readout(self, state: Weights) -> Float[Array, " weights"]:
        """Returns all fast weights as one vector."""
        return ravel_pytree(state)[0]


def _log_pull(pull: PyTree[Any], weights: Weights) -> PyTree[Array]:
    if isinstance(pull, bool | int | float) or (eqx.is_array(pull) and jnp.ndim(pull) == 0):
        # The weights' precision, whatever that of a number of Python would be.
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
        given = jax.tree.map(lambda own, w: jnp.asarray(own, w.dtype), pull, weights)
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

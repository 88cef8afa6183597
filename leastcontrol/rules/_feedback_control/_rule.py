"""Deep feedback control and its strong form as one rule."""

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...controllers import AbstractFeedbackPath, AbstractTeaching, DirectFeedback
from ...equilibrium import Dynamics
from ...losses import AbstractLoss, CrossEntropy, as_loss
from ...systems import AbstractSystem, Affine, Feedforward
from .._policy import Keep
from .._rule import (
    AbstractRule,
    Aspects,
    Batch,
    Counted,
    Credit,
    check_batch,
    refuse_weights,
    share_removed,
)
from ._difference import AbstractDifference, RateDifference, VoltageDifference
from ._learning import AbstractFeedbackLearning, SinglePhase
from ._noise import draws_of, noise_of_updates
from ._phase import AbstractPhase, Updates
from ._simulated import Continuous
from ._steady import AnalyticSteadyState
from ._task import Task


class SimulatedControl(NamedTuple):
    """Controlled dynamics that a rule simulates, with the teaching of their controller.

    `name` says whose dynamics they are: "controlled" or "feedback learning's".
    """

    name: str
    dynamics: Dynamics
    teaching: AbstractTeaching


class DeepFeedbackControl(AbstractRule):
    """Deep feedback control (arXiv 2106.07887) and Strong-DFC (arXiv 2204.07249).

        g_W,i = −2 ⟨D_i r_{i−1}ᵀ⟩,   g_b,i = −2 ⟨D_i⟩

    are descent directions, averaged over samples and, in a continuous phase, over time. With the
    Jacobian for Q, voltage differences and a weak nudge they are −2λ/(α + …) times
    backpropagation's. With strong feedback they descend the least control ½‖Qu‖² if the columns of
    Q lie in the row space of the output's Jacobian.

    **Arguments:**

    * `phase`: brings the network to its controlled state.
    * `teaching`: says what the output is controlled to.
    * `loss`: of one sample; by default the cross-entropy.
    * `path`: carries the control to the neurons; by default random direct feedback.
    * `feedback_learning`: computes how the path's weights learn; `None` freezes them.
    * `difference`: what an update reads of its neuron; by default a difference of rates.
    * `update_noise`: s ≥ 0, the standard deviation of noise in what every weight reads of its
      neuron: D_i + sξ_i, in units of the voltage, with one normal ξ_i for each neuron and sample.
    * `published`: whether to do as the authors' code does where it departs from the method: there
      a voltage difference at rest has the opposite sign and twice the size.

    **Raises:** `ValueError` if the parts do not fit each other, if the system is not a
    `Feedforward`, and for hard labels under strong feedback.
    """

    phase: AbstractPhase
    teaching: AbstractTeaching
    loss: AbstractLoss = eqx.field(converter=as_loss, default=CrossEntropy())
    path: AbstractFeedbackPath = DirectFeedback()
    feedback_learning: AbstractFeedbackLearning | None = None
    difference: AbstractDifference = RateDifference()
    update_noise: float = eqx.field(static=True, default=0.0)
    published: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not 0 <= self.update_noise < math.inf:
            raise ValueError(
                f"`update_noise` is {self.update_noise}, but it is the standard deviation of a "
                "voltage, finite and at least 0: write update_noise=0.01."
            )
        self.phase.check(self.path, self.teaching)
        if self.feedback_learning is not None:
            if not self.path.learns:
                raise ValueError(
                    f"{type(self.path).__name__} has no feedback weights that could learn: write "
                    "feedback_learning=None."
                )
            self.feedback_learning.check(self.phase)

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws the path's feedback weights: Q_i of shape `(n_i, outputs)` for each layer."""
        return self.path.init(_feedforward(system), key=key)

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        phase_key, learning_key = (None, None) if key is None else jax.random.split(key)
        task = self.task(system, feedback, batch)
        draws = draws_of(self.phase.dynamics_of_noise, task, phase_key)
        update_key = None if key is None else jax.random.fold_in(key, 2)
        return self.credit(task, batch, draws, learning_key=learning_key, update_key=update_key)

    @property
    def aspects(self) -> Aspects:
        return Aspects(self, feedback_control=self, removed=share_removed(self.loss, Keep()))

    @property
    def simulations(self) -> tuple[SimulatedControl, ...]:
        """The controlled dynamics that the phase and the feedback learning simulate."""
        simulations = []
        if self.phase.simulated is not None:
            simulations.append(SimulatedControl("controlled", self.phase.simulated, self.teaching))
        if self.feedback_learning is not None and self.feedback_learning.simulated is not None:
            simulations.append(
                SimulatedControl("feedback learning's", *self.feedback_learning.simulated)
            )
        return tuple(simulations)

    @property
    def linearised(self) -> "DeepFeedbackControl | None":
        """The rule in a linearised network, with frozen feedback; `None` if it does not nudge."""
        if not self.teaching.is_nudge:
            return None
        phase = AnalyticSteadyState(self.phase.output_leak)
        return dataclasses.replace(self, phase=phase, feedback_learning=None)

    def task(self, system: AbstractSystem, feedback: PyTree[Any], batch: Batch) -> Task:
        """Prepares the control of a batch.

        **Raises:** `ValueError` if the system, the batch or the feedback weights do not fit.
        """
        refuse_weights(batch, "DeepFeedbackControl", "its sums over the batch run with time")
        check_batch(_feedforward(system), self.loss, batch, 1.0)
        self.teaching.check(self.loss, batch.targets)
        return self.task_under(self.teaching, system, feedback, batch)

    def task_under(
        self,
        teaching: AbstractTeaching,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
    ) -> Task:
        """Prepares the control of a batch under a given teaching, without checking the batch.

        **Raises:** `ValueError` if the system is not a `Feedforward`.
        """
        return Task.of(_feedforward(system), self.path, feedback, teaching, self.loss, batch)

    def credit(
        self,
        task: Task,
        batch: Batch,
        draws: Any,
        *,
        learning_draws: Any = None,
        learning_key: PRNGKeyArray | None = None,
        update_key: PRNGKeyArray | None = None,
    ) -> Credit:
        """Computes the credit of a task, with given normal draws for the noise.

        **Arguments:**

        * `draws`: for the phase; takes the number of a step to an array for each layer.
        * `learning_draws`: the same for feedback learning; drawn from `learning_key` if `None`.
        * `update_key`: for noise in the updates.
        """
        learning = self.feedback_learning
        sums = () if learning is None else learning.sums(self.phase)
        result = self.phase.run(task, self.difference, sums, draws)
        updates = result.updates
        if self.update_noise > 0:
            noise = noise_of_updates(task, result, self.update_noise, update_key)
            updates = jax.tree.map(jnp.add, updates, noise)
        feedback_gradient = None
        if learning is not None:
            feedback_gradient = learning.gradient(
                task, batch, self.phase, result, learning_draws, learning_key
            )
        value = result.solution.value
        finite = Counted.of(Keep().weights(result.solution))
        control = jnp.sum(jnp.concatenate(value.moment.apical, axis=1) ** 2, axis=1)
        losses = jax.vmap(self.loss)(value.moment.soma[-1], batch.targets)
        nothing = result.counted == 0
        return Credit(
            Counted.of(result.weights).gradient(
                self._gradient(task.network, updates, result.counted)
            ),
            Counted.of(task.usable).gradient(feedback_gradient),
            jnp.where(nothing, jnp.nan, 0.5 * finite.mean(control)),
            jnp.where(nothing, jnp.nan, finite.mean(losses)),
            result.counted,
            result.solution,
        )

    def _gradient(
        self, network: Feedforward, updates: Updates, counted: Float[Array, ""]
    ) -> PyTree[Array]:
        factor = -2.0
        if self.published and self.phase.at_rest and isinstance(self.difference, VoltageDifference):
            factor = 4.0
        scale = factor / jnp.maximum(counted, 1)
        layers = tuple(Affine(scale * weight, scale * bias) for weight, bias in updates)
        return eqx.tree_at(lambda n: n.layers, eqx.filter(network, eqx.is_inexact_array), layers)

    def pretraining(
        self, phase: Continuous, teaching: AbstractTeaching | None = None
    ) -> "DeepFeedbackControl":
        """Builds the rule that trains single-phase feedback before the forward weights.

        Only its feedback gradient is meant to be used.

        **Arguments:** `phase` and `teaching` of pre-training; by default the rule's teaching.

        **Raises:** `ValueError` if the rule's feedback does not learn in a single phase.
        """
        learning = self.feedback_learning
        if not isinstance(learning, SinglePhase):
            raise ValueError(
                "Only single-phase feedback is pre-trained in a phase like the forward one: write "
                "feedback_learning=SinglePhase(filter_time_constant=0.5)."
            )
        if self.published:
            forward = self.phase.dynamics_of_noise
            learning = dataclasses.replace(learning, constants=forward)
        return dataclasses.replace(
            self,
            phase=phase,
            teaching=self.teaching if teaching is None else teaching,
            feedback_learning=learning,
        )


def _feedforward(system: AbstractSystem) -> Feedforward:
    if not isinstance(system, Feedforward):
        raise ValueError(
            f"Deep feedback control drives the layers of a feedforward network, and the system is "
            f"a {type(system).__name__}: write Feedforward(...), or LeastControl for this system."
        )
    return system

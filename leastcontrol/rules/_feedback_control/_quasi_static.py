"""Feedback learning in the limit of noise that is slow compared with the controller."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...controllers import Nudged, noisy_response
from ...equilibrium import AbstractSum, Dynamics, WhiteNoise
from .._rule import Batch
from ._learning import AbstractFeedbackLearning
from ._noise import draws_of
from ._phase import AbstractPhase, PhaseResult
from ._steady import SteadyState
from ._task import Layers, Task


class QuasiStatic(AbstractFeedbackLearning):
    """Learns the feedback from how a controlled equilibrium responds to constant noise.

        g_Q,i = ⟨(Q_i δu + ε_i) δuᵀ⟩ / s² + γ Q_i,   δu = u⋆(ε) − u⋆(0)

    This is the limit of a noisy phase as the noise becomes slow compared with the controller. It
    solves for equilibria instead of simulating. `docs/derivations/feedback-learning.md` derives
    where the weights settle, and why that is in the row space of the Jacobian.

    **Arguments:**

    * `deviation`: s, of the noise in the neurons' apical voltages.
    * `decay`: γ ≥ 0.
    * `leak`: α of a separate phase in which the free output is held, as in `TwoPhase`. With `None`
      the noise shifts the equilibrium of the forward phase, as in `SinglePhase`.
    * `samples`: how many samples of each batch, from its first on, have such a separate phase; by
      default all.

    **Raises:** `ValueError` if the deviation is not positive, the decay or leak is below 0, fewer
    than one sample is asked for, or `samples` is given without a leak; and beside any phase but
    `SteadyState`.
    """

    deviation: float = eqx.field(static=True, default=0.1)
    decay: float = eqx.field(static=True, default=0.0)
    leak: float | None = eqx.field(static=True, default=None)
    samples: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if not 0 < self.deviation < math.inf:
            raise ValueError(
                f"`deviation` is {self.deviation}, but feedback learns from noise above 0: write "
                "QuasiStatic(deviation=0.1)."
            )
        for name in ("decay", "leak"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(
                    f"`{name}` is {value}, but it is finite and at least 0: write "
                    f"QuasiStatic({name}=0.1)."
                )
        if self.leak == 0:
            raise ValueError(
                "`leak` is 0, but the rest point is solved for with a leak above 0: write "
                "QuasiStatic(leak=1.0)."
            )
        if self.samples is not None and (self.samples < 1 or self.leak is None):
            raise ValueError(
                f"`samples` is {self.samples} and `leak` {self.leak}, but a share of the batch, at "
                "least one sample, learns in a phase of its own: write QuasiStatic(leak=1.0, "
                "samples=32)."
            )

    @property
    def simulated(self) -> None:
        return None

    def check(self, phase: AbstractPhase) -> None:
        """Raises `ValueError` if the phase is not a `SteadyState`."""
        if not isinstance(phase, SteadyState):
            raise ValueError(
                f"QuasiStatic shifts a rest point that was solved for, and {type(phase).__name__} "
                "does not solve for one: write SteadyState(leak), or another feedback learning."
            )

    def sums(self, phase: AbstractPhase) -> tuple[AbstractSum, ...]:
        """Returns no sums: nothing is simulated."""
        del phase
        return ()

    def gradient(
        self,
        task: Task,
        batch: Batch,
        phase: AbstractPhase,
        result: PhaseResult,
        draws: Any,
        key: PRNGKeyArray | None,
    ) -> Layers:
        assert isinstance(phase, SteadyState)
        rest = result.rest
        if self.leak is not None:
            phase = dataclasses.replace(phase, leak=self.leak)
            batch = jax.tree.map(lambda leaf: leaf[: self.samples], batch)
            held = Nudged(0.0)
            task = Task.of(task.network, task.path, task.weights, held, task.loss, batch)
            rest = None
        if draws is None:
            quiet = Dynamics(1.0, 3, 1.0, 0.0, noise=WhiteNoise(1.0, 1.0))
            draws = draws_of(quiet, task, key)
        noise = tuple(self.deviation * draw for draw in draws(jnp.asarray(0)))
        problem, samples = phase.problem(task)
        apical, moved, answered = noisy_response(problem, phase.solver, samples, rest, noise)
        moved = jnp.where(answered[:, None], moved, 0)
        apical = tuple(jnp.where(answered[:, None], voltage, 0) for voltage in apical)
        scale = 1 / (self.deviation**2 * jnp.maximum(jnp.sum(answered), 1))
        return tuple(
            scale * (voltage.T @ moved) + self.decay * weight
            for voltage, weight in zip(apical, task.weights, strict=True)
        )

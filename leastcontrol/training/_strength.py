"""A share of the loss that control is asked to remove, and the feedback that meets it.

The share that a control removes is known only after the solves, and it depends on the data, the
loss and the weights. So κ, the relative leak of a rule, follows the share by feedback: after each
step

    log κ ← log κ + g (logit r − logit s),

where r is the share of the free loss that was gone at rest in this step, and s the share that is
asked for. In logits the share falls about linearly with log κ: as κ for weak control and as κ² for
strong, so g = 1/5 forgets an error within about five steps and is stable throughout. The start is
the κ that removes the share s of a quadratic loss whose gain is the same in all directions,
1 − s = (κ/(κ + 1))².

A **course** says which share is asked for at what time of the training.
"""

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

FEEDBACK_GAIN = 0.2
# Shares nearer to 0 or 1 have logits that no feedback should follow.
_SMALLEST_SHARE = 1e-3
# The largest change of log κ in one step.
_LARGEST_CHANGE = 0.5
_LARGEST_LOG = math.log(1e6)


@dataclasses.dataclass(frozen=True)
class AbstractCourse(abc.ABC):
    """The share of the free loss that control is to remove, over a training.

    **Arguments:** `first` and `last`, the shares at the first step and at the last.

    **Raises:** `ValueError` for a share that does not lie between 0 and 1.
    """

    first: float
    last: float

    def __post_init__(self):
        for share in (self.first, self.last):
            if not 0 < share < 1:
                raise ValueError(
                    f"A share of {share} of the loss is asked for, but control removes more than "
                    "none and less than all of it: write a share between 0 and 1, such as 0.5."
                )

    @abc.abstractmethod
    def share(self, progress: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the share that is asked for, at a progress of 0 to 1."""

    def first_kappa(self) -> Float[Array, ""]:
        """Returns the κ that a training starts with."""
        left = math.sqrt(1 - self.first)
        return jnp.asarray(left / (1 - left))

    def adjusted(
        self, kappa: Float[Array, ""], removed: Float[Array, ""], progress: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Returns κ after a step that removed a share; unchanged if none could be measured."""
        measured = jnp.clip(removed, _SMALLEST_SHARE, 1 - _SMALLEST_SHARE)
        change = FEEDBACK_GAIN * (_logit(measured) - _logit(self.share(progress)))
        change = jnp.clip(change, -_LARGEST_CHANGE, _LARGEST_CHANGE)
        log_kappa = jnp.clip(jnp.log(kappa) + change, -_LARGEST_LOG, _LARGEST_LOG)
        return jnp.where(jnp.isfinite(removed), jnp.exp(log_kappa), kappa).astype(kappa.dtype)


@dataclasses.dataclass(frozen=True)
class LinearCourse(AbstractCourse):
    """Changes the share by the same amount in every step."""

    def share(self, progress: Float[Array, ""]) -> Float[Array, ""]:
        return self.first + (self.last - self.first) * progress


@dataclasses.dataclass(frozen=True)
class CosineCourse(AbstractCourse):
    """Changes the share by half a cosine, slowly at first and at last."""

    def share(self, progress: Float[Array, ""]) -> Float[Array, ""]:
        return self.last + (self.first - self.last) * (1 + jnp.cos(jnp.pi * progress)) / 2


def _logit(share: Float[Array, ""]) -> Float[Array, ""]:
    return jax.scipy.special.logit(share)

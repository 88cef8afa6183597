"""A tolerance that follows the noise of the gradient.

To first order the error of a gradient is proportional to the residuals of the solves. With E, its
norm where the mean residual is ē times what the tolerance τ allows, a tolerance τ′ at which every
residual is as large as allowed changes the gradient by (τ′/τ) E/ē. The largest one whose change is
at most a share s of the standard error S is

    τ′ = τ s S ē / E.

`gradient_noise` measures S, E and ē on the batch of the step that follows. How this is derived,
and what it leaves out, stands in `docs/derivations/tolerance-from-noise.md`.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..rules._gradient_noise import GradientNoise

# Below, residuals are those of rounding. Above, they are no longer small: at 0.1 the effect on a
# recurrent network was one and a half times what the first order says.
LOWEST, HIGHEST = 1e-6, 3e-2
# The largest factor of one change, for what was measured at one tolerance is extrapolated.
LARGEST_FACTOR = 8.0
# So many parts of a batch, or a few more, give the spread of its gradient.
PARTS = 8


@dataclasses.dataclass(frozen=True)
class ToleranceFromNoise:
    """Chooses the tolerance of a rule's solves by the standard error of a batch's gradient.

    **Arguments:**

    * `share`: the largest effect on the gradient, as a share of its standard error.
    * `every`: number of steps between measurements; the first step of an epoch is one with a
      measurement.
    * `first`: the relative residual at which the first measurement is made.

    **Raises:** `ValueError` for a value out of its range.
    """

    share: float = 0.01
    every: int = 100
    first: float = 1e-3

    def __post_init__(self):
        for name, low, high, example in (
            ("share", 0, 1, 0.01),
            ("first", LOWEST, HIGHEST, 1e-3),
        ):
            value = getattr(self, name)
            if not low < value < high:
                raise ValueError(
                    f"`{name}` is {value}, but it lies between {low:g} and {high:g}: write "
                    f"{name}={example:g}."
                )
        if self.every < 1:
            raise ValueError(
                f"`every` is {self.every}, but it is a number of steps of at least 1: write "
                "every=100."
            )

    def parts(self, batch_size: int, accumulation_steps: int) -> int:
        """Returns the number of parts of a batch over which the spread is measured.

        It is a multiple of the steps over which a gradient is accumulated, so that a measurement
        needs no more memory than a step.

        **Raises:** `ValueError` for a batch of one sample, which has no spread.
        """
        if batch_size < 2:
            raise ValueError(
                "`batch_size` is 1, but the spread of a gradient is that between the samples of a "
                "batch: write batch_size=64, or choose the tolerance yourself."
            )
        return min(
            parts
            for parts in range(min(PARTS, batch_size), batch_size + 1)
            if batch_size % parts == 0 and parts % accumulation_steps == 0
        )

    def adjusted(self, tolerance: Float[Array, ""], noise: GradientNoise) -> Float[Array, ""]:
        """Returns the tolerance after a measurement; the same if nothing could be measured."""
        # Without an effect any tolerance is small enough.
        effect = jnp.where(noise.effect > 0, noise.effect, jnp.finfo(noise.effect.dtype).tiny)
        error = jnp.where(noise.effect > 0, noise.error, 1)
        factor = self.share * noise.standard_error * error / effect
        factor = jnp.clip(factor, 1 / LARGEST_FACTOR, LARGEST_FACTOR)
        known = (noise.parts >= 2) & jnp.isfinite(noise.standard_error + noise.effect + error)
        chosen = jnp.clip(tolerance * factor, LOWEST, HIGHEST)
        return jnp.where(known, chosen, tolerance).astype(tolerance.dtype)

"""Rectified units and max-pools under control: derivatives where they are sets.

A least-control state of a rectified network usually lies on kinks. A unit with a little activity
that the loss wants lower is pushed down to zero and no further, for beyond zero the control buys
nothing; two pixels of a pool's window that the loss wants lower are pushed down until they tie, and
then together. There ψ is not σ′(φ)g for the signal g at the activity, with either one-sided
derivative: it is λg with a share λ between them, one that the state decides. An iteration with
one-sided derivatives flips such units for ever.

Both are the same question, for the pre-activations p of a window of one or several pixels:

    minimise ½‖ψ‖² − g · max(0, max_j (p_j + ψ_j)).

For g < 0 it is convex, and solved by lowering the largest p_j to a common level t ≥ 0 until the
control spent is |g|, or the level is 0. For g > 0 the largest pixel is raised by g if it is active;
a silent one stays silent, which is a rest point. `Kinked` is a window's activity in two forms that
know this:

* `settle(p, g)` is the state under the minimiser above; its pullback of the signal from behind is
  the minimiser for that signal, instead of σ′(φ)g;
* `split(φ)`, whose pullback of g in the presence of ψ is the element λg of the generalised
  gradient (Clarke) that is nearest to ψ: on a kink, and exactly there, residuals are measured with
  it, elsewhere it is the derivative.

A fixed point of the first is a stationary point in the sense of the second, and the energy's
gradient in the parameters is −∂_θfᵀψ there as everywhere.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Windows = Float[Array, "... size"]
Pooled = Float[Array, "..."]

@dataclasses.dataclass(frozen=True)
class Kinked:
    """Rectified pixels, or non-overlapping windows of them of which the largest is passed on.

    **Arguments:**

    * `pool`: the windows' height and width in pixels; 1 for units without a pool, of any shape.
    """

    pool: int = 1

    def settle(
        self, target: Array, signal: Array, nudge: Array
    ) -> tuple[Array, Array, Array]:
        """Returns the state under the control that a signal asks for, that control, the activity.

        `nudge` is zero; its cotangent is the control that the signal from behind asks for.
        """
        windows = self._windows
        # Signals have the shape of the activity.
        state, control, active = _settle(
            windows(target), signal.reshape(self._pooled(target.shape)), windows(nudge)
        )
        pixels = self._pixels
        return (
            pixels(state, target.shape),
            pixels(control, target.shape),
            active.reshape(signal.shape),
        )

    def split(self, state: Array) -> tuple[Array, Array]:
        """Returns the state itself, of which −φ in f is a copy, and its activity."""
        copy, active = _split(self._windows(state))
        return self._pixels(copy, state.shape), active

    def _windows(self, x: Array) -> Windows:
        if self.pool == 1:
            return x[..., None]
        channels, height, width = x.shape
        n = self.pool
        tiles = x.reshape(channels, height // n, n, width // n, n)
        return jnp.moveaxis(tiles, 2, 3).reshape(channels, height // n, width // n, n * n)

    def _pixels(self, x: Windows, shape: tuple[int, ...]) -> Array:
        if self.pool == 1:
            return x[..., 0]
        channels, height, width = shape
        n = self.pool
        tiles = x.reshape(channels, height // n, width // n, n, n)
        return jnp.moveaxis(tiles, 3, 2).reshape(shape)

    def _pooled(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.pool == 1:
            return shape
        return (shape[0], shape[1] // self.pool, shape[2] // self.pool)


def _level(target: Windows, cost: Pooled) -> Pooled:
    """Returns the level t ≥ 0 with Σ_j max(p_j − t, 0) equal to the cost, or 0 if it is less."""
    size = target.shape[-1]
    level = jnp.maximum(jnp.max(target, -1) - cost, (jnp.sum(target, -1) - cost) / size)
    # Newton's iteration on a convex piecewise linear function: from below, it takes one step for
    # each pixel at most.
    for _ in range(size - 1):
        above = target > level[..., None]
        spent = jnp.sum(jnp.where(above, target - level[..., None], 0), -1)
        count = jnp.maximum(jnp.sum(above, -1), 1).astype(target.dtype)
        level = jnp.maximum(level, level + (spent - cost) / count)
    return jnp.maximum(level, 0)


def _answer(target: Windows, signal: Pooled) -> tuple[Windows, Windows]:
    """Returns the state p + ψ and the control ψ that a signal asks for."""
    level = _level(target, jnp.maximum(-signal, 0))[..., None]
    first = jnp.arange(target.shape[-1]) == jnp.argmax(target, -1, keepdims=True)
    raise_by = jnp.where(first & (target > 0), jnp.maximum(signal, 0)[..., None], 0)
    down = (signal < 0)[..., None]
    # Not p + ψ, whose rounding would take it off the kink.
    state = jnp.where(down, jnp.minimum(target, level), target + raise_by)
    return state, jnp.where(down, -jnp.maximum(target - level, 0), raise_by)


def _activity(state: Windows) -> Pooled:
    return jnp.maximum(jnp.max(state, -1), 0)


@jax.custom_vjp
def _settle(
    target: Windows, signal: Pooled, nudge: Windows
) -> tuple[Windows, Windows, Pooled]:
    del nudge
    state, control = _answer(target, signal)
    return state, control, _activity(state)


def _settle_forward(target: Windows, signal: Pooled, nudge: Windows) -> tuple:
    return _settle(target, signal, nudge), target


def _settle_backward(target: Windows, cotangents: tuple) -> tuple[Windows, Pooled, Windows]:
    *_, signal = cotangents
    _, control = _answer(target, signal)
    return control, signal, control


_settle.defvjp(_settle_forward, _settle_backward)


@jax.custom_vjp
def _split(state: Windows) -> tuple[Windows, Pooled]:
    return state, _activity(state)


def _split_forward(state: Windows) -> tuple:
    return _split(state), state


def _split_backward(state: Windows, cotangents: tuple) -> tuple[Windows]:
    copy, signal = cotangents
    # f holds −φ: the cotangent of the copy is minus the control.
    control, signal = -copy, signal[..., None]
    top = jnp.max(state, -1, keepdims=True)
    ties = (state == top) & (top >= 0)
    share = jnp.where(ties, control / jnp.where(signal == 0, 1, signal), 0)
    missing = 1 - jnp.sum(share, -1, keepdims=True)
    spread = missing / jnp.maximum(jnp.sum(ties, -1, keepdims=True), 1)
    # Above zero the shares sum to one, at zero to one at most.
    share = jnp.where(ties, jnp.maximum(share + jnp.where(top > 0, spread, 0), 0), 0)
    total = jnp.sum(share, -1, keepdims=True)
    share = share / jnp.where(top > 0, jnp.where(total > 0, total, 1), jnp.maximum(total, 1))
    return (copy + share * signal,)


_split.defvjp(_split_forward, _split_backward)

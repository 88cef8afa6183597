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
a silent one stays silent; all of these are rest points, of which an iteration keeps the one that
it is at. `Kinked` has what an iteration asks of a window:

* `settle(p, g, …)`, the state under the minimiser above;
* `answer(p, g, …)`, the minimiser alone, for a g that has just come from behind. What holds a unit
  on its kink also moves p, by way of the layers before, and an answer that takes p for given
  overshoots. With the **stiffness** κ, an estimate of ∂p/∂ψ, p is expected at p + κ(ψ − ψ₋) for the
  last answer ψ₋. At a fixed point κ drops out;
* `unanswered(φ, g, ψ)`, how far ψ is from the nearest element λg of the generalised gradient
  (Clarke): on a kink, and exactly there, residuals are measured with it, elsewhere it is the
  derivative;
* `split(φ)`, of which this is the pullback.

A fixed point of the first two is a stationary point in the sense of the others, and the energy's
gradient in the parameters is −∂_θfᵀψ there as everywhere.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pixels = Float[Array, "..."]
Pooled = Float[Array, "..."]


@dataclasses.dataclass(frozen=True)
class Kinked:
    """Rectified pixels, or non-overlapping windows of them of which the largest is passed on.

    **Arguments:**

    * `pool`: the windows' height and width in pixels; 1 for units without a pool, of any shape.
    """

    pool: int = 1

    def settle(self, target: Pixels, signal: Pooled, last: Pixels) -> tuple[Pixels, Pixels]:
        """Returns the state p + ψ under the control ψ that a signal asks for, and that control.

        `last` is an earlier state: where several pixels may lead, or a pixel may be active or
        silent, it stays as it was.
        """
        controls, level = _controls(self, target, target, signal, last)
        # Not p + ψ where it is lowered, whose rounding would take it off the kink.
        states = [
            jnp.where(signal < 0, jnp.minimum(p, level), p + control)
            for p, control in zip(self.places(target), controls, strict=True)
        ]
        return self.pixels(states), self.pixels(controls)

    def answer(
        self,
        target: Pixels,
        signal: Pooled,
        last: Pixels,
        before: Pixels,
        stiffness: Float[Array, "..."],
    ) -> Pixels:
        """Returns the control that a signal asks for where p answers to it by the stiffness.

        `before` is the control under which p is the target.
        """
        expected = (target - stiffness * before) / (1 + stiffness)
        controls, _ = _controls(self, target, expected, signal, last)
        return self.pixels(controls)

    def unanswered(self, state: Pixels, signal: Pooled, control: Pixels) -> Pixels:
        """Returns λg − ψ for the share λ on the kinks that makes it least."""
        return _nearest(self, state, signal, control) - control

    def split(self, state: Pixels) -> tuple[Pixels, Pooled]:
        """Returns the state itself, of which −φ in f is a copy, and its activity."""
        return _split(self, state)

    def activity(self, state: Pixels) -> Pooled:
        """Returns the largest positive pixel of each window, or zero."""
        return jnp.maximum(self.largest(state), 0)

    def places(self, x: Pixels) -> list[Pooled]:
        """Returns one array for each place in a window.

        What concerns a window is then arithmetic of whole arrays, which a compiler fuses.
        """
        n = self.pool
        return [x] if n == 1 else [x[:, i::n, j::n] for i in range(n) for j in range(n)]

    def pixels(self, places: Sequence[Pooled]) -> Pixels:
        """Returns the array of which these are the places in a window."""
        n = self.pool
        if n == 1:
            return places[0]
        channels, height, width = places[0].shape
        grid = jnp.stack(places).reshape(n, n, channels, height, width)
        return grid.transpose(2, 3, 0, 4, 1).reshape(channels, height * n, width * n)

    def spread(self, x: Pooled) -> Pixels:
        """Returns each window's value at each of its pixels."""
        return self.pixels([x] * self.pool**2)

    def largest(self, x: Pixels) -> Pooled:
        """Returns the largest pixel of each window."""
        return functools.reduce(jnp.maximum, self.places(x))

    def sum(self, x: Pixels) -> Pooled:
        """Returns the sum of the pixels of each window."""
        return functools.reduce(jnp.add, self.places(x))


def _level(places: Sequence[Pooled], cost: Pooled) -> Pooled:
    """Returns the level t ≥ 0 with Σ_j max(p_j − t, 0) equal to the cost, or 0 if it is less.

    Of the levels that the m largest pixels would have alone, the highest is the one that counts.
    """
    ordered = list(places)
    for last in range(len(ordered) - 1, 0, -1):
        for i in range(last):
            pair = ordered[i], ordered[i + 1]
            ordered[i], ordered[i + 1] = jnp.maximum(*pair), jnp.minimum(*pair)
    total, level = -cost, jnp.zeros_like(cost)
    for count, pixel in enumerate(ordered, start=1):
        total = total + pixel
        level = jnp.maximum(level, total / count)
    return level


def _controls(
    kinked: Kinked, target: Pixels, expected: Pixels, signal: Pooled, last: Pixels
) -> tuple[list[Pooled], Pooled]:
    """Returns the control for each place in a window, and the level that it is lowered to.

    What is lowered is the expected target, what is raised the present one.
    """
    cost = jnp.maximum(-signal, 0)
    places, lowered, before = (kinked.places(own) for own in (target, expected, last))
    if kinked.pool == 1:
        (p,), (low,), (was,) = places, lowered, before
        # Not p − level, which loses the digits of a small control.
        down = -jnp.minimum(cost, jnp.maximum(low, 0))
        up = jnp.where((p > 0) | ((was > 0) & (p + signal > 0)), signal, 0)
        return [jnp.where(signal < 0, down, up)], jnp.maximum(p - cost, 0)
    # Barriers keep a compiler from computing a window's numbers anew for each of its pixels.
    places, lowered, before = lax.optimization_barrier((places, lowered, before))
    top, before_top = (functools.reduce(jnp.maximum, own) for own in (places, before))
    up = jnp.maximum(signal, 0)
    level = _level(lowered, cost)
    keeps = [
        (was == before_top) & (was > 0) & (p + up > 0) & (p + up >= top)
        for p, was in zip(places, before, strict=True)
    ]
    kept = functools.reduce(jnp.logical_or, keeps)
    raised = [
        jnp.where(kept, keep, (p == top) & (p > 0)) for p, keep in zip(places, keeps, strict=True)
    ]
    # Equals lead together: their shares of the signal sum to one.
    leaders = functools.reduce(jnp.add, [own.astype(signal.dtype) for own in raised])
    share = up / jnp.maximum(leaders, 1)
    level, share, raised = lax.optimization_barrier((level, share, raised))
    controls = [
        jnp.where(signal < 0, -jnp.maximum(low - level, 0), jnp.where(own, share, 0))
        for low, own in zip(lowered, raised, strict=True)
    ]
    return controls, level


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _split(kinked: Kinked, state: Pixels) -> tuple[Pixels, Pooled]:
    return state, kinked.activity(state)


def _split_forward(kinked: Kinked, state: Pixels) -> tuple:
    return _split(kinked, state), state


def _split_backward(kinked: Kinked, state: Pixels, cotangents: tuple) -> tuple[Pixels]:
    copy, signal = cotangents
    # f holds −φ: the cotangent of the copy is minus the control.
    return (copy + _nearest(kinked, state, signal, -copy),)


_split.defvjp(_split_forward, _split_backward)


def _nearest(kinked: Kinked, state: Pixels, signal: Pooled, control: Pixels) -> Pixels:
    """Returns the element λg of the generalised gradient that is nearest to a control."""
    if kinked.pool == 1:
        on_kink = jnp.clip(control, jnp.minimum(signal, 0), jnp.maximum(signal, 0))
        return jnp.where(state > 0, signal, jnp.where(state == 0, on_kink, 0))
    top = kinked.spread(kinked.largest(state))
    ties = (state == top) & (top >= 0)
    signal = kinked.spread(signal)
    share = jnp.where(ties, control / jnp.where(signal == 0, 1, signal), 0)
    count = kinked.spread(kinked.sum(ties.astype(share.dtype)))
    missing = (1 - kinked.spread(kinked.sum(share))) / jnp.maximum(count, 1)
    # Above zero the shares sum to one, at zero to one at most.
    share = jnp.where(ties, jnp.maximum(share + jnp.where(top > 0, missing, 0), 0), 0)
    total = kinked.spread(kinked.sum(share))
    total = jnp.where(top > 0, jnp.where(total > 0, total, 1), jnp.maximum(total, 1))
    return share / total * signal

"""Rectified units and max-pools under control: generalised gradients on kinks.

A least-control state of a rectified network usually lies on kinks, where ψ = λg with a share λ of
the signal g that no one-sided derivative gives. An iteration with one-sided derivatives would flip
such units forever. The control of a window of pre-activations p is instead a minimiser of

    ½‖ψ‖² − g · max(0, max_j (p_j + ψ_j)),

which `Kinked` computes in closed form; docs/derivations/rectified-units.md derives it. `Kinked`
offers an iteration five functions:

* `settle(p, g, …)` returns the state under the minimiser;
* `answer(p, g, …)` returns the minimiser alone, corrected by the stiffness κ ≈ ∂p/∂ψ;
* `unanswered(φ, g, ψ)` returns the distance of ψ from the generalised gradient (Clarke);
* `split(φ)` returns state and activity, with the generalised gradient as its pullback;
* `split_around(φ)` returns them with the minimiser as their pullback, which has a derivative.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pixels = Float[Array, "..."]
Pooled = Float[Array, "..."]


@dataclasses.dataclass(frozen=True)
class Kinked:
    """Rectified pixels, or non-overlapping max-pool windows of them.

    **Arguments:**

    * `pool`: height and width of a window in pixels; 1 for units without a pool, of any shape.
    """

    pool: int = 1

    def settle(self, target: Pixels, signal: Pooled, last: Pixels) -> tuple[Pixels, Pixels]:
        """Computes the state p + ψ under the control ψ that a signal requests, and ψ itself.

        `last` is an earlier state that resolves ambiguity: where several pixels could be the
        largest, or a pixel could be active or silent, it stays as in `last`.
        """
        controls, level = _controls(self, target, target, signal, last)
        # Lowered pixels get the level itself; the rounding of p + ψ would move them off the kink.
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
        """Computes the control that a signal requests, expecting p to move with the stiffness.

        `before` is the previous control, under which `target` was measured.
        """
        expected = (target - stiffness * before) / (1 + stiffness)
        controls, _ = _controls(self, target, expected, signal, last)
        return self.pixels(controls)

    def unanswered(self, state: Pixels, signal: Pooled, control: Pixels) -> Pixels:
        """Computes λg − ψ, with the share λ on kinks that makes it smallest."""
        return _nearest(self, state, signal, control) - control

    def split(self, state: Pixels) -> tuple[Pixels, Pooled]:
        """Returns the state, for the term −φ of f, and its activity."""
        return _split(self, _nearest, state)

    def split_around(self, state: Pixels) -> tuple[Pixels, Pooled]:
        """Returns state and activity, whose pullback to the state has a derivative on kinks.

        From −ψ and g it makes ψ⋆ − ψ, with the minimiser ψ⋆ for the pre-activations φ − ψ. This is
        zero where φ − ψ has the minimiser ψ, and −φ for a unit that rests on its kink near there:
        so linearised equations hold the unit at zero, and leave its share free.
        """
        return _split(self, _minimiser, state)

    def activity(self, state: Pixels) -> Pooled:
        """Computes the largest positive pixel of each window, or zero."""
        return jnp.maximum(self.largest(state), 0)

    def places(self, x: Pixels) -> list[Pooled]:
        """Splits an array of pixels into one array for each position in a window.

        Computations on windows are then arithmetic on whole arrays, which the compiler fuses.
        """
        n = self.pool
        return [x] if n == 1 else [x[:, i::n, j::n] for i in range(n) for j in range(n)]

    def pixels(self, places: Sequence[Pooled]) -> Pixels:
        """Joins the arrays of all window positions into one array of pixels."""
        n = self.pool
        if n == 1:
            return places[0]
        channels, height, width = places[0].shape
        grid = jnp.stack(places).reshape(n, n, channels, height, width)
        return grid.transpose(2, 3, 0, 4, 1).reshape(channels, height * n, width * n)

    def spread(self, x: Pooled) -> Pixels:
        """Repeats the value of each window at each of its pixels."""
        return self.pixels([x] * self.pool**2)

    def largest(self, x: Pixels) -> Pooled:
        """Computes the largest pixel of each window."""
        return functools.reduce(jnp.maximum, self.places(x))

    def sum(self, x: Pixels) -> Pooled:
        """Sums the pixels of each window."""
        return functools.reduce(jnp.add, self.places(x))


def _level(places: Sequence[Pooled], cost: Pooled) -> Pooled:
    """Solves Σ_j max(p_j − t, 0) = cost for the level t, which is 0 if the sum cannot reach it.

    The level is the highest of those that the m largest pixels alone would have, m = 1, 2, ….
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
    """Computes the control for each position in a window, and the level of lowered pixels.

    Lowering starts from the expected target, raising from the present one.
    """
    cost = jnp.maximum(-signal, 0)
    places, lowered, before = (kinked.places(pixels) for pixels in (target, expected, last))
    if kinked.pool == 1:
        (p,), (low,), (was,) = places, lowered, before
        # Not p − level, which loses the digits of a small control.
        down = -jnp.minimum(cost, jnp.maximum(low, 0))
        up = jnp.where((p > 0) | ((was > 0) & (p + signal > 0)), signal, 0)
        return [jnp.where(signal < 0, down, up)], jnp.maximum(p - cost, 0)
    # The barriers keep the compiler from recomputing a window's numbers for each of its pixels.
    places, lowered, before = lax.optimization_barrier((places, lowered, before))
    top, before_top = (functools.reduce(jnp.maximum, pixels) for pixels in (places, before))
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
    # Tied largest pixels divide the signal: their shares sum to one.
    leaders = functools.reduce(jnp.add, [is_raised.astype(signal.dtype) for is_raised in raised])
    share = up / jnp.maximum(leaders, 1)
    level, share, raised = lax.optimization_barrier((level, share, raised))
    controls = [
        jnp.where(signal < 0, -jnp.maximum(low - level, 0), jnp.where(is_raised, share, 0))
        for low, is_raised in zip(lowered, raised, strict=True)
    ]
    return controls, level


# One of the two ways to split a state.
Split = Callable[[Kinked, Pixels], tuple[Pixels, Pooled]]
# The control that belongs to a state and a signal, given the present one.
Answer = Callable[[Kinked, Pixels, Pooled, Pixels], Pixels]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _split(kinked: Kinked, answer: Answer, state: Pixels) -> tuple[Pixels, Pooled]:
    return state, kinked.activity(state)


def _split_forward(kinked: Kinked, answer: Answer, state: Pixels) -> tuple:
    # Not by `_split` itself, which has no forward derivative.
    return (state, kinked.activity(state)), state


def _split_backward(
    kinked: Kinked, answer: Answer, state: Pixels, cotangents: tuple
) -> tuple[Pixels]:
    copy, signal = cotangents
    # f contains −φ, so the cotangent of the copy is minus the control.
    return (copy + answer(kinked, state, signal, -copy),)


_split.defvjp(_split_forward, _split_backward)


def _minimiser(kinked: Kinked, state: Pixels, signal: Pooled, control: Pixels) -> Pixels:
    """Computes the control that a signal requests at the pre-activations under a control."""
    return kinked.settle(state - control, signal, state)[1]


def _nearest(kinked: Kinked, state: Pixels, signal: Pooled, control: Pixels) -> Pixels:
    """Computes the element λg of the generalised gradient that is nearest to a control."""
    if kinked.pool == 1:
        on_kink = jnp.clip(control, jnp.minimum(signal, 0), jnp.maximum(signal, 0))
        return jnp.where(state > 0, signal, jnp.where(state == 0, on_kink, 0))
    top = kinked.spread(kinked.largest(state))
    ties = (state == top) & (top >= 0)
    signal = kinked.spread(signal)
    share = jnp.where(ties, control / jnp.where(signal == 0, 1, signal), 0)
    count = kinked.spread(kinked.sum(ties.astype(share.dtype)))
    missing = (1 - kinked.spread(kinked.sum(share))) / jnp.maximum(count, 1)
    # The shares sum to one above zero, and to at most one at zero.
    share = jnp.where(ties, jnp.maximum(share + jnp.where(top > 0, missing, 0), 0), 0)
    total = kinked.spread(kinked.sum(share))
    total = jnp.where(top > 0, jnp.where(total > 0, total, 1), jnp.maximum(total, 1))
    return share / total * signal

"""A recursive reasoner: one set of weights, applied to its own state until that rests.

The state φ holds `width` numbers for each of the 16 cells of a grid. One application of the cell is

    g(φ) = tanh(W₂ gelu(W₁ [φ, M₁φ, …, M_Kφ] + d) + b₂),   d = U onehot(puzzle) + b₁,

where the M_k mix cells and all weights are the same in every application. Nothing tells the M_k
which cells share a row, a column or a box: as in public recursive models that mix positions by
dense layers, that is learned from the puzzles. The answer is read where the state rests, f(φ) =
g(φ) − φ = 0, by one affine map, the same for all cells. The tanh keeps the state bounded; whether
it comes to rest is for the weights to learn.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .sudoku import CELLS, SIDE

Hidden = Float[Array, "cells width"]
Drive = Float[Array, "cells inner"]
Logits = Float[Array, "cells digits"]


class Reasoner(eqx.Module):
    """The weights of a reasoner.

    **Arguments:** the `width` of a cell's state, the size of the `inner` layer, the number of
    `mixers` K, and a `key`. Weights are normal with variance 1 / fan-in, but U, whose input has one
    1.
    """

    embedding: Float[Array, "symbols inner"]
    inner_bias: Float[Array, " inner"]
    mixing: Float[Array, "mixers cells cells"]
    inward: Float[Array, "views inner"]
    outward: Float[Array, "inner width"]
    state_bias: Float[Array, " width"]
    answer: Float[Array, "width digits"]
    answer_bias: Float[Array, " digits"]

    def __init__(self, width: int, inner: int, mixers: int, *, key: PRNGKeyArray):
        keys = jax.random.split(key, 5)
        views = (1 + mixers) * width

        def drawn(key: PRNGKeyArray, *shape: int, fan_in: int) -> Array:
            return jax.random.normal(key, shape) / jnp.sqrt(fan_in)

        self.embedding = drawn(keys[0], SIDE + 1, inner, fan_in=1)
        self.inner_bias = jnp.zeros(inner)
        self.mixing = drawn(keys[1], mixers, CELLS, CELLS, fan_in=CELLS)
        self.inward = drawn(keys[2], views, inner, fan_in=views)
        self.outward = drawn(keys[3], inner, width, fan_in=inner)
        self.state_bias = jnp.zeros(width)
        self.answer = drawn(keys[4], width, SIDE, fan_in=width)
        self.answer_bias = jnp.zeros(SIDE)

    @property
    def start(self) -> Float[np.ndarray, "cells width"]:
        """The state that the recursion begins with: zeros."""
        return np.zeros((CELLS, self.outward.shape[1]), self.outward.dtype)

    def drive(self, puzzle: Int[Array, " cells"]) -> Drive:
        """Computes d, the part of the cell that depends on the puzzle alone."""
        symbols = jax.nn.one_hot(puzzle, SIDE + 1, dtype=self.embedding.dtype)
        return symbols @ self.embedding + self.inner_bias[None]


def vector_field(reasoner: Reasoner, state: Hidden, drive: Drive) -> Hidden:
    """Computes f(φ) = g(φ) − φ of one puzzle."""
    views = jnp.concatenate([state, *(reasoner.mixing @ state)], axis=1)
    inner = jax.nn.gelu(views @ reasoner.inward + drive)
    return jnp.tanh(inner @ reasoner.outward + reasoner.state_bias[None]) - state


def readout(reasoner: Reasoner, state: Hidden) -> Logits:
    """Computes the logits of the four digits for each cell."""
    return state @ reasoner.answer + reasoner.answer_bias[None]


def loss(logits: Logits, solution: Int[Array, " cells"]) -> Float[Array, ""]:
    """Computes the mean cross-entropy over the cells of one grid, whose digits begin with 1."""
    log_shares = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_shares, solution[:, None] - 1, axis=1))


def iterated(reasoner: Reasoner, state: Hidden, drive: Drive, applications: int) -> Hidden:
    """Applies the cell to a state so many times, differentiably and storing every step."""

    def step(state: Hidden, _: None) -> tuple[Hidden, None]:
        return state + vector_field(reasoner, state, drive), None

    return jax.lax.scan(step, state, length=applications)[0]

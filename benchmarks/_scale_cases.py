"""The networks by which the model of `scale.py` is calibrated and checked."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from leastcontrol.controllers import DynamicInversion
from leastcontrol.equilibrium import FixedPoint
from leastcontrol.rules import (
    AbstractRule,
    Backpropagation,
    Batch,
    LeastControl,
    RecurrentBackpropagation,
)
from leastcontrol.systems import (
    AbstractSystem,
    Convolution,
    ConvolutionalFeedforward,
    DeepEquilibrium,
)

KEY = jax.random.key(0)
CLASSES, LEAK, TOKENS = 16, 6.4, 64
CONVOLUTIONAL, TRANSFORMER = "convolutional", "deep equilibrium transformer"
SOLVER = FixedPoint(max_steps=200)


class Embedding(eqx.Module):
    """A vector for each token, and one for each position."""

    tokens: Array
    positions: Array

    def __call__(self, x: Array) -> Array:
        return self.tokens[x] + self.positions


class Block(eqx.Module):
    """Causal attention and a hidden layer of four times the width, each followed by a norm."""

    qkv: Array
    out: Array
    up: Array
    down: Array
    heads: int = eqx.field(static=True)

    def __call__(self, state: Array, drive: Array) -> Array:
        length, width = state.shape
        q, k, v = jnp.split((state @ self.qkv).reshape(length, self.heads, -1), 3, axis=-1)
        scores = jnp.einsum("ihd,jhd->hij", q, k) / (width // self.heads) ** 0.5
        causal = jnp.tril(jnp.ones((length, length), bool))
        weights = jax.nn.softmax(jnp.where(causal, scores, -1e9))
        mixed = jnp.einsum("hij,jhd->ihd", weights, v).reshape(length, width)
        h = normed(drive + mixed @ self.out)
        return normed(h + jax.nn.gelu(h @ self.up) @ self.down)


class LastToken(eqx.Module):
    """An affine map of the last position."""

    weight: Array

    def __call__(self, state: Array) -> Array:
        return state[-1] @ self.weight


def normed(h: Array) -> Array:
    """Scales every position to mean 0 and variance 1."""
    return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)


def transformer(width: int, length: int, tokens: int = TOKENS) -> DeepEquilibrium:
    """Makes a deep equilibrium transformer with heads of 16, or of 64 if it is wide."""
    keys = iter(jax.random.split(KEY, 7))

    def drawn(rows: int, columns: int, scale: float = 1.0) -> Array:
        return scale * jax.random.normal(next(keys), (rows, columns)) / rows**0.5

    heads = width // (64 if width >= 512 else 16)
    return DeepEquilibrium(
        Embedding(drawn(tokens, width, tokens**0.5), drawn(length, width, length**0.5 / 2)),
        Block(
            drawn(width, 3 * width, 0.5),
            drawn(width, width),
            drawn(width, 4 * width),
            drawn(4 * width, width, 0.5),
            heads,
        ),
        LastToken(drawn(width, CLASSES)),
    )


def convolutional(pixels: int, channels: tuple[int, ...]) -> ConvolutionalFeedforward:
    """Makes a convolutional network whose first layer and every second one halve the maps."""
    layers = tuple(
        Convolution(maps, padding=1, stride=2 if number % 2 == 0 else 1)
        for number, maps in enumerate(channels)
    )
    return ConvolutionalFeedforward((3, pixels, pixels), layers, (), CLASSES, key=KEY)


class Case(NamedTuple):
    """A network of one kind and size, with its batch.

    * `size`: in words.
    * `calibrates`: whether the model is calibrated by it; else it is checked.
    """

    kind: str
    size: str
    calibrates: bool
    system: AbstractSystem
    batches: Batch

    @property
    def rules(self) -> dict[str, AbstractRule]:
        """The baseline, and least control."""
        if self.kind == CONVOLUTIONAL:
            return {
                "backpropagation": Backpropagation(),
                "least control": LeastControl(DynamicInversion(), LEAK),
            }
        return {
            "recurrent backpropagation": RecurrentBackpropagation(solver=SOLVER),
            "least control": LeastControl(DynamicInversion(solver=SOLVER), LEAK),
        }


def _images(pixels: int, channels: tuple[int, ...], batch: int, calibrates: bool = False) -> Case:
    inputs = jax.random.normal(KEY, (1, batch, 3, pixels, pixels))
    targets = (jnp.arange(batch) % CLASSES)[None]
    words = f"{pixels} × {pixels} pixels, {'-'.join(map(str, channels))} maps, batch {batch}"
    system = convolutional(pixels, channels)
    return Case(CONVOLUTIONAL, words, calibrates, system, Batch(inputs, targets))


def _texts(width: int, length: int, batch: int, calibrates: bool = False) -> Case:
    inputs = jax.random.randint(KEY, (1, batch, length), 0, TOKENS)
    targets = (jnp.arange(batch) % CLASSES)[None]
    words = f"width {width}, {length} tokens, batch {batch}"
    return Case(TRANSFORMER, words, calibrates, transformer(width, length), Batch(inputs, targets))


CASES: tuple[Callable[[], Case], ...] = (
    lambda: _images(24, (32, 32), 32, calibrates=True),
    lambda: _images(48, (32, 32), 32),
    lambda: _images(24, (64, 64), 32),
    lambda: _images(24, (32, 32, 64, 64), 32),
    lambda: _images(32, (32, 32), 32),
    lambda: _images(16, (32, 32), 32),
    lambda: _texts(96, 32, 16, calibrates=True),
    lambda: _texts(192, 32, 16),
    lambda: _texts(96, 64, 16),
    lambda: _texts(320, 48, 16),
)


def example(case: Case) -> Any:
    """Returns the shape of one sample."""
    return jax.ShapeDtypeStruct(case.batches.inputs.shape[2:], case.batches.inputs.dtype)

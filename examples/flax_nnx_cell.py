# %% [markdown]
# # A cell of Flax NNX
#
# A recurrent cell of Flax NNX reads a picture until its state rests, and the state at rest is
# classified. The model is an ordinary `nnx.Module`, trained by `nnx.value_and_grad`: `settle` is
# one line in it.

# %%
import jax
import jax.numpy as jnp
import optax
from flax import nnx

import leastcontrol as lc

# %% [markdown]
# The cell maps a state and an input to the next state. What rests is f = cell(state, x) − state.
# `nnx.split` takes the parameters out of the cell, because `settle` differentiates its arguments.


# %%
class Cell(nnx.Module):
    def __init__(self, inputs, size, rngs):
        self.recurrent = nnx.Linear(size, size, rngs=rngs)
        self.input = nnx.Linear(inputs, size, use_bias=False, rngs=rngs)

    def __call__(self, state, x):
        return jnp.tanh(0.5 * self.recurrent(state) + self.input(x))


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.cell = Cell(64, 64, rngs)
        self.readout = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        graph, params = nnx.split(self.cell)
        f = lambda params, state, x: nnx.merge(graph, params)(state, x) - state
        solution = lc.settle(f, params, x, start=jnp.zeros(64), solver=lc.FixedPoint(memory=5))
        return self.readout(solution.value), solution


# %% [markdown]
# 1 797 handwritten digits of 8 × 8 pixels, which come with scikit-learn.

# %%
digits = lc.data.load("digits")
model = Classifier(nnx.Rngs(0))
optimiser = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param)


def loss(model, x, label):
    logits, solution = model(x)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return jnp.mean(losses), jnp.mean(lc.solved(solution))


@nnx.jit
def step(model, optimiser, x, label):
    (value, share), gradient = nnx.value_and_grad(loss, has_aux=True)(model, x, label)
    optimiser.update(model, gradient)
    return value, share


shares = []
for epoch in range(12):
    order = jax.random.permutation(jax.random.key(epoch), len(digits.train.targets))
    for rows in order[: len(order) // 64 * 64].reshape(-1, 64):
        _, share = step(model, optimiser, digits.train.inputs[rows], digits.train.targets[rows])
        shares.append(share)

# %%
logits, solution = nnx.jit(lambda model, x: model(x))(model, digits.test.inputs)
accuracy = float(jnp.mean(logits.argmax(1) == digits.test.targets))
solved_in_training = float(jnp.mean(jnp.stack(shares)))
print(f"The cell classifies {100 * accuracy:.1f} % of {len(logits)} unseen digits.")
print(f"{100 * solved_in_training:.2f} % of all rest points on the way were found.")
print(f"The slowest of the test took {int(solution.stats.steps.max())} steps.")

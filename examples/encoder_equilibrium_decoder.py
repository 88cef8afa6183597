# %% [markdown]
# # Encoder, equilibrium, decoder in Equinox
#
# The same Equinox model is trained in two ways: by the exact gradient of its loss, through
# `settle`, and by the gradient of the control that its targets need, through `least_control`. Both
# are values that `eqx.filter_value_and_grad` differentiates, so the encoder in front of the
# equilibrium trains with it either way.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import leastcontrol as lc

digits = lc.data.load("digits")


class Model(eqx.Module):
    encoder: eqx.nn.MLP
    recurrent: eqx.nn.Linear
    decoder: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.encoder = eqx.nn.MLP(64, 48, 64, 1, key=keys[0])
        self.recurrent = eqx.nn.Linear(48, 48, key=keys[1])
        self.decoder = eqx.nn.Linear(48, 10, key=keys[2])


def f(model, state, drive):  # zero at rest
    return jnp.tanh(model.recurrent(state) + drive) - state


def h(model, state):
    return model.decoder(state)


# %% [markdown]
# `settle` finds the rest points that the encoder's drives lead to; the decoder reads them.


# %%
def read(model, x):
    solution = lc.settle(f, model, jax.vmap(model.encoder)(x), start=jnp.zeros(48))
    return jax.vmap(lambda state: h(model, state))(solution.value), solution


def by_loss(model, x, label):
    outputs, solution = read(model, x)
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, label)
    return jnp.mean(losses), lc.solved(solution)


# %% [markdown]
# `least_control` drives the same equilibrium to its target and returns how much control that
# takes. Its gradient needs no derivative of the state: it is a product of the control and what is
# before it. The leak is large, so the control is weak, and quick to find.

# %%
estimate = lc.least_control(
    f, h, lc.CrossEntropy(), start=jnp.zeros(48), leak=64.0, controller=lc.DynamicInversion()
)


def by_control(model, x, label):
    control, _, solution = estimate(model, jax.vmap(model.encoder)(x), label)
    return control, lc.solved(solution)


# %%
def train(objective):
    model = Model(jax.random.key(0))
    optimiser = optax.adam(2e-3)

    @eqx.filter_jit
    def step(model, moments, x, label):
        (_, solved), gradient = eqx.filter_value_and_grad(objective, has_aux=True)(model, x, label)
        updates, moments = optimiser.update(gradient, moments)
        return eqx.apply_updates(model, updates), moments, jnp.mean(solved)

    moments, shares = optimiser.init(eqx.filter(model, eqx.is_inexact_array)), []
    for epoch in range(12):
        order = jax.random.permutation(jax.random.key(epoch), len(digits.train.targets))
        for rows in order[: len(order) // 64 * 64].reshape(-1, 64):
            x, label = digits.train.inputs[rows], digits.train.targets[rows]
            model, moments, share = step(model, moments, x, label)
            shares.append(share)
    outputs, _ = eqx.filter_jit(read)(model, jnp.asarray(digits.test.inputs))
    accuracy = float(jnp.mean(outputs.argmax(1) == digits.test.targets))
    return accuracy, float(jnp.mean(jnp.stack(shares)))


accuracy_by_loss, solved_by_loss = train(by_loss)
accuracy_by_control, solved_by_control = train(by_control)
print(f"By the loss:    {100 * accuracy_by_loss:.1f} % of the unseen digits are right,", end=" ")
print(f"{100 * solved_by_loss:.2f} % of the rest points were found.")
print(f"By the control: {100 * accuracy_by_control:.1f} % of the unseen digits are right,", end=" ")
print(f"{100 * solved_by_control:.2f} % of the rest points were found.")

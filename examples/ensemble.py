# %% [markdown]
# # An ensemble under `vmap`
#
# Eight equilibrium models are trained at once by `jax.vmap` over their parameters. Each settles
# by itself. Where they disagree, their mean knows that it does not know.

# %%
import jax
import jax.numpy as jnp
import optax

import leastcontrol as lc

MEMBERS, SIZE = 8, 32


def init(key):
    keys = jax.random.split(key, 3)
    return {
        "recurrent": jax.random.normal(keys[0], (SIZE, SIZE)) * 0.5 / SIZE**0.5,
        "input": jax.random.normal(keys[1], (SIZE, 64)) / 8,
        "readout": jax.random.normal(keys[2], (10, SIZE)) / SIZE**0.5,
    }


def f(params, state, x):
    return jnp.tanh(params["recurrent"] @ state + params["input"] @ x) - state


def read(params, x):
    solution = lc.settle(f, params, x, start=jnp.zeros(SIZE))
    return solution.value @ params["readout"].T, lc.solved(solution)


def loss(params, x, label):
    logits, solved = read(params, x)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return jnp.mean(losses), jnp.mean(solved)


# %% [markdown]
# All members learn from the same 150 digits; what differs is their first weights.

# %%
digits = lc.data.load("digits")
x, label = jnp.asarray(digits.train.inputs[:150]), jnp.asarray(digits.train.targets[:150])
optimiser = optax.adam(5e-3)


def step(params, moments):
    (_, share), gradient = jax.value_and_grad(loss, has_aux=True)(params, x, label)
    updates, moments = optimiser.update(gradient, moments)
    return optax.apply_updates(params, updates), moments, share


step = jax.jit(jax.vmap(step))
params = jax.vmap(init)(jax.random.split(jax.random.key(0), MEMBERS))
moments, shares = jax.vmap(optimiser.init)(params), []
for _ in range(150):
    params, moments, share = step(params, moments)
    shares.append(share)

# %%
unseen, truth = jnp.asarray(digits.test.inputs), digits.test.targets
logits, solved = jax.jit(jax.vmap(read, in_axes=(0, None)))(params, unseen)
beliefs = jax.nn.softmax(logits)
accuracies = jnp.mean(logits.argmax(2) == truth, axis=1)
together = beliefs.mean(0)
right = together.argmax(1) == truth
member, ensemble = float(accuracies.mean()), float(right.mean())
# How far the members disagree: the information that a member's name holds about its answer.
entropy = lambda p: -jnp.sum(p * jnp.log(p + 1e-9), axis=-1)
disagreement = entropy(together) - entropy(beliefs).mean(0)
where_right = float(disagreement[right].mean())
where_wrong = float(disagreement[~right].mean())
solved_share = float(jnp.mean(jnp.stack(shares)))
print(
    f"A member is right on {100 * member:.1f} % of unseen digits, on average, the ensemble", end=" "
)
print(f"on {100 * ensemble:.1f} %.")
print(f"Members disagree by {where_right:.2f} nats where the ensemble is right and by", end=" ")
print(f"{where_wrong:.2f} where it is wrong.")
print(f"{100 * solved_share:.2f} % of the rest points on the way were found.")

# %% [markdown]
# # A deep equilibrium transformer on characters
#
# One transformer block is applied to its own output until nothing changes: a network of infinite
# depth with the weights of one layer. It predicts the next character of the help texts that come
# with Python, and is compared with counts of pairs of characters.

# %%
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax

import leastcontrol as lc

LENGTH, WIDTH, HEADS, BATCH, STEPS = 32, 48, 4, 24, 240

text = "\n".join(topics[name] for name in sorted(topics))
characters, tokens = np.unique(list(text), return_inverse=True)
learn, unseen = np.split(tokens, [9 * len(tokens) // 10])
causal = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))


# %%
def normed(h):
    return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)


def block(params, state, drive):
    """Attention and a hidden layer, for a state of shape (length, width)."""
    q, k, v = jnp.split((state @ params["qkv"]).reshape(LENGTH, HEADS, -1), 3, axis=-1)
    scores = jnp.einsum("ihd,jhd->hij", q, k) / (WIDTH // HEADS) ** 0.5
    weights = jax.nn.softmax(jnp.where(causal, scores, -1e9))
    h = normed(drive + jnp.einsum("hij,jhd->ihd", weights, v).reshape(LENGTH, WIDTH))
    return normed(h + jax.nn.gelu(h @ params["up"]) @ params["down"])


def f(params, state, drive):
    return block(params, state, drive) - state


def loss(params, tokens):  # in bits for each character
    drive = params["embedding"][tokens[:, :-1]] + params["position"]
    start = jnp.zeros((LENGTH, WIDTH))
    solver = lc.FixedPoint(max_steps=30, memory=5)
    solution = lc.settle(
        f, params, drive, start=start, solver=solver, tolerance=lc.Tolerance(relative=3e-3)
    )
    logits = solution.value @ params["readout"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
    return jnp.mean(losses) / jnp.log(2.0), solution


# %%
keys = iter(jax.random.split(jax.random.key(0), 8))
draw = lambda *shape, scale=1.0: scale * jax.random.normal(next(keys), shape) / shape[0] ** 0.5
params = {
    "embedding": draw(len(characters), WIDTH, scale=len(characters) ** 0.5),
    "position": draw(LENGTH, WIDTH, scale=LENGTH**0.5 / 2),
    "qkv": draw(WIDTH, 3 * WIDTH, scale=0.5),
    "up": draw(WIDTH, 2 * WIDTH),
    "down": draw(2 * WIDTH, WIDTH, scale=0.5),
    "readout": draw(WIDTH, len(characters)),
}
optimiser = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))
)


@jax.jit
def step(params, moments, tokens):
    (value, solution), gradient = jax.value_and_grad(loss, has_aux=True)(params, tokens)
    updates, moments = optimiser.update(gradient, moments)
    share, steps = jnp.mean(lc.solved(solution)), jnp.mean(solution.stats.steps)
    return optax.apply_updates(params, updates), moments, value, share, steps


random = np.random.default_rng(0)
windows = np.lib.stride_tricks.sliding_window_view(learn, LENGTH + 1)
moments, shares = optimiser.init(params), []
for count in range(STEPS):
    batch = windows[random.integers(len(windows), size=BATCH)]
    params, moments, value, share, steps = step(params, moments, batch)
    shares.append(share)
    if count % 100 == 99:
        print(
            f"{count + 1} steps: {value:.2f} bits, {100 * share:.0f} % solved in {steps:.1f} steps."
        )

# %% [markdown]
# What counts of pairs know, each pair one more than it was seen.

# %%
pairs = np.ones((len(characters), len(characters)))
np.add.at(pairs, (learn[:-1], learn[1:]), 1)
surprise = -np.log2(pairs / pairs.sum(1, keepdims=True))
bits_of_pairs = float(surprise[unseen[:-1], unseen[1:]].mean())

held_out = unseen[: len(unseen) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)[:512]
bits, solution = jax.jit(loss)(params, held_out)
bits, solved_share = float(bits), float(jnp.mean(jnp.stack(shares)))
print(
    f"The unseen tenth of the text costs {bits:.2f} bits a character; pairs, {bits_of_pairs:.2f}."
)
print(f"{100 * solved_share:.1f} % of the rest points on the way were found.")

# %% [markdown]
# # Warm starts along a trajectory
#
# Stiffnesses are learned from a film of a hanging chain of springs, in which each solve starts from
# the rest point of the moment before. A wind turns slowly, so the chain always rests near where it
# rested before. `settle` stands inside `jax.lax.scan`, and `jax.grad` passes through the whole
# film. A start is no part of the solution: no gradient passes through it, and the gradient is the
# same with cold starts.

# %%
import jax
import jax.numpy as jnp
import optax

import leastcontrol as lc

jax.config.update("jax_enable_x64", True)
LINKS, MOMENTS = 6, 40
GRAVITY = jnp.array([0.0, -0.3])


def energy(log_stiffness, positions, wind):
    chain = jnp.concatenate([jnp.zeros((1, 2)), positions])
    lengths = jnp.sqrt(jnp.sum(jnp.diff(chain, axis=0) ** 2, axis=1) + 1e-6)
    springs = jnp.exp(log_stiffness) @ (lengths - 1) ** 2 / 2
    return springs - jnp.sum(positions * (GRAVITY + wind))


def f(log_stiffness, positions, wind):  # the forces; at rest they are zero
    return -jax.grad(energy, argnums=1)(log_stiffness, positions, wind)


# %% [markdown]
# The batch is four chains of the same springs in winds of four strengths.

# %%
hanging = jnp.stack([jnp.zeros(LINKS), -jnp.arange(1.0, LINKS + 1)], axis=1)
angle = 2 * jnp.pi * jnp.arange(MOMENTS) / MOMENTS
turning = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
winds = turning[:, None] * jnp.array([0.05, 0.1, 0.15, 0.2])[:, None]


def film(log_stiffness, warm):
    def moment(before, wind):
        start = before if warm else jnp.broadcast_to(hanging, before.shape)
        solution = lc.settle(f, log_stiffness, wind, start=start, solver=lc.TrustRegion())
        return solution.value, (solution.value, solution.stats.steps, lc.solved(solution))

    first = jnp.broadcast_to(hanging, (4, LINKS, 2))
    return jax.lax.scan(moment, first, winds)[1]


film = jax.jit(film, static_argnames="warm")
truth = jnp.log(jax.random.uniform(jax.random.key(0), (LINKS,), minval=2, maxval=8))
seen, warm_steps, solved = film(truth, warm=True)
_, cold_steps, _ = film(truth, warm=False)
warm_mean, cold_mean = float(warm_steps.mean()), float(cold_steps.mean())
solved_share = float(solved.mean())
print(f"A rest point takes {warm_mean:.1f} Newton steps from the one before, {cold_mean:.1f} from")
print(f"the hanging chain; {100 * solved_share:.0f} % were found.")

# %% [markdown]
# The film is measured with an error of a hundredth of a link.

# %%
measured = seen + 0.01 * jax.random.normal(jax.random.key(1), seen.shape)


def loss(log_stiffness, warm):
    return jnp.mean((film(log_stiffness, warm)[0] - measured) ** 2)


gradient = jax.jit(jax.value_and_grad(loss), static_argnames="warm")
guess = jnp.log(jnp.full(LINKS, 4.0))
by_warm, by_cold = (gradient(guess, warm=warm)[1] for warm in (True, False))
difference = float(jnp.linalg.norm(by_warm - by_cold) / jnp.linalg.norm(by_cold))
print(f"Gradients with warm and with cold starts differ by {difference:.1e} of their size.")

optimiser = optax.adam(optax.cosine_decay_schedule(0.2, 40))
learned, moments = guess, optimiser.init(guess)
for _ in range(40):
    _, slope = gradient(learned, warm=True)
    updates, moments = optimiser.update(slope, moments)
    learned = optax.apply_updates(learned, updates)

# %%
error_before = float(jnp.max(jnp.abs(jnp.expm1(guess - truth))))
error = float(jnp.max(jnp.abs(jnp.expm1(learned - truth))))
print(f"The largest error of a stiffness fell from {100 * error_before:.0f} %", end=" ")
print(f"to {100 * error:.1f} %.")

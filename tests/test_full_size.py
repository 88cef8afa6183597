"""The paper's networks for CIFAR-10 at full size: one step of every row, on two images."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import leastcontrol as lc
from leastcontrol import training
from leastcontrol.papers import registry
from leastcontrol.runs import trained

TABLES = (registry.CONVOLUTIONAL_TABLE, registry.DEEP_EQUILIBRIUM_TABLE)
ROWS = {f"{table.name} {row.name}": row for table in TABLES for row in table.rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_step_of_every_row_is_compiled_and_run(name):
    config = ROWS[name].config
    with jax.enable_x64(False):
        system = trained.build_network(config, (3, 32, 32), 10, 0)
        rule = config.build_rule()
        optimiser = training.make_optimiser(config.build_training(), 2)
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)
        weights = [leaf for leaf in jax.tree.leaves(learned) if leaf.ndim >= 2]
        assert sum(leaf.size for leaf in weights) > 50_000
        batch = lc.Batch(jax.random.normal(jax.random.key(1), (2, 3, 32, 32)), jnp.arange(2))

        @jax.jit
        def step(learned, state):
            credit = rule(eqx.combine(learned, fixed), None, batch)
            updates, state = optimiser.update(credit.gradient, state, learned)
            return optax.apply_updates(learned, updates), credit.loss, credit.solution.stats.error

        after, loss, error = step(learned, optimiser.init(learned))
        assert np.isfinite(loss)
        assert loss > 0
        assert np.isfinite(error).all()
        moved = [
            bool((old != new).any())
            for old, new in zip(jax.tree.leaves(learned), jax.tree.leaves(after), strict=True)
            if old.ndim >= 2
        ]
        assert all(moved)

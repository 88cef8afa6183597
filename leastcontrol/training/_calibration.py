"""The statistics of batch norm, measured anew for evaluation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..data import Samples
from ..equilibrium import FixedPoint, free_equilibrium, solved
from ..systems import AbstractBatchNormalised, AbstractSystem

# Samples that statistics are measured on; of one image they have as many numbers as it has pixels.
SAMPLES = 512


@eqx.filter_jit
def _rest_points(system: AbstractSystem, inputs: Array) -> tuple[PyTree[Array], Array]:
    drives = jax.vmap(system.drive)(inputs)
    solution = free_equilibrium(system, drives, solver=FixedPoint(max_steps=400))
    return solution.value, solved(solution)


def calibrate(system: AbstractSystem, dataset: Samples) -> AbstractSystem:
    """Returns a system with its batch norm's statistics measured on a data set's first samples.

    The encoder's are those of the samples, the decoder's those of their free rest points as far as
    they are found; where none is, they stay. A system without batch norm is left as it is.
    """
    if not isinstance(system, AbstractBatchNormalised):
        return system
    inputs = jnp.asarray(dataset.inputs[:SAMPLES])
    system = system.with_batch_statistics(inputs)
    states, found = _rest_points(system, inputs)
    if not found.any():
        return system
    return system.calibrated(jax.tree.map(lambda leaf: leaf[found], states))

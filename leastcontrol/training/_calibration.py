"""The statistics of batch norm, measured anew for evaluation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..data import Samples
from ..equilibrium import InTurn, free_equilibrium, solved
from ..systems import AbstractBatchNormalised, AbstractSystem

# How many samples statistics are measured on; each pixel of an image gives a number to them.
SAMPLES = 512


@eqx.filter_jit
def _rest_points(system: AbstractSystem, inputs: Array) -> tuple[PyTree[Array], Array]:
    drives = jax.vmap(system.drive)(inputs)
    solution = free_equilibrium(system, drives, solver=InTurn())
    return solution.value, solved(solution)


def calibrate(system: AbstractSystem, dataset: Samples) -> AbstractSystem:
    """Measures the statistics of a system's batch norm anew on the first samples of a data set.

    The encoder's are measured on the samples, the decoder's on their free rest points, without the
    samples that were not solved; where none was solved, the decoder's stay as they were. A system
    without batch norm stays as it is.
    """
    if not isinstance(system, AbstractBatchNormalised):
        return system
    inputs = jnp.asarray(dataset.inputs[:SAMPLES])
    system = system.with_batch_statistics(inputs)
    states, converged = _rest_points(system, inputs)
    if not converged.any():
        return system
    return system.calibrated(jax.tree.map(lambda leaf: leaf[converged], states))

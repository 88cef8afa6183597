"""Where the arrays of a training lie."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


@dataclasses.dataclass(frozen=True)
class Placement:
    """A copy of every array on each device of a mesh, or on the default device without one."""

    mesh: Mesh | None

    @property
    def sharding(self) -> NamedSharding | None:
        """The sharding of arrays that lie on every device; `None` without a mesh."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    def spread(self, tree: PyTree) -> PyTree:
        """Copies arrays to every device."""
        whole = self.sharding
        if whole is None:
            return jax.tree.map(jnp.asarray, tree)
        # Every process has all of the arrays, and copies them to its devices.
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(whole, np.asarray(leaf)), tree
        )

    def local(self, tree: PyTree) -> PyTree:
        """Takes the copy on one device of this process."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

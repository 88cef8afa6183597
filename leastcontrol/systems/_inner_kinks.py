"""Rectified units inside f, and the shares of the slope that they take on their kinks.

The units of a chain are its state, and rest on a kink where a state is zero (`_kinks`). A unit
inside f has a pre-activation z(φ) and the activity max(z, 0). Where it rests on its kink, z = 0,
its slope is a share λ between 0 and 1 that no one-sided derivative gives. But there max(z, 0) = λz
for every λ. So the system with λz in the place of max(z, 0) has the same f and h, and the
derivatives that belong to the shares, in the state as well as in the parameters.

* `OnKinks` is that system. With widths it is smooth instead, and a solver can take Newton steps.
* `follow` evaluates a system while the shares follow the pre-activations.

docs/derivations/kinks-inside-f.md derives both.
"""

import itertools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._system import AbstractInnerKinks, AbstractSystem, Drive, Output, Rectifier, State, relu

# An array for each layer of units, in the order in which the system computes them.
Units = tuple[Float[Array, "..."], ...]


def preactivations(system: AbstractInnerKinks, state: State, drive: Drive) -> Units:
    """Computes the pre-activations z of all units inside f."""
    layers = []

    def rectify(z: Array) -> Array:
        layers.append(z)
        return relu(z)

    system.field_through(state, drive, rectify)
    return tuple(layers)


class Followed(NamedTuple):
    """f and h of a system whose shares follow the pre-activations of its units.

    * `field`, `read`: f and h.
    * `shares`: the shares λ of the slopes.
    * `off_kinks`: for each unit how far z is from where λ is admissible.
    * `pull`: the map (ψ, u) ↦ (∂_φfᵀψ + ∂_φhᵀu, g), where g are the signals at the activities.
    """

    field: State
    read: Output
    shares: Units
    off_kinks: Units
    pull: Callable[[State, Output], tuple[State, Units]]


def follow(
    system: AbstractInnerKinks,
    state: State,
    drive: Drive,
    shares: Units,
    widths: Units | None = None,
) -> Followed:
    """Evaluates f and h with the shares λ′ = min(max(λ + z/w, 0), 1).

    **Arguments:**

    * `shares`: λ, for all units.
    * `widths`: w ≥ 0, for all units; a unit of width 0 is sharp, and without widths λ′ = λ.
    """

    def evaluate(state: State, added: Units) -> tuple[tuple[State, Output], tuple[Units, Units]]:
        following, off_kinks = [], []

        def softened(layer: int, z: Array) -> Array:
            share = shares[layer]
            if widths is not None:
                share = jax.lax.stop_gradient(_following(share, z, widths[layer]))
            following.append(share)
            off_kinks.append(_off_kink(z, share))
            return share * z + added[layer]

        field = system.field_through(state, drive, _numbered(softened))
        units = tuple(following), tuple(off_kinks)
        return (field, system.readout_through(state, _numbered(softened))), units

    nothing = jax.tree.map(jnp.zeros_like, shares)
    (field, read), pull, units = jax.vjp(evaluate, state, nothing, has_aux=True)
    return Followed(field, read, *units, lambda control, output: pull((control, output)))


def _numbered(unit: Callable[[int, Array], Array]) -> Rectifier:
    """Makes a rectifier of a function of the number of a layer and its pre-activations."""
    layers = itertools.count()
    return lambda z: unit(next(layers), z)


def _following(share: Array, z: Array, width: Array) -> Array:
    soft = jnp.clip(share + z / jnp.where(width > 0, width, 1), 0, 1)
    return jnp.where(width > 0, soft, (z > 0).astype(z.dtype))


def _off_kink(z: Array, share: Array) -> Array:
    # A share of 1 belongs to any z ≥ 0, one of 0 to any z ≤ 0, and one between to z = 0 alone.
    return jnp.where(share >= 1, jnp.minimum(z, 0), jnp.where(share <= 0, jnp.maximum(z, 0), z))


class OnKinks(AbstractSystem):
    """A system whose rectified units inside f have given shares λ of their slopes.

    Without widths, an activity is λz. With widths w it is the smooth function

        s(z) = ∫_0^z min(max(λ + x/w, 0), 1) dx,

    which is max(z, 0) at every z where λ is admissible.

    **Arguments:**

    * `system`: the system with sharp units.
    * `shares`, `widths`: λ and w ≥ 0, for all units; a unit of width 0 is sharp.
    """

    unit_rate: ClassVar[bool] = True

    system: AbstractInnerKinks
    shares: Units
    widths: Units | None
    output_neurons: bool = eqx.field(static=True)

    def __init__(self, system: AbstractInnerKinks, shares: Units, widths: Units | None = None):
        self.system = system
        self.shares = shares
        self.widths = widths
        self.output_neurons = system.output_neurons

    def _rectifier(self) -> Rectifier:
        def activity(layer: int, z: Array) -> Array:
            if self.widths is None:
                return self.shares[layer] * z
            return _smooth(z, self.shares[layer], self.widths[layer])

        return _numbered(activity)

    def vector_field(self, state: State, drive: Drive) -> State:
        """Computes f with the shares of this system."""
        return self.system.field_through(state, drive, self._rectifier())

    def readout(self, state: State) -> Output:
        """Computes h with the shares of this system."""
        return self.system.readout_through(state, self._rectifier())

    def drive(self, x: PyTree) -> Drive:
        """Computes the drive of the system."""
        return self.system.drive(x)

    def initial_state(self, drive: Drive) -> State:
        """Returns the initial state of the system."""
        return self.system.initial_state(drive)

    def zero_state(self) -> State:
        """Returns the zero state of the system."""
        return self.system.zero_state()

    def activity(self, state: State) -> State:
        """Computes the activity of the system."""
        return self.system.activity(state)

    def feedback_parameters(self) -> PyTree[bool]:
        """Marks what the system marks, and no share."""
        none = jax.tree.map(lambda _: False, self)
        return eqx.tree_at(lambda held: held.system, none, self.system.feedback_parameters())


def inner_kinks(system: AbstractSystem) -> AbstractInnerKinks | None:
    """Returns the system itself if it has rectified units inside f, and `None` if not."""
    return system if isinstance(system, AbstractInnerKinks) and system.rectified else None


def on_kinks(system: AbstractSystem, shares: Units | None) -> AbstractSystem:
    """Returns the system whose units have given shares, or itself where there are none."""
    kinked = inner_kinks(system)
    return system if shares is None or kinked is None else OnKinks(kinked, shares)


def _smooth(z: Array, share: Array, width: Array) -> Array:
    slope = _following(share, z, width)
    # The integral of the slope: its two corners are at z = −λw and z = (1 − λ)w.
    above = jnp.maximum(z - (1 - share) * width, 0)
    smooth = 0.5 * width * (slope**2 - share**2) + above
    return jnp.where(width > 0, smooth, relu(z))

"""The interface of a system, the affine map, and the activations.

`AbstractSystem` and its subclasses define what a solver may ask of a system; the package docstring
explains the decomposition. The activations are plain functions.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._initialisation import AbstractInitialisation
from ._kinks import Kinked, Split

Activation = Callable[[Array], Array]

State = PyTree[Float[Array, "..."], " State"]
Drive = PyTree[Any]
Output = Float[Array, " outputs"]
Pullback = Callable[[State, Output], State]
# A function of the pre-activations of one layer of units.
Rectifier = Callable[[Array], Array]


class AbstractSystem(eqx.Module):
    """The free dynamics φ̇ = f(φ, θ, x) of one sample and its output y = h(φ, θ).

    Its inexact JAX arrays are the parameters θ; everything else is structure.
    """

    unit_rate: ClassVar[bool] = False
    """Whether f = −φ + g(φ), so that one unit of time is the decay time of the state. For any
    other f, solvers measure the rate, because a rest point does not depend on the unit of time."""

    output_neurons: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def drive(self, x: PyTree[Any]) -> Drive:
        """Computes the part of f that depends on the input alone."""

    @abc.abstractmethod
    def initial_state(self, drive: Drive) -> State:
        """Returns the state from which a solver starts by default."""

    @abc.abstractmethod
    def vector_field(self, state: State, drive: Drive) -> State:
        """Computes f(φ, θ, x), a pytree like the state."""

    @abc.abstractmethod
    def readout(self, state: State) -> Output:
        """Computes h(φ, θ), the output of shape `(outputs,)`."""

    def pullback(self, state: State, drive: Drive) -> tuple[State, Output, Pullback]:
        """Computes f and h at a state, and the map (ψ, u) ↦ ∂_φfᵀψ + ∂_φhᵀu."""

        def field_and_readout(state: State) -> tuple[State, Output]:
            return self.vector_field(state, drive), self.readout(state)

        return _pulled(field_and_readout, state)

    @abc.abstractmethod
    def zero_state(self) -> State:
        """Returns zeros with the structure and shapes of the state, without an input.

        Direct feedback weights have one entry per pair of output and state element. They are drawn
        before the first input, so they need the shape of the state.

        **Raises:** `ValueError` if the system does not define its state's shape without an input.
        """

    @abc.abstractmethod
    def activity(self, state: State) -> State:
        """Computes σ(φ) elementwise, or returns φ if the system has no such activation.

        Rules with direct feedback to the state multiply it by σ′(φ), so that a saturated neuron
        does not learn.
        """

    @abc.abstractmethod
    def feedback_parameters(self) -> PyTree[bool]:
        """Marks the parameters on which ∂_φfᵀψ + ∂_φhᵀu depends.

        A controller with separate feedback weights replaces these parameters. `all_matrices` marks
        every array with at least two axes; a system leaves out weights that read the input alone.
        """


class AbstractSystemWithoutDirectFeedback(AbstractSystem):
    """A system that no feedback can go to straight from the output.

    Its state is not known before an input is seen, and it names no activation.
    """

    def zero_state(self) -> State:
        """Raises `ValueError`: the state's structure is not known without an input."""
        raise ValueError(
            f"Feedback from the output to the state needs to know how large the state is, and "
            f"{type(self).__name__} does not say: use a controller without such feedback, or a "
            "system that defines zero_state()."
        )

    def activity(self, state: State) -> State:
        """Returns φ itself."""
        return state


class AbstractOrderedSystem(AbstractSystem):
    """A system that settles node after node, because ∂_φf is block lower triangular."""

    @abc.abstractmethod
    def settle(self, drive: Drive, control: State) -> State:
        """Solves f(φ, θ, x) + ψ = 0 exactly, in one pass through the nodes."""


class SettledOnKinks(NamedTuple):
    """The controlled state of a rectified system for given signals.

    * `state`, `control`: φ, and the control ψ with f + ψ = 0.
    * `read`: h(φ).
    * `answer(u, before, stiffness)`: takes an output control u and the previous control `before`.
      Returns the signals that u sends back, the control that these signals request at this state,
      and the residual ∂_φfᵀψ + ∂_φhᵀu under that control.
    """

    state: State
    control: State
    read: Output
    answer: Callable[[Output, State, State], tuple[State, State, State]]


class AbstractRectifiedSystem(AbstractOrderedSystem):
    """An ordered system whose activities have kinks, with generalised gradients on them.

    Controlled states often rest exactly on kinks (see [Rectified units under
    control][rectified-units-under-control]). There the control is ψ = λg, a share λ of the
    backpropagated signal g that no one-sided derivative gives. So such a system is settled by
    signals instead of controls.
    """

    @property
    @abc.abstractmethod
    def rectified(self) -> bool:
        """Whether the activities of this system have kinks, which depends on its activation."""

    @abc.abstractmethod
    def initial_signals(self, drive: Drive) -> State:
        """Makes the signals without any control, zeros of the shapes that signals have."""

    @abc.abstractmethod
    def settle_by_signals(self, drive: Drive, signals: State, last: State) -> "SettledOnKinks":
        """Settles the system under the control that the signals request.

        If several states qualify, chooses the one on the same side of its kinks as `last`.
        """

    @abc.abstractmethod
    def stiffness(self) -> State:
        """Estimates ∂p/∂ψ for the pre-activation p and the control ψ of each unit.

        Control of a unit also changes the controls of earlier layers, which move p further, by the
        squared norm of the unit's gradient with respect to those controls. The returned arrays
        broadcast against the state and are the same for all samples.
        """

    @abc.abstractmethod
    def field_and_readout(
        self, state: State, drive: Drive, split: Split = Kinked.split
    ) -> tuple[State, Output]:
        """Computes f and h, whose pullback on a kink is that of `split`."""


class AbstractInnerKinks(AbstractSystem):
    """A system f = −φ + g(φ) that settles jointly and may have rectified units inside f.

    Controlled states often rest on the kinks of such units, where the slope is a share that no
    one-sided derivative gives ([Kinks inside f][kinks-inside-f]).
    """

    unit_rate: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def rectified(self) -> bool:
        """Whether there are rectified units inside f, which depends on the activation."""

    @abc.abstractmethod
    def field_through(self, state: State, drive: Drive, rectify: Rectifier) -> State:
        """Computes f with `rectify` in the place of relu.

        It is called once for each layer of units whose pre-activations depend on the state, in an
        order that depends on no value.
        """

    @abc.abstractmethod
    def readout_through(self, state: State, rectify: Rectifier) -> Output:
        """Computes h with `rectify` in the place of relu; its units are the first ones of f."""


def pullback_at_rest(
    system: AbstractSystem, state: State, drive: Drive
) -> tuple[State, Output, Pullback]:
    """Computes f, h and the pullback used by the residuals of a rest point.

    Where f has kinks, the pullback uses the generalised gradient nearest to the control.
    """
    if isinstance(system, AbstractRectifiedSystem) and system.rectified:
        return _pulled(lambda state: system.field_and_readout(state, drive), state)
    return system.pullback(state, drive)


def pullback_around_rest(
    system: AbstractSystem, state: State, drive: Drive
) -> tuple[State, Output, Pullback]:
    """Computes f, h and a pullback that can be linearised at a rest point.

    It is zero at those rest points of `pullback_at_rest` that are minima. Where f has kinks, its
    derivative is that of the equations with the units held on their kinks.
    """
    if isinstance(system, AbstractRectifiedSystem) and system.rectified:
        around = Kinked.split_around
        return _pulled(lambda state: system.field_and_readout(state, drive, around), state)
    return system.pullback(state, drive)


def all_matrices(system: AbstractSystem) -> PyTree[bool]:
    """Marks the arrays of a system that have at least two axes."""
    return jax.tree.map(lambda leaf: eqx.is_inexact_array(leaf) and leaf.ndim >= 2, system)


def _pulled(
    function: Callable[[State], tuple[State, Output]], state: State
) -> tuple[State, Output, Pullback]:
    (field, read), pull = jax.vjp(function, state)
    return field, read, lambda control, output_control: pull((control, output_control))[0]


class Affine(eqx.Module):
    """The map x ↦ Wx + b with W of shape `(outputs, inputs)` and b of shape `(outputs,)`."""

    weight: Float[Array, "outputs inputs"]
    bias: Float[Array, " outputs"]

    @staticmethod
    def initialise(
        inputs: int,
        outputs: int,
        initialisation: AbstractInitialisation,
        *,
        key: PRNGKeyArray,
    ) -> "Affine":
        """Draws weight and bias of an affine map from `initialisation`."""
        weight_key, bias_key = jax.random.split(key)
        return Affine(
            initialisation.weight(weight_key, outputs, inputs),
            initialisation.bias(bias_key, outputs, inputs),
        )

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return self.weight @ x + self.bias


def tanh(x: Array) -> Array:
    """Computes the hyperbolic tangent, the activation of both papers' networks."""
    return jnp.tanh(x)


def relu(x: Array) -> Array:
    """Computes max(x, 0)."""
    return jax.nn.relu(x)


def gelu(x: Array) -> Array:
    """Computes the Gaussian error linear unit in its exact form."""
    return jax.nn.gelu(x, approximate=False)


def identity(x: Array) -> Array:
    """Returns its argument, as the activation of a linear network."""
    return x


def check_size(name: str, size: int) -> None:
    """Raises `ValueError` if a layer size is not a whole number of at least 1."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(
            f"`{name}` is {size!r}, but a size is a whole number of at least 1: write {name}=256."
        )

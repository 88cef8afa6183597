"""The interface of a system and the two pieces that several systems are made of.

`AbstractSystem` and `AbstractOrderedSystem` say what a solver may ask for (the package's docstring
explains why); `Affine` is the one linear map, and the activations are plain functions.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._initialisation import AbstractInitialisation

Activation = Callable[[Array], Array]

State = PyTree[Float[Array, "..."], " State"]
Drive = PyTree[Any]
Output = Float[Array, " outputs"]
Pullback = Callable[[State, Output], State]


class AbstractSystem(eqx.Module):
    """The free dynamics φ̇ = f(φ, θ, x) of one sample and its output y = h(φ, θ).

    Its inexact JAX arrays are the parameters θ; everything else is structure.
    """

    unit_rate: ClassVar[bool] = False
    """Whether f = −φ + g(φ), whose unit of time is that in which a state decays by itself. Of any
    other f solvers measure the rate, for a rest point does not depend on the unit of time."""

    output_neurons: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def drive(self, x: PyTree[Any]) -> Drive:
        """Returns the part of f that depends on the input alone."""

    @abc.abstractmethod
    def initial_state(self, drive: Drive) -> State:
        """Returns the state from which a solver starts when it knows no better one."""

    @abc.abstractmethod
    def vector_field(self, state: State, drive: Drive) -> State:
        """Returns f(φ, θ, x), a pytree like the state."""

    @abc.abstractmethod
    def readout(self, state: State) -> Output:
        """Returns h(φ, θ), the output of shape `(outputs,)`."""

    def pullback(self, state: State, drive: Drive) -> tuple[State, Output, Pullback]:
        """Returns f and h at a state, and (ψ, u) ↦ ∂_φfᵀψ + ∂_φhᵀu there."""

        def field_and_readout(state: State) -> tuple[State, Output]:
            return self.vector_field(state, drive), self.readout(state)

        return _pulled(field_and_readout, state)

    @abc.abstractmethod
    def zero_state(self) -> State:
        """Returns zeros of the state's structure, without any input.

        Feedback that goes straight from the output to the state has a weight for each of its
        elements, and is drawn before an input is seen.

        **Raises:** `ValueError` for a system that does not know its state without an input.
        """

    @abc.abstractmethod
    def activity(self, state: State) -> State:
        """Returns σ(φ), elementwise, where the system has such an activation; else φ itself.

        Rules whose feedback goes straight to the state multiply it by σ′(φ), so that a saturated
        neuron does not learn.
        """

    @abc.abstractmethod
    def feedback_parameters(self) -> PyTree[bool]:
        """Returns for each parameter whether ∂_φfᵀψ + ∂_φhᵀu depends on it.

        Those are what a controller with feedback weights of its own has to replace. A system that
        does not know better names all its matrices (`all_matrices`); one that knows some of them to
        see the input alone leaves them out.
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
    """A system whose state can be settled node after node: ∂_φf is block lower triangular."""

    @abc.abstractmethod
    def settle(self, drive: Drive, control: State) -> State:
        """Returns the state with f(φ, θ, x) + ψ = 0, exactly and in one pass through the order."""


class SettledOnKinks(NamedTuple):
    """What a rectified system settles to under signals.

    * `state`, `control`: φ, and the control ψ that holds it there, f + ψ = 0.
    * `read`: h(φ).
    * `answer(u, before, stiffness)`: for an output control u, the signals that it sends back; the
      control that these ask for at this state, given the one that was asked for `before`; and
      ∂_φfᵀψ + ∂_φhᵀu under that control.
    """

    state: State
    control: State
    read: Output
    answer: Callable[[Output, State, State], tuple[State, State, State]]


class AbstractRectifiedSystem(AbstractOrderedSystem):
    """An ordered system whose activities have kinks, and which knows their derivatives there.

    Under control states come to rest on kinks (`leastcontrol.systems._kinks` says why), where the
    control answers to the signal that an activity receives, ψ = λg, by a share that no derivative
    gives. So such a system is settled by signals and not by controls.
    """

    @property
    @abc.abstractmethod
    def rectified(self) -> bool:
        """Whether this system's activities have kinks: not every activation has."""

    @abc.abstractmethod
    def initial_signals(self, drive: Drive) -> State:
        """Returns zeros of the shapes of the activities."""

    @abc.abstractmethod
    def settle_by_signals(self, drive: Drive, signals: State, last: State) -> "SettledOnKinks":
        """Returns what the system settles to under the control that the signals ask for.

        Of several such states it is the one on the same side of its kinks as `last`.
        """

    @abc.abstractmethod
    def stiffness(self) -> State:
        """Returns an estimate of ∂p/∂ψ for the pre-activation p and the control ψ of each unit.

        A unit's control asks the layers before to move the way it does, which adds to p as much as
        they answer: the squared size of the unit's gradient in their controls. Its arrays broadcast
        to those of the state, and are the same for all samples.
        """

    @abc.abstractmethod
    def field_and_readout(self, state: State, drive: Drive) -> tuple[State, Output]:
        """Returns f and h, with a pullback that takes the generalised gradient on a kink."""


def pullback_at_rest(
    system: AbstractSystem, state: State, drive: Drive
) -> tuple[State, Output, Pullback]:
    """Returns f, h and the pullback that a rest point is judged by.

    Where f has kinks that is the one of its generalised gradients that is nearest to what is pulled
    back.
    """
    if isinstance(system, AbstractRectifiedSystem) and system.rectified:
        return _pulled(lambda state: system.field_and_readout(state, drive), state)
    return system.pullback(state, drive)


def all_matrices(system: AbstractSystem) -> PyTree[bool]:
    """Returns for each array of a system whether it is a parameter of at least two axes."""
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
        """Returns a map whose weight and bias are drawn by `initialisation`."""
        weight_key, bias_key = jax.random.split(key)
        return Affine(
            initialisation.weight(weight_key, outputs, inputs),
            initialisation.bias(bias_key, outputs, inputs),
        )

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return self.weight @ x + self.bias


def tanh(x: Array) -> Array:
    """Returns the hyperbolic tangent, the activation of both papers' networks."""
    return jnp.tanh(x)


def relu(x: Array) -> Array:
    """Returns max(x, 0)."""
    return jax.nn.relu(x)


def gelu(x: Array) -> Array:
    """Returns the Gaussian error linear unit in its exact form."""
    return jax.nn.gelu(x, approximate=False)


def identity(x: Array) -> Array:
    """Returns its argument: the activation of a linear network."""
    return x


def check_size(name: str, size: int) -> None:
    """Refuses a layer size that is not a whole number of at least one."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(
            f"`{name}` is {size!r}, but a size is a whole number of at least 1: write {name}=256."
        )

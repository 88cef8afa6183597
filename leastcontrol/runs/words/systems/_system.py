"""What the words of `--system` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...configuration import AbstractWord
from ...options import POSITIVE, ConfigError, Range, option, refuse

if TYPE_CHECKING:
    from jaxtyping import Array, Key

    from ....rules import AbstractRule
    from ....systems import AbstractSystem

# Two such layers in a row are joined by 4 GiB of weights, and the optimiser needs three times that.
LARGEST_LAYER = 2**15
# Each of them is compiled by itself.
MOST_LAYERS = 1000
LAYER = Range(1, LARGEST_LAYER)

ACTIVATIONS = {"tanh": "tanh", "relu": "relu", "gelu": "gelu", "identity": "identity"}
INITIALISATIONS = {
    "fan-in-uniform": "FanInUniform",
    "xavier-normal": "XavierNormal",
    "xavier-uniform": "XavierUniform",
    "orthogonal": "Orthogonal",
}


@dataclasses.dataclass(frozen=True)
class AbstractSystemWord(AbstractWord):
    """What settles.

    * `images`: whether it takes images with their channels and axes, and not pixels in a row.
    * `recurrent`: whether it has no order of layers, so that it is iterated to rest.
    """

    images: ClassVar[bool] = False
    recurrent: ClassVar[bool] = False

    @abc.abstractmethod
    def build(
        self, shape: tuple[int, ...], outputs: int, key: "Key[Array, '']"
    ) -> "AbstractSystem":
        """Makes the system for samples of a shape, with random weights.

        **Raises:** `ValueError` where it cannot be built for these samples.
        """

    def augmentations(self) -> tuple[Any, ...]:
        """Makes the random changes of training samples."""
        return ()

    def around(self, rule: "AbstractRule", unit: float) -> "AbstractRule":
        """Returns the rule with what this system needs around it.

        **Arguments:** `unit`, in which the rule's objective has the loss.
        """
        return rule


@dataclasses.dataclass(frozen=True)
class AbstractInitialised(AbstractSystemWord):
    """A system whose first weights are drawn."""

    initialisation: str = option("fan-in-uniform", "First weights", choices=INITIALISATIONS)

    def initialiser(self) -> Any:
        """Makes the initialisation."""
        from .... import systems

        return self.stands_for("initialisation", systems)()


@dataclasses.dataclass(frozen=True)
class AbstractActivated(AbstractInitialised):
    """A system with one activation function."""

    activation: str = option("tanh", "Activation function", choices=ACTIVATIONS)

    def function(self) -> Any:
        """Returns the activation function."""
        from .... import systems

        return self.stands_for("activation", systems)


@dataclasses.dataclass(frozen=True)
class AbstractPenalised(AbstractSystemWord):
    """A recurrent system, whose Jacobian can be penalised."""

    recurrent: ClassVar[bool] = True

    jacobian_penalty: float | None = option(
        None,
        "Strength of a penalty that keeps the system solvable, in units of the loss",
        range=POSITIVE,
    )

    def penalised(self, rule: "AbstractRule", unit: float) -> "AbstractRule":
        """Returns the rule with the penalty around it, if there is one."""
        from ....rules import JacobianPenalty

        if self.jacobian_penalty is None:
            return rule
        return JacobianPenalty(rule, self.jacobian_penalty / unit)


@dataclasses.dataclass(frozen=True)
class AbstractImageSystem(AbstractSystemWord):
    """A system that takes images with their channels and axes."""

    images: ClassVar[bool] = True

    augment: str = option(
        "none",
        "Random change of training images: crop moves by up to 4 pixels, flip mirrors",
        choices=("none", "crop", "flip", "crop-and-flip"),
    )

    def augmentations(self) -> tuple[Any, ...]:
        """Makes the random changes of training images."""
        from ....training import RandomCrop, RandomFlip

        changes = []
        if "crop" in self.augment:
            changes.append(RandomCrop())
        if "flip" in self.augment:
            changes.append(RandomFlip())
        return tuple(changes)

    def check(self, config: Any) -> None:
        """Checks that there are images with labels."""
        if config.data.regression:
            raise ConfigError(
                f"--system {self.word} takes images to classes, and --data {config.data.word} has "
                "vectors for targets: write --system feedforward."
            )


def check_layers(hidden: tuple[int, ...]) -> None:
    """Checks the number of hidden layers.

    **Raises:** `ConfigError` for none, or too many.
    """
    if not hidden:
        refuse("hidden", hidden, f"sizes {LAYER}", "256 256")
    if len(hidden) > MOST_LAYERS:
        raise ConfigError(
            f"--hidden has {len(hidden)} sizes, but a network has at most {MOST_LAYERS} layers: "
            "write fewer."
        )


def check_one_width(word: str, hidden: tuple[int, ...]) -> None:
    """Checks that all layers have one width.

    **Raises:** `ConfigError` for more sizes than one, or none.
    """
    if len(hidden) != 1:
        article = "an" if word == "rnn" else "a"
        refuse("hidden", hidden, f"one size for {article} {word}", "256")

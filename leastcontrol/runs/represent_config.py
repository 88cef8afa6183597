"""The configuration of one run of implicit representations.

Every picture has a network of its own, which learns its colours from a quarter of its pixels (arXiv
2207.01332, section S4).
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from .config import AbstractSeededConfig, Seeds
from .configuration import AbstractPart
from .options import POSITIVE, at_least, choice, group, option, refuse
from .words.represent import REPRESENT_RULES, AbstractRepresentRule
from .words.represent.least_control import LeastControl
from .words.systems._system import ACTIVATIONS, LAYER

if TYPE_CHECKING:
    from ..systems import ImplicitRepresentation

NATURAL = tuple(f"natural-{number}" for number in range(1, 5))
TEXT = tuple(f"text-{number}" for number in range(1, 5))


@dataclasses.dataclass(frozen=True)
class Pictures(AbstractPart):
    """What is learned."""

    images: tuple[str, ...] = option(
        (*NATURAL, *TEXT), "Pictures: natural-1 to natural-4, text-1 to text-4, or image:FILE"
    )
    size: int = option(64, "Side to which a picture is brought, in pixels")

    def check(self, config: Any) -> None:
        """Checks the pictures and their size."""
        if not self.images:
            refuse("images", "empty", "one or more pictures", "natural-1 text-1")
        if len(set(self.images)) < len(self.images):
            refuse("images", self.images, "different from each other", "natural-1 text-1")
        if self.size < 4 or self.size % 2:
            refuse("size", self.size, "an even number of at least 4 pixels", "64")


@dataclasses.dataclass(frozen=True)
class Network(AbstractPart):
    """The network of each picture."""

    hidden: int = option(256, "Number of neurons", range=LAYER)
    frequency: float = option(
        30.0, "Factor Ω of the activities; 15 to 50 in the paper", range=POSITIVE
    )
    activation: str = option("relu", "Activation function", choices=ACTIVATIONS)

    def build(self, channels: int, key: Any) -> "ImplicitRepresentation":
        """Makes the network from a place to a colour."""
        from .. import systems

        return systems.ImplicitRepresentation(
            2,
            self.hidden,
            channels,
            frequency=self.frequency,
            activation=self.stands_for("activation", systems),
            key=key,
        )


@dataclasses.dataclass(frozen=True)
class RepresentOptimiser(AbstractPart):
    """How weights are changed by their gradients."""

    steps: int = option(
        500, "Steps for each picture, each on all its pixels to train", range=at_least(1)
    )
    learning_rate: float = option(1e-4, "Adam's learning rate", range=POSITIVE)
    gradient_clip: float | None = option(
        None, "Largest global norm of the gradient", range=POSITIVE
    )


@dataclasses.dataclass(frozen=True)
class RepresentRun(Seeds):
    """What is repeated and looked at."""

    reports: int = option(20, "Number of looks at each network", range=at_least(1))


@dataclasses.dataclass(frozen=True)
class RepresentConfig(AbstractSeededConfig):
    """One run of implicit representations."""

    verb: ClassVar[str] = "represent"
    what: ClassVar[str] = "implicit representations"

    pictures: Pictures = group(Pictures)
    network: Network = group(Network)
    rule: AbstractRepresentRule = choice(REPRESENT_RULES, LeastControl, "What changes the weights")
    optimiser: RepresentOptimiser = group(RepresentOptimiser)
    run: RepresentRun = group(RepresentRun)

    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds with each of which every picture has a network."""
        return self.run.all()

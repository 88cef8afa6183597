"""One run of implicit representations in the words of the command line.

Every picture has a network of its own, which learns its colours from a quarter of its pixels (arXiv
2207.01332, section S4).
"""

import dataclasses
import math
from typing import Any

from .config import (
    LARGEST_LAYER,
    _refuse,
    check_choice,
    check_seeds,
    config_of_verb,
    flag,
    options_as_json,
)

VERB = "represent"

REPRESENT_CHOICES = {
    "rule": ("least-control", "recurrent-backpropagation"),
    "activation": ("relu", "tanh", "gelu", "identity"),
    "unsolved": ("keep", "drop", "raise"),
}
NATURAL = tuple(f"natural-{number}" for number in range(1, 5))
TEXT = tuple(f"text-{number}" for number in range(1, 5))


@dataclasses.dataclass(frozen=True)
class RepresentConfig:
    """One run of implicit representations."""

    images: tuple[str, ...] = (*NATURAL, *TEXT)
    """Pictures: natural-1 to natural-4, text-1 to text-4, or image:FILE; each has a network of its
    own."""
    size: int = 64
    """Pixels of a side to which a picture is brought."""
    hidden: int = 256
    """Neurons."""
    frequency: float = 30.0
    """Factor Ω of the activities; 15 to 50 in the paper."""
    activation: str = "relu"
    """relu, tanh, gelu or identity."""
    rule: str = "least-control"
    """least-control or recurrent-backpropagation."""
    alpha: float = 0.0
    """Leak α of the output control, for the squared error of one pixel."""
    tolerance: float = 1e-4
    """Largest residual of a solve, relative to the control or the state."""
    max_steps: int = 50
    """Budget of a solve, in steps."""
    unsolved: str = "keep"
    """What becomes of pixels that are not solved: keep (as in the paper), drop or raise."""
    steps: int = 500
    """Steps of the optimiser for each picture, each on all pixels to train."""
    learning_rate: float = 1e-4
    """Adam's learning rate."""
    gradient_clip: float | None = None
    """Largest global norm of the gradient."""
    reports: int = 20
    """How often the network is looked at."""
    seed: int | None = None
    """Seed of the weights, the same for every picture; 0 by default."""
    seeds: tuple[int, ...] = ()
    """Several seeds, each in turn; the summary then has their mean and deviation."""

    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds of which every picture has a network."""
        return self.seeds or (0 if self.seed is None else self.seed,)

    def check(self) -> None:
        """Raises `ConfigError` for the first value that cannot be run."""
        for name, choices in REPRESENT_CHOICES.items():
            check_choice(flag(name), getattr(self, name), choices)
        if not self.images:
            _refuse("images", "empty", "one or more pictures", "natural-1 text-1")
        if len(set(self.images)) < len(self.images):
            _refuse("images", self.images, "different from each other", "natural-1 text-1")
        if self.size < 4 or self.size % 2:
            _refuse("size", self.size, "an even number of at least 4 pixels", "64")
        if not 1 <= self.hidden <= LARGEST_LAYER:
            _refuse("hidden", self.hidden, f"from 1 to {LARGEST_LAYER}", "256")
        for name, example in (("frequency", "30"), ("learning_rate", "1e-4")):
            if not 0 < getattr(self, name) < math.inf:
                _refuse(name, getattr(self, name), "above 0 and finite", example)
        if not 0 <= self.alpha < math.inf:
            _refuse("alpha", self.alpha, "a finite leak of at least 0", "0")
        if not 0 < self.tolerance < 1:
            _refuse("tolerance", self.tolerance, "between 0 and 1", "1e-4")
        for name, example in (("max_steps", "50"), ("steps", "500"), ("reports", "20")):
            if getattr(self, name) < 1:
                _refuse(name, getattr(self, name), "at least 1", example)
        if self.gradient_clip is not None and not 0 < self.gradient_clip < math.inf:
            _refuse("gradient_clip", self.gradient_clip, "above 0 and finite", "10")
        check_seeds(self)

    def as_json(self) -> dict[str, Any]:
        """Returns what `from_json` reads, and the verb, which tells it from a training's."""
        return {"verb": VERB, **options_as_json(self)}

    @staticmethod
    def from_json(values: Any, source: str) -> "RepresentConfig":
        """Returns a configuration from JSON.

        **Raises:** `ConfigError` naming `source` for anything but the configuration of a run of
        implicit representations.
        """
        return config_of_verb(RepresentConfig, VERB, "implicit representations", values, source)

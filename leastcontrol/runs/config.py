"""The configuration of one training run."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .configuration import AbstractConfig, AbstractPart
from .old_words import ADDED
from .options import (
    AUTO,
    NON_NEGATIVE,
    PART,
    POSITIVE,
    ConfigError,
    at_least,
    choice,
    group,
    option,
    refuse,
)
from .words.data import DATA, AbstractData
from .words.data._data import SEED
from .words.data.digits import Digits
from .words.rules import RULES, AbstractRuleWord
from .words.rules.least_control import LeastControl
from .words.systems import SYSTEMS, AbstractSystemWord
from .words.systems.feedforward import Feedforward

if TYPE_CHECKING:
    from ..rules import AbstractRule
    from ..training import TrainingConfig


@dataclasses.dataclass(frozen=True)
class Optimiser(AbstractPart):
    """How weights are changed by their gradients."""

    epochs: int = option(30, "Passes over the training set", range=at_least(1))
    batch_size: int = option(64, "Samples in a step", range=at_least(1))
    accumulation_steps: int = option(
        1, "Equal parts of a batch, one after another; in the memory of one", range=at_least(1)
    )
    learning_rate: float = option(1e-3, "Adam's learning rate; at the first step", range=POSITIVE)
    final_learning_rate: float = option(
        1e-4, "The same at the last step; reached by half a cosine", range=NON_NEGATIVE
    )
    gradient_clip: float | None = option(
        None, "Largest global norm of the gradient", range=POSITIVE
    )
    weight_decay: float = option(
        0.0, "Share that weights lose in a step; of themselves", range=PART
    )
    feedback_learning_rate: float | None = option(
        None, "The same of feedback weights; by default the other", range=POSITIVE
    )

    def check(self, config: Any) -> None:
        """Checks the options that depend on each other."""
        if self.batch_size < 2 and config.value("tolerance") == AUTO:
            raise ConfigError(
                f"--tolerance is {AUTO} and --batch-size is {self.batch_size}, but the noise of a "
                "gradient is the spread between the samples of a batch: write --batch-size 64, or "
                "--tolerance 1e-5."
            )
        if self.batch_size % self.accumulation_steps:
            refuse(
                "batch_size",
                self.batch_size,
                f"a multiple of --accumulation-steps, {self.accumulation_steps}",
                str(self.accumulation_steps * max(1, self.batch_size // self.accumulation_steps)),
            )
        if self.final_learning_rate > self.learning_rate:
            refuse(
                "final_learning_rate",
                self.final_learning_rate,
                f"between 0 and the first one, {self.learning_rate:g}",
                f"{self.learning_rate / 10:g}",
            )


@dataclasses.dataclass(frozen=True)
class Seeds(AbstractPart):
    """What is repeated, each time with another seed."""

    seed: int | None = option(
        None, "Seed of the run; of its weights and its samples' order; 0 by default", range=SEED
    )
    seeds: tuple[int, ...] = option(
        (), "Several seeds, in turn; the summary has mean and deviation", range=SEED
    )

    def all(self) -> tuple[int, ...]:
        """Returns the seeds that are run."""
        return self.seeds or (0 if self.seed is None else self.seed,)

    def check(self, config: Any) -> None:
        """Checks that seeds are given once."""
        if self.seeds and self.seed is not None:
            raise ConfigError("--seed and --seeds are both given: write one of them.")
        if len(set(self.seeds)) < len(self.seeds):
            refuse("seeds", self.seeds, "different from each other", "0 1 2")


@dataclasses.dataclass(frozen=True)
class Run(Seeds):
    """What is repeated and looked at."""

    diagnose: int = option(
        0, "Samples of a diagnosis; of the validation samples, after each epoch", range=NON_NEGATIVE
    )


@dataclasses.dataclass(frozen=True)
class AbstractSeededConfig(AbstractConfig):
    """The configuration of a verb that runs the same with each of some seeds."""

    @abc.abstractmethod
    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds that are run."""

    def single(self, seed: int) -> Self:
        """Returns the configuration of one seed alone."""
        return self.with_options(seed=seed, seeds=())

    def identity(self) -> dict[str, Any]:
        """Returns what must agree where a run goes on; its data may lie elsewhere by then."""
        values = self.as_json()
        # Built-in data have no folder.
        values.pop("data_dir", None)
        del values["seed"]
        for name, default in ADDED.items():
            if name in values and values[name] == default:
                del values[name]
        return {**values, "seeds": list(self.all_seeds())}

    def identity_of(self, written: Any) -> Any:
        """Returns an identity that a file of a run holds, in the words of today.

        What is no identity of a run of this verb is returned as it is.
        """
        if not isinstance(written, dict) or "format" in written:
            return written
        try:
            return type(self).from_json(written, "The run's identity").identity()
        except ConfigError:
            return written


@dataclasses.dataclass(frozen=True)
class RunConfig(AbstractSeededConfig):
    """One training run: what is learned from, what settles, what changes, and how."""

    verb: ClassVar[str] = "train"
    what: ClassVar[str] = "a training"

    data: AbstractData = choice(DATA, Digits, "Data set")
    system: AbstractSystemWord = choice(SYSTEMS, Feedforward, "What settles")
    rule: AbstractRuleWord = choice(RULES, LeastControl, "What changes the weights")
    optimiser: Optimiser = group(Optimiser)
    run: Run = group(Run)

    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds that are trained."""
        return self.run.all()

    def build_rule(self) -> "AbstractRule":
        """Makes the rule, with what the system needs around it.

        **Raises:** `ValueError` for constants that do not fit each other.
        """
        return self.system.around(self.rule.build(self), self.rule.penalty_unit(self))

    def build_training(self) -> "TrainingConfig":
        """Makes what the training loop is given."""
        from ..training import ToleranceFromNoise, TrainingConfig

        optimiser = self.optimiser
        return TrainingConfig(
            epochs=optimiser.epochs,
            batch_size=optimiser.batch_size,
            learning_rate=optimiser.learning_rate,
            final_learning_rate=optimiser.final_learning_rate,
            gradient_clip=optimiser.gradient_clip,
            weight_decay=optimiser.weight_decay,
            feedback_learning_rate=optimiser.feedback_learning_rate,
            augmentations=self.system.augmentations(),
            warm_start=self.value("start") == "warm",
            accumulation_steps=optimiser.accumulation_steps,
            strength=self.rule.course(),
            tolerance=ToleranceFromNoise() if self.value("tolerance") == AUTO else None,
        )

"""One meta-training run in the words of the command line, as `config` is for training."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from .config import (
    ConfigError,
    _refuse,
    check_choice,
    check_seeds,
    config_of_verb,
    flag,
    is_of_verb,
    options_as_json,
)

VERB = "meta"

META_CHOICES = {
    "tasks": ("sinusoid", "glyphs", "omniglot"),
    "rule": (
        "least-control",
        "first-order-maml",
        "maml",
        "reptile",
        "t1-t2",
        "implicit-maml",
        "contrastive",
    ),
    "control": ("euler", "descent", "direct", "optimal"),
    "pull_learning": ("none", "shared", "per-weight"),
}
# Rules whose adaptation goes on from the slow weights without being pulled back.
WITHOUT_PULL = ("first-order-maml", "maml", "reptile")


@dataclasses.dataclass(frozen=True)
class MetaConfig:
    """One meta-training run."""

    tasks: str = "sinusoid"
    """What is to be learned fast: sinusoid (regression), glyphs (letters of Matplotlib's fonts) or
    omniglot."""
    data_dir: Path | None = None
    """Folder with the archives of omniglot; else the environment variable LEASTCONTROL_DATA, the
    cache, or a download."""
    ways: int = 5
    """Classes of a task; regression has none."""
    shots: int | None = None
    """Samples to learn from, of each class; 1 of images and 10 of a sinusoid by default."""
    queries: int | None = None
    """Samples to be judged by, of each class; 15 of images and 10 of a sinusoid by default."""
    image_size: int = 28
    """Height and width of images, in pixels; 28 or a divisor of it."""
    split_seed: int = 0
    """Seed of the split of the classes into meta-training, validation and test."""
    hidden: tuple[int, ...] = (40, 40)
    """Hidden layers of the learner of sinusoids."""
    channels: int = 64
    """Channels of the learner of images."""
    modules: int = 4
    """Modules of the learner of images, each halving them."""
    rule: str = "least-control"
    """What moves the slow weights: least-control, first-order-maml, maml, reptile, t1-t2,
    implicit-maml or contrastive."""
    control: str = "euler"
    """Least control's way to the controlled weights: euler (the paper's joint steps), descent (to
    their rest point, the control eliminated), direct (the same by Newton steps) or optimal (the
    rest point of the least effort)."""
    alpha: float = 0.1
    """Leak α of the output control."""
    pull: float = 0.001
    """Pull λ of the slow weights, at first."""
    pull_learning: str = "none"
    """Whether the pull learns: none, shared (one number) or per-weight."""
    inner_steps: int | None = None
    """Steps in which a task is learned; by default 5 of first-order-maml, maml and reptile, and the
    paper's 100 of the others."""
    step_size: float | None = None
    """Their size; by default 0.01, and 0.03 where they are 100 and of images."""
    momentum: float = 0.0
    """Momentum of these steps; euler has none."""
    evaluation_steps: int | None = None
    """Steps in which a validation or test task is learned; as many as in training by default."""
    evaluation_step_size: float | None = None
    """Size of these steps; as in training by default. Euler steps of a control that is integrated
    may have to be smaller than an adaptation's."""
    strength: float = 0.1
    """Strength β of the second phase of contrastive."""
    products: int = 5
    """Products of the Hessian with a vector of implicit-maml."""
    total_tasks: int = 100_000
    """Tasks to train on."""
    task_batch: int = 16
    """Tasks of a step."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    validation_tasks: int = 200
    """Validation tasks looked at during training."""
    evaluation_tasks: int = 600
    """Test tasks of the final evaluation."""
    reports: int = 20
    """How often training is looked at."""
    seed: int | None = None
    """Seed of the slow weights and of the tasks; 0 by default."""
    seeds: tuple[int, ...] = ()
    """Several seeds, each trained in turn; the summary then has their mean and deviation."""

    def counts(self) -> tuple[int, int]:
        """Returns the shots and the queries."""
        regression = self.tasks == "sinusoid"
        shots = (10 if regression else 1) if self.shots is None else self.shots
        queries = (10 if regression else 15) if self.queries is None else self.queries
        return shots, queries

    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds to be trained."""
        return self.seeds or (0 if self.seed is None else self.seed,)

    def steps(self) -> int:
        """Returns the steps of the optimiser."""
        return self.total_tasks // self.task_batch

    def check(self) -> None:
        """Raises `ConfigError` for the first value that cannot be run."""
        for name, choices in META_CHOICES.items():
            check_choice(flag(name), getattr(self, name), choices)
        whole = ("ways", "channels", "modules", "products", "task_batch", "reports")
        for name in (*whole, "validation_tasks", "evaluation_tasks"):
            least = 2 if name.endswith("_tasks") else 1
            if getattr(self, name) < least:
                _refuse(name, getattr(self, name), f"at least {least}", "16")
        for name in ("shots", "queries", "inner_steps", "evaluation_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                _refuse(name, getattr(self, name), "at least 1", "10")
        if any(size < 1 for size in self.hidden):
            _refuse("hidden", self.hidden, "sizes of at least 1", "40 40")
        if self.total_tasks < self.task_batch:
            _refuse("total_tasks", self.total_tasks, f"at least {self.task_batch}", "100000")
        if not 1 <= self.image_size <= 28 or 28 % self.image_size:
            _refuse("image_size", self.image_size, "a divisor of 28", "14")
        if self.tasks != "sinusoid" and self.image_size < 2**self.modules:
            _refuse(
                "modules",
                self.modules,
                f"few enough to halve images of {self.image_size} pixels so often",
                str(self.image_size.bit_length() - 1),
            )
        if not 0 <= self.alpha < math.inf:
            _refuse("alpha", self.alpha, "a finite leak of at least 0", "0.1")
        if self.control == "descent" and self.alpha == 0:
            raise ConfigError(
                "--control descent divides by the leak, and --alpha is 0: write --alpha 0.1, or "
                "--control direct."
            )
        for name, example in (
            ("pull", "0.001"),
            ("strength", "0.1"),
            ("learning_rate", "1e-3"),
            ("step_size", "0.03"),
            ("evaluation_step_size", "0.03"),
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                _refuse(name, value, "above 0 and finite", example)
        if not 0 <= self.momentum < 1:
            _refuse("momentum", self.momentum, "at least 0 and below 1", "0.9")
        check_seeds(self)
        self._refuse_without_effect()

    def _refuse_without_effect(self) -> None:
        least_control, images = self.rule == "least-control", self.tasks != "sinusoid"
        pulled = self.rule not in WITHOUT_PULL
        needs = {
            "data_dir": (self.tasks == "omniglot", "--tasks omniglot"),
            "ways": (images, "--tasks glyphs"),
            "image_size": (images, "--tasks glyphs"),
            "split_seed": (images, "--tasks glyphs"),
            "channels": (images, "--tasks glyphs"),
            "modules": (images, "--tasks glyphs"),
            "hidden": (not images, "--tasks sinusoid"),
            "control": (least_control, "--rule least-control"),
            "momentum": (
                not (least_control and self.control == "euler"),
                "--control descent",
            ),
            "alpha": (least_control, "--rule least-control"),
            "pull": (pulled, "--rule least-control"),
            "pull_learning": (pulled, "--rule least-control"),
            "strength": (self.rule == "contrastive", "--rule contrastive"),
            "products": (self.rule == "implicit-maml", "--rule implicit-maml"),
        }
        for name, (has_effect, needed) in needs.items():
            if getattr(self, name) != getattr(MetaConfig, name) and not has_effect:
                raise ConfigError(
                    f"{flag(name)} is {getattr(self, name)}, but it has no effect without {needed}:"
                    " add that, or leave it out."
                )

    def as_json(self) -> dict[str, Any]:
        """Returns what `from_json` reads, and the verb, which tells it from a training's."""
        return {"verb": VERB, **options_as_json(self)}

    @staticmethod
    def from_json(values: Any, source: str) -> "MetaConfig":
        """Returns a configuration from JSON.

        **Raises:** `ConfigError` naming `source` for anything but a meta-training's configuration.
        """
        return config_of_verb(MetaConfig, VERB, "a meta-training", values, source)


def is_meta(values: Any) -> bool:
    """Returns whether JSON is the configuration of a meta-training."""
    return is_of_verb(VERB, values)

"""What training needs to know besides system, rule and data."""

import dataclasses
import math

from ._augmentation import AbstractAugmentation
from ._strength import AbstractCourse
from ._tolerance import ToleranceFromNoise


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Adam with a cosine schedule, as both papers train their networks.

    **Arguments:**

    * `epochs`: passes over the training set. In each the samples are shuffled anew, and those that
      are left over after the last full batch are not used.
    * `batch_size`: samples in a step.
    * `learning_rate`, `final_learning_rate`: of the first step and of the last, with half a cosine
      between them.
    * `gradient_clip`: the largest global norm of the system's gradient; `None` for no limit. The
      feedback's gradient is shortened by the same factor, so that weights that learn alike stay
      alike.
    * `weight_decay`: γ, the share of itself that every weight loses in a step, of the system and of
      the feedback that learns alike: ΔW = … − γW (arXiv 2207.01332, section 4.1). It is applied
      outside of the optimiser and is not scaled by the learning rate. Biases, and all other arrays
      with fewer than two axes, do not decay.
    * `accumulation_steps`: how many equal parts of a batch a device goes through one after another,
      in the memory of one of them.
    * `feedback_learning_rate`: of the feedback weights at the first step, with the same schedule;
      by default that of the system.
    * `augmentations`: random changes of every image of a batch, in this order.
    * `warm_start`: whether every sample's solve starts from the controlled rest point that it
      reached an epoch before. The points of the whole training set are kept in memory and in
      checkpoints. Only `LeastControl` uses them.
    * `strength`: the share of the free loss that control is to remove, as a course over the
      training. The rule needs a `RelativeLeak`, whose κ follows the measured share in every step.
    * `tolerance`: how the tolerance of the rule's solves is chosen as the training goes; `None` for
      the rule's own.

    **Raises:** `ValueError` for a value out of its range.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    gradient_clip: float | None = None
    weight_decay: float = 0.0
    feedback_learning_rate: float | None = None
    augmentations: tuple[AbstractAugmentation, ...] = ()
    warm_start: bool = False
    accumulation_steps: int = 1
    strength: AbstractCourse | None = None
    tolerance: ToleranceFromNoise | None = None

    def __post_init__(self):
        for name, example in (("epochs", 30), ("batch_size", 64), ("accumulation_steps", 4)):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but training takes at least 1: write "
                    f"{name}={example}."
                )
        parts = self.accumulation_steps
        if self.batch_size % parts:
            raise ValueError(
                f"`batch_size` is {self.batch_size}, but it is a multiple of accumulation_steps="
                f"{parts}, so that the parts are equal: write "
                f"batch_size={parts * max(1, self.batch_size // parts)}."
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"`learning_rate` is {self.learning_rate}, but it is above 0 and finite: write "
                "learning_rate=1e-3."
            )
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                f"`final_learning_rate` is {self.final_learning_rate}, but it lies between 0 and "
                f"the first one, {self.learning_rate}: write "
                f"final_learning_rate={self.learning_rate / 10:g}."
            )
        if self.gradient_clip is not None and not 0 < self.gradient_clip < math.inf:
            raise ValueError(
                f"`gradient_clip` is {self.gradient_clip}, but it is above 0 and finite, or None: "
                "write gradient_clip=10.0."
            )
        if not 0 <= self.weight_decay < 1:
            raise ValueError(
                f"`weight_decay` is {self.weight_decay}, but it is at least 0 and below 1: write "
                "weight_decay=1e-6."
            )
        rate = self.feedback_learning_rate
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(
                f"`feedback_learning_rate` is {rate}, but it is above 0 and finite, or None: write "
                "feedback_learning_rate=1e-3."
            )

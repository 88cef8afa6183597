"""What training needs to know besides system, rule and data."""

import dataclasses
import math

from ._augmentation import AbstractAugmentation


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Adam with a cosine schedule, as both papers train their networks.

    **Arguments:**

    * `epochs`: passes over the training set; in each the samples are shuffled anew, and those that
      do not fill a last batch are left out.
    * `batch_size`: samples in a step.
    * `learning_rate`, `final_learning_rate`: at the first step and, by half a cosine, at the last.
    * `gradient_clip`: the largest global norm of the system's gradient; `None` for any. Where it is
      shortened the feedback's is by the same factor, so that weights that learn alike stay alike.
    * `weight_decay`: γ, the share of itself that every weight loses in a step, of the system and of
      the feedback that learns alike: ΔW = … − γW (arXiv 2207.01332, section 4.1). It stands outside
      of the optimiser and is not scaled by the learning rate; biases, and all other arrays of less
      than two axes, do not decay.
    * `accumulate`: how many parts of a batch a device goes through one after another, in the memory
      of one of them.
    * `feedback_learning_rate`: of the feedback weights at the first step, with the same schedule;
      that of the system by default.
    * `augmentations`: what is done at random to every image of a batch, in this order.
    * `warm_start`: whether every sample's solve starts from the controlled rest point that it had
      an epoch before. The points of the whole training set are held in memory and in checkpoints,
      and only `LeastControl` has them.

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
    accumulate: int = 1

    def __post_init__(self):
        for name, example in (("epochs", 30), ("batch_size", 64), ("accumulate", 4)):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but training takes at least 1: write "
                    f"{name}={example}."
                )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"`batch_size` is {self.batch_size}, but it is a multiple of accumulate="
                f"{self.accumulate}, so that the parts are equal: write "
                f"batch_size={self.accumulate * max(1, self.batch_size // self.accumulate)}."
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

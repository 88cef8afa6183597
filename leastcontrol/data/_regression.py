"""Samples whose target is a vector: what a teacher network says, or the input itself.

`Regression` is to these what `Dataset` is to samples with labels. `student_teacher` makes the
regression of the toy experiments of deep feedback control, and `autoencoding` turns a data set of
images into the task of giving them back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int64

from ..equilibrium import free_moment
from ..systems import Feedforward, XavierNormal, relu
from ._dataset import DataError, Dataset, Splits, checked_seed


@dataclass(frozen=True, eq=False)
class Regression:
    """Samples with their target vectors.

    **Arguments:**

    - `name`: such as `student-teacher`.
    - `inputs`: float32 of shape `(samples, features)`, finite.
    - `targets`: float32 of shape `(samples, outputs)`, finite.
    - `shape`: the shape of one sample before it was flattened; `(features,)` where it never was
      anything else, which is the default.

    **Raises:** `DataError` where dtypes, counts or shapes do not fit each other, or where a number
    is not finite.
    """

    name: str
    # Not Float32[...]: what is wrong with them is said below, whoever checks types.
    inputs: np.ndarray
    targets: np.ndarray
    shape: tuple[int, ...] = ()

    def __post_init__(self):
        for what in ("inputs", "targets"):
            array = getattr(self, what)
            if array.dtype != np.float32 or array.ndim != 2:
                raise DataError(
                    f"{self.name}: {what} are {array.dtype} of shape {array.shape}; expected "
                    "float32 of shape (samples, numbers): convert them with astype and reshape."
                )
            if not np.isfinite(array).all():
                raise DataError(
                    f"{self.name}: some {what} are NaN or infinite; expected finite numbers: "
                    "remove those samples."
                )
        if len(self.inputs) != len(self.targets) or len(self.inputs) == 0:
            raise DataError(
                f"{self.name}: {len(self.inputs)} inputs and {len(self.targets)} targets; expected "
                "one target for each of at least one input."
            )
        features = self.inputs.shape[1]
        if self.shape and math.prod(self.shape) != features:
            raise DataError(
                f"{self.name}: a sample has {features} features; expected {math.prod(self.shape)}, "
                f"those of the shape {self.shape}."
            )
        object.__setattr__(self, "shape", self.shape or (features,))

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Int64[np.ndarray, " chosen"]) -> "Regression":
        """The samples at `indices`, in that order."""
        return replace(self, inputs=self.inputs[indices], targets=self.targets[indices])


@dataclass(frozen=True, eq=False)
class RegressionSplits:
    """One regression in three disjoint parts: to learn from, to choose by, and to report."""

    train: Regression
    validation: Regression
    test: Regression

    def parts(self) -> dict[str, Regression]:
        """The three parts by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


Samples = Dataset | Regression
"""Samples to learn from, with labels or with target vectors."""

SampleSplits = Splits | RegressionSplits
"""Their three disjoint parts."""


def student_teacher(
    inputs: int = 15,
    outputs: int = 5,
    *,
    train: int = 5000,
    validation: int = 1000,
    test: int = 1000,
    hidden: Sequence[int] = (1000, 1000, 1000, 1000),
    gain: float = 3.0,
    seed: int = 0,
) -> RegressionSplits:
    """What a random network, the teacher, says to inputs that are uniform in [−1, 1].

    (arXiv 2106.07887, section S6.) The teacher is rectified, with normal weights of the deviation
    gain · √(2 / (fan in + fan out)) and no biases, and it is one and the same for all three parts.

    **Arguments:** `inputs` and `outputs`, the sizes of a sample; `train`, `validation` and `test`,
    how many samples each part has; `hidden` and `gain` of the teacher; `seed`, of teacher and
    inputs.

    **Raises:** `DataError` for a size below 1, a gain that is not above 0 and finite, or a negative
    seed.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for name, size in {
        **sizes,
        "inputs": inputs,
        "outputs": outputs,
        "hidden": min(hidden),
    }.items():
        if size < 1:
            raise DataError(f"{name}={size}: expected a size of at least 1.")
    if not 0 < gain < np.inf:
        raise DataError(f"gain={gain}: expected a finite number above 0, such as 3.0.")
    teacher_key, input_key = jax.random.split(jax.random.key(checked_seed(seed)))
    teacher = Feedforward(
        inputs,
        tuple(hidden),
        outputs,
        activation=relu,
        initialisation=XavierNormal(gain),
        key=teacher_key,
    )

    def answer(x: jax.Array) -> jax.Array:
        return free_moment(teacher, teacher.drive(x)).soma[-1]

    parts = {}
    for (name, size), key in zip(sizes.items(), jax.random.split(input_key, 3), strict=True):
        drawn = jax.random.uniform(key, (size, inputs), jnp.float32, -1, 1)
        said = jax.lax.map(answer, drawn, batch_size=min(size, 500))
        parts[name] = Regression("student-teacher", np.asarray(drawn), np.asarray(said, np.float32))
    return RegressionSplits(**parts)


def autoencoding(splits: Splits) -> RegressionSplits:
    """The same samples with themselves for targets: the autoencoder of arXiv 2106.07887.

    The inputs keep the preprocessing that they have. The loss of that paper is the mean over the
    pixels, `SquaredError` half the sum over them.
    """

    def of(part: Dataset) -> Regression:
        flat = part.inputs.reshape(len(part), -1)
        return Regression(f"{part.name}-autoencoder", flat, flat, part.shape)

    return RegressionSplits(**{name: of(part) for name, part in splits.parts().items()})

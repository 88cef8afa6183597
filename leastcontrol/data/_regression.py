"""Regression data, whose targets are vectors.

`Regression` is the counterpart of `Dataset` for samples with target vectors. `student_teacher`
makes the regression of the toy experiments of deep feedback control, where a random network gives
the targets. `autoencoding` makes an autoencoding task from an image data set.
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
    - `shape`: the shape of one sample before it was flattened; by default `(features,)`.

    **Raises:** `DataError` for wrong dtypes, inconsistent counts or shapes, or numbers that are not
    finite.
    """

    name: str
    # Not Float32[...], so that the checks below give the error and no type checker.
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
        """Selects the samples at `indices`, in that order."""
        return replace(self, inputs=self.inputs[indices], targets=self.targets[indices])


@dataclass(frozen=True, eq=False)
class RegressionSplits:
    """Disjoint training, validation and test parts of one regression."""

    train: Regression
    validation: Regression
    test: Regression

    def parts(self) -> dict[str, Regression]:
        """Returns the three parts by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


Samples = Dataset | Regression
"""Samples with labels or with target vectors."""

SampleSplits = Splits | RegressionSplits
"""Disjoint parts of samples with labels or with target vectors."""


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
    """Draws inputs uniform in [−1, 1], with the outputs of a random teacher network as targets.

    (arXiv 2106.07887, section S6.) The teacher is a relu network with normal weights of standard
    deviation gain · √(2 / (fan in + fan out)) and no biases. All three parts have the same teacher.

    **Arguments:** `inputs` and `outputs`, the sizes of a sample; `train`, `validation` and `test`,
    the numbers of samples; `hidden` and `gain` of the teacher; `seed`, for teacher and inputs.

    **Raises:** `DataError` for a size below 1, a gain that is not positive and finite, or a
    negative seed.
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
        taught = jax.lax.map(answer, drawn, batch_size=min(size, 500))
        targets = np.asarray(taught, np.float32)
        parts[name] = Regression("student-teacher", np.asarray(drawn), targets)
    return RegressionSplits(**parts)


def autoencoding(splits: Splits) -> RegressionSplits:
    """Makes an autoencoding task, whose targets are the inputs (arXiv 2106.07887).

    Inputs and targets keep their preprocessing. The loss of the paper is the mean over the pixels,
    whereas `SquaredError` is half the sum over them.
    """

    def of(part: Dataset) -> Regression:
        flat = part.inputs.reshape(len(part), -1)
        return Regression(f"{part.name}-autoencoder", flat, flat, part.shape)

    return RegressionSplits(**{name: of(part) for name, part in splits.parts().items()})

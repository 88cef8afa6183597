"""Images of many classes with few samples each, and their split by class."""

from dataclasses import dataclass

import numpy as np

from ._dataset import DataError, Provenance, checked_seed, split_indices

# Meta-training, validation and test share no class.
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Characters:
    """Images of characters.

    **Arguments:**

    - `images`: from 0 (ground) to 255 (ink), of shape `(classes, samples, height, width)`.
    - `labels`: the name of each class.
    - `provenance`: the origin of the images.

    **Raises:** `DataError` for images of the wrong dtype or shape, or if the number of labels is
    not the number of classes.
    """

    images: np.ndarray
    labels: tuple[str, ...]
    provenance: Provenance

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or 0 in self.images.shape:
            raise DataError(
                f"{self.provenance}: the images are {self.images.dtype}{list(self.images.shape)}; "
                "expected uint8 of shape (classes, samples, height, width), none of them 0."
            )
        if len(self.labels) != len(self.images):
            raise DataError(
                f"{self.provenance}: {len(self.images)} classes but {len(self.labels)} labels; "
                "expected one label for each class."
            )

    def shrunk(self, side: int) -> "Characters":
        """Shrinks the images to `side`×`side` pixels by averaging squares of pixels.

        **Raises:** `DataError` if `side` does not divide the height and width of the images.
        """
        *_, height, width = self.images.shape
        if not 1 <= side <= height or height % side or width % side:
            sides = [
                length for length in range(1, height + 1) if height % length == width % length == 0
            ]
            nearest = min(sides, key=lambda length: abs(length - side))
            raise DataError(
                f"{self.provenance}: images of {height}×{width} pixels cannot be shrunk to "
                f"{side}×{side}; expected one of {', '.join(map(str, sides))}: write {nearest}."
            )
        squares = self.images.reshape(
            *self.images.shape[:2], side, height // side, side, width // side
        )
        images = np.rint(squares.mean(axis=(3, 5))).astype(np.uint8)
        return Characters(images, self.labels, self.provenance)

    def split(self, seed: int = 0) -> tuple["Characters", "Characters", "Characters"]:
        """Splits the classes into meta-training (60 %), validation (10 %) and test (30 %).

        **Arguments:** `seed`, at least 0; a seed gives the same split on every platform.

        **Raises:** `DataError` for a seed below 0 or fewer than 10 classes.
        """
        checked_seed(seed)
        count = len(self.images)
        if count < 10:
            raise DataError(
                f"{self.provenance}: {count} classes cannot be split into three parts; expected at "
                "least 10."
            )
        validation, test = round(VALIDATION_SHARE * count), round(TEST_SHARE * count)
        sizes = (count - validation - test, validation, test)
        first, second, third = (
            Characters(
                self.images[part], tuple(self.labels[index] for index in part), self.provenance
            )
            for part in split_indices(count, sizes, seed=seed)
        )
        return first, second, third

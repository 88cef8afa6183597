"""The words of a device's `--output-control`."""

from ...options import words_in
from ._drive import AbstractOutputDriveWord as AbstractOutputDriveWord

OUTPUT_DRIVES: tuple[type[AbstractOutputDriveWord], ...] = words_in(
    __name__,
    "proportional",
    "leaky_integral",
)

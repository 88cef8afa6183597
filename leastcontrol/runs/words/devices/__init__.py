"""The words of `--device`."""

from ...options import words_in
from ._device import AbstractDeviceWord as AbstractDeviceWord

DEVICES: tuple[type[AbstractDeviceWord], ...] = words_in(
    __name__,
    "simulated",
    "process",
)

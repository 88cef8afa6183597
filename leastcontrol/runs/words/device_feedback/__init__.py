"""The words of a device's `--feedback`."""

from ...options import words_in
from ._feedback import AbstractDeviceFeedbackWord as AbstractDeviceFeedbackWord

DEVICE_FEEDBACK: tuple[type[AbstractDeviceFeedbackWord], ...] = words_in(
    __name__,
    "learned",
    "balanced",
    "random",
)

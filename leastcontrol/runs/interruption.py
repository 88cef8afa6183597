"""Ending at a signal, when what was begun is saved."""

import contextlib
import signal
from collections.abc import Callable, Iterator


class Terminated(Exception):
    """The process was asked to end; what it did is saved."""


@contextlib.contextmanager
def interruptible(again: str = "the same command with --resume") -> Iterator[Callable[[str], None]]:
    """Holds back SIGTERM, and gives a function that ends the process if the signal has come.

    The function is called with the place that is saved, such as "epoch 3 of seed 0", and raises
    `Terminated` with a sentence that says how the work goes on, by `again`.
    """
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))

    def saved(place: str) -> None:
        if received:
            raise Terminated(f"Terminated after {place}, which is saved: {again} goes on.")

    try:
        yield saved
    finally:
        signal.signal(signal.SIGTERM, before)

"""The words of `--data`."""

from ...options import words_in
from ._data import AbstractData as AbstractData

DATA: tuple[type[AbstractData], ...] = words_in(
    __name__,
    "digits",
    "mnist",
    "fashion_mnist",
    "cifar10",
    "student_teacher",
    "digits_autoencoder",
    "mnist_autoencoder",
    "fashion_mnist_autoencoder",
)

"""The words of `--data`."""

from ._data import AbstractData as AbstractData
from .cifar10 import Cifar10
from .digits import Digits
from .digits_autoencoder import DigitsAutoencoder
from .fashion_mnist import FashionMnist
from .fashion_mnist_autoencoder import FashionMnistAutoencoder
from .mnist import Mnist
from .mnist_autoencoder import MnistAutoencoder
from .student_teacher import StudentTeacher

DATA: tuple[type[AbstractData], ...] = (
    Digits,
    Mnist,
    FashionMnist,
    Cifar10,
    StudentTeacher,
    DigitsAutoencoder,
    MnistAutoencoder,
    FashionMnistAutoencoder,
)

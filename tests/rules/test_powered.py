"""A gradient whose numbers are powers of another rule's."""

import jax
import numpy as np
import pytest
from helpers import credit, feedforward, inputs, labels

import leastcontrol as lc
from leastcontrol.rules import Powered


def test_every_number_is_a_power_with_its_sign():
    batch = lc.Batch(inputs(), labels())
    plain = credit(lc.Backpropagation(), feedforward(), batch)
    powered = credit(Powered(lc.Backpropagation(), 0.5), feedforward(), batch)
    for g, p in zip(
        jax.tree.leaves(plain.gradient), jax.tree.leaves(powered.gradient), strict=True
    ):
        np.testing.assert_allclose(p * np.abs(p), g, atol=1e-12)


def test_a_power_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"at most 1: write power=0\.5"):
        Powered(lc.Backpropagation(), 1.5)

"""A recurrent network with a rate for each neuron."""

import jax
import numpy as np
import pytest
from helpers import inputs, recurrent

import leastcontrol as lc
from leastcontrol.systems import LeakyRNN


def test_the_rest_points_are_those_of_the_network_with_equal_rates():
    rnn = recurrent()
    drives = jax.vmap(rnn.drive)(inputs())
    plain = lc.free_equilibrium(rnn, drives, tolerance=lc.Tolerance(1e-9))
    leaky = lc.free_equilibrium(LeakyRNN(rnn, 0.4, 0.9), drives, tolerance=lc.Tolerance(1e-9))
    assert lc.solved(leaky).all()
    np.testing.assert_allclose(leaky.value, plain.value, atol=1e-7)


def test_rates_out_of_order_are_refused():
    with pytest.raises(ValueError, match="not above the fastest"):
        LeakyRNN(recurrent(), 1.0, 0.5)

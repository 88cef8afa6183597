"""The work that `benchmarks/scale.py` counts, against multiplications counted by hand."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import leastcontrol as lc
from leastcontrol.systems import Convolution, ConvolutionalFeedforward

KEY = jax.random.key(0)


@pytest.fixture
def sample_work(monkeypatch):
    """The class of a benchmark, which is no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from _counting import SampleWork

    yield SampleWork
    sys.modules.pop("_counting")


def test_products_of_dense_layers_are_those_of_their_weights(sample_work):
    first, later = 5 * 4, 4 * 3 + 3 * 2
    work = sample_work.of(lc.Feedforward(5, (4, 3), 2, key=KEY), jnp.zeros(5))
    backpropagation = (first + later) + later + (first + later)
    assert work.step("backpropagation", 1).products == backpropagation
    assert work.step("least control", 3).products == first + 3 * 2 * later + (first + later)
    assert work.made == 4 + 3 + 2
    assert work.weights == first + later + 4 + 3 + 2


def test_joint_steps_follow_free_ones(sample_work):
    work = sample_work.of(lc.EquilibriumRNN(5, 4, 2, key=KEY), jnp.zeros(5))
    first, later = 5 * 4, 4 * 4 + 4 * 2
    assert work.step("least control", 7).products == first + (5 + 2 * 7) * later + first + later
    assert work.step("recurrent backpropagation", 7).products == first + 7 * later + first + later


def test_the_pullback_of_a_stride_multiplies_zeros(sample_work):
    layers = (Convolution(2, padding=1), Convolution(4, stride=2, padding=1))
    system = ConvolutionalFeedforward((3, 8, 8), layers, (), 5, key=KEY)
    work = sample_work.of(system, jnp.zeros((3, 8, 8)))
    second, last = 4 * 2 * 9 * 16, 4 * 16 * 5
    assert work.drive.products == 2 * 3 * 9 * 64
    assert work.field.products == second + last
    assert work.pullback.products == 4 * second + last

"""The convolution: its definition, its derivatives, and the layout that XLA is quick with."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from leastcontrol.systems._convolve import convolve

KEY = jax.random.PRNGKey(11)
IMAGE = jax.random.normal(KEY, (2, 7, 6))
KERNEL = jax.random.normal(jax.random.fold_in(KEY, 1), (3, 2, 3, 3))


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0), (2, 2)])
def test_it_is_the_sum_over_the_kernel(stride, padding):
    around = np.pad(np.asarray(IMAGE), ((0, 0), (padding, padding), (padding, padding)))
    rows, columns = ((n - 3) // stride + 1 for n in around.shape[1:])
    expected = np.zeros((3, rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = around[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
            expected[:, i, j] = np.einsum("ochw,chw->o", np.asarray(KERNEL), window)
    np.testing.assert_allclose(convolve(IMAGE, KERNEL, stride, padding), expected, atol=1e-12)


def test_its_derivatives_of_both_modes_and_orders_are_right():
    images = jnp.stack([IMAGE, -0.5 * IMAGE])

    def made(images, kernel):
        images, kernel = jnp.asarray(images), jnp.asarray(kernel)
        return jnp.tanh(jax.vmap(lambda image: convolve(image, kernel, 2, 1))(images))

    check_grads(made, (images, KERNEL), order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)


def test_reverse_mode_inside_a_loop_has_the_quick_layout():
    def step(_, carry):
        images, kernel = carry
        made, pull = jax.vjp(
            lambda images, kernel: jax.vmap(lambda image: convolve(image, kernel, 1, 1))(images),
            images,
            kernel,
        )
        return pull(jnp.tanh(made))

    start = (jnp.ones((4, 2, 6, 6), jnp.float32), jnp.ones((2, 2, 3, 3), jnp.float32))
    loop = jax.jit(lambda start: jax.lax.fori_loop(0, 3, step, start))
    layouts = re.findall(r"dim_labels=(\S+?)[,\s]", loop.lower(start).compile().as_text())
    # Forward, and back to images and kernel.
    assert layouts == ["b01f_01io->b01f"] * 3

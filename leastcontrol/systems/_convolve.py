"""The convolution of one image, written so that it is also fast inside loops.

XLA's CPU compiler has a fast routine for channels-last convolutions; every other layout is hundreds
of times slower. Outside loops the compiler changes the layout itself, but not inside loops, and
solves and epochs are loops. So each of the three products of a convolution (the forward product,
and the reverse-mode products with the kernel and with the image) is written in the fast layout.

The layout of a reverse-mode product follows from the layout of the tangent that it transposes. This
is why the tangents below have unusual layouts: they are chosen for their transposes.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

Image = Float[Array, "channels height width"]
Map = Float[Array, "maps rows columns"]
Kernel = Float[Array, "maps channels kernel_height kernel_width"]

# Layouts of image, kernel and result, in JAX's notation. The forward layout is the fast one.
FORWARD = ("NHWC", "HWIO", "NHWC")
# Its transpose in the image swaps the kernel's channels and maps.
IMAGE_TANGENT = ("NHWC", "HWOI", "NHWC")
# Its transpose in the kernel sums over the batch, so N and C are swapped.
KERNEL_TANGENT = ("CHWN", "IHWO", "HWNC")


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def convolve(image: Image, kernel: Kernel, stride: int, padding: int) -> Map:
    """Computes the cross-correlation of an image with a kernel, with zero padding.

    **Arguments:**

    * `image`: the image of one sample.
    * `kernel`: one filter for each pair of output map and input channel.
    * `stride`, `padding`: in pixels, for both axes.
    """
    return _product(image, kernel, stride, padding, FORWARD)


def _convolve_tangent(
    stride: int, padding: int, primals: tuple[Image, Kernel], tangents: tuple[Any, Any]
) -> tuple[Map, Any]:
    image, kernel = primals
    result = convolve(image, kernel, stride, padding)
    parts = []
    if not isinstance(tangents[0], SymbolicZero):
        parts.append(_product(tangents[0], kernel, stride, padding, IMAGE_TANGENT))
    if not isinstance(tangents[1], SymbolicZero):
        parts.append(_product(image, tangents[1], stride, padding, KERNEL_TANGENT))
    return result, functools.reduce(jnp.add, parts)


convolve.defjvp(_convolve_tangent, symbolic_zeros=True)


def _product(
    image: Any, kernel: Any, stride: int, padding: int, layout: tuple[str, str, str]
) -> Map:
    of_image, of_kernel, of_result = layout
    # Tangents may be NumPy arrays.
    result = lax.conv_general_dilated(
        _rearranged(jnp.asarray(image)[None], "NCHW", of_image),
        _rearranged(jnp.asarray(kernel), "OIHW", of_kernel),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=layout,
    )
    return _rearranged(result, of_result, "NCHW")[0]


def _rearranged(x: Array, before: str, after: str) -> Array:
    return x.transpose([before.index(axis) for axis in after])


class ConvolutionalLayer(eqx.Module):
    """The map x ↦ W ∗ x + b of images, with one bias for each map or none."""

    weight: Float[Array, "maps channels kernel kernel"]
    bias: Float[Array, "maps 1 1"] | None
    stride: int = eqx.field(static=True, default=1)
    padding: int = eqx.field(static=True, default=0)

    @property
    def in_channels(self) -> int:
        """Number of channels of the input image."""
        return self.weight.shape[1]

    @property
    def out_channels(self) -> int:
        """Number of output maps."""
        return self.weight.shape[0]

    def __call__(self, x: Image) -> Map:
        result = convolve(x, self.weight, self.stride, self.padding)
        return result if self.bias is None else result + self.bias

"""The convolution of one image, quick inside loops as well.

XLA's compiler for CPUs has a quick routine for convolutions of channels-last arrays, and a slow one
for all others, hundreds of times slower. It rearranges the arrays itself where a convolution stands
at the top of a program, but not inside a loop, and here everything does: solves are loops, and so
is an epoch. So each of the three products of a convolution (the forward one, and those of reverse
mode with the kernel and with the image) is written in the layout that has the quick routine.

The layout of a product in reverse mode follows from that of the tangent that it is the transpose
of; that is why the tangents below, which forward mode alone computes as they stand, look odd.
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

# Layouts of image, kernel and result, by JAX's letters. The first is the quick one.
FORWARD = ("NHWC", "HWIO", "NHWC")
# Transposed in the image, kernel's channels and maps change places.
IMAGE_TANGENT = ("NHWC", "HWOI", "NHWC")
# Transposed in the kernel, the batch is what is summed over: N and C change places.
KERNEL_TANGENT = ("CHWN", "IHWO", "HWNC")


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def convolve(image: Image, kernel: Kernel, stride: int, padding: int) -> Map:
    """Returns the cross-correlation of an image with a kernel, zeros around it.

    **Arguments:**

    * `image`: of one sample.
    * `kernel`: one for every pair of a map and a channel.
    * `stride`, `padding`: in pixels, of both axes.
    """
    return _product(image, kernel, stride, padding, FORWARD)


def _convolve_tangent(
    stride: int, padding: int, primals: tuple[Image, Kernel], tangents: tuple[Any, Any]
) -> tuple[Map, Any]:
    image, kernel = primals
    made = convolve(image, kernel, stride, padding)
    parts = []
    if not isinstance(tangents[0], SymbolicZero):
        parts.append(_product(tangents[0], kernel, stride, padding, IMAGE_TANGENT))
    if not isinstance(tangents[1], SymbolicZero):
        parts.append(_product(image, tangents[1], stride, padding, KERNEL_TANGENT))
    return made, functools.reduce(jnp.add, parts)


convolve.defjvp(_convolve_tangent, symbolic_zeros=True)


def _product(
    image: Any, kernel: Any, stride: int, padding: int, layout: tuple[str, str, str]
) -> Map:
    of_image, of_kernel, of_result = layout
    # Tangents may be arrays of NumPy.
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
    """The map x ↦ W ∗ x + b of images, b one number for each map or none."""

    weight: Float[Array, "maps channels kernel kernel"]
    bias: Float[Array, "maps 1 1"] | None
    stride: int = eqx.field(static=True, default=1)
    padding: int = eqx.field(static=True, default=0)

    @property
    def in_channels(self) -> int:
        """Channels of the images that it takes."""
        return self.weight.shape[1]

    @property
    def out_channels(self) -> int:
        """Maps that it makes."""
        return self.weight.shape[0]

    def __call__(self, x: Image) -> Map:
        made = convolve(x, self.weight, self.stride, self.padding)
        return made if self.bias is None else made + self.bias

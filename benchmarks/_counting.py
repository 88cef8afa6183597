"""The work of a training step, counted from what it computes for one sample.

A product is one multiplication with its addition, inside a matrix product or a convolution. What no
result depends on is left out, so that the weights' gradient of a dense layer has one product for
each weight and not two. The pullback of a convolution with a stride multiplies the zeros between
its pixels too, as XLA does on a processor.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import PyTree

from leastcontrol.systems import AbstractOrderedSystem, AbstractSystem

# Operations on numbers one by one; those that move or compare numbers are not counted.
ARITHMETIC = frozenset(
    "add sub mul div max min neg exp log log1p tanh logistic erf sqrt rsqrt pow integer_pow square "
    "select_n".split()
)
SUMS = frozenset("reduce_sum reduce_max reduce_min".split())
# The joint iteration begins with free steps.
FREE_STEPS = 5


class Work(NamedTuple):
    """Products, operations on numbers one by one, and the numbers that products result in."""

    products: float = 0.0
    elements: float = 0.0
    made: float = 0.0

    def __add__(self, other: "Work") -> "Work":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Work(*(one + more for one, more in zip(self, other, strict=True)))

    def times(self, number: float) -> "Work":
        """Returns the work of doing it so many times."""
        return Work(*(number * each for each in self))


class SampleWork(NamedTuple):
    """What a step computes for one sample of a system.

    * `drive`, `field`: the input's drive; f and h at a state.
    * `pullback`: ∂_φfᵀψ + ∂_φhᵀu at a state where f and h are known.
    * `gradient`: the gradient of f and h, and of the drive, in the weights.
    * `weights`: how many numbers all weights have.
    * `ordered`: whether its order lets sweeps settle it.
    """

    drive: Work
    field: Work
    pullback: Work
    gradient: Work
    weights: int
    ordered: bool

    @staticmethod
    def of(system: AbstractSystem, x: PyTree[Any]) -> "SampleWork":
        """Counts the work of a system for an input."""
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def both(learned: PyTree, state: PyTree, x: PyTree) -> PyTree:
            system = eqx.combine(learned, fixed)
            drive = system.drive(x)
            return system.vector_field(state, drive), system.readout(state)

        def of_state(state: PyTree, drive: PyTree) -> PyTree:
            return system.vector_field(state, drive), system.readout(state)

        def pulled(state: PyTree, drive: PyTree, control: PyTree) -> PyTree:
            values, pull = jax.vjp(lambda state: of_state(state, drive), state)
            return values, pull(control)

        def gradient(learned: PyTree, state: PyTree, x: PyTree, control: PyTree) -> PyTree:
            return jax.vjp(lambda learned: both(learned, state, x), learned)[1](control)

        drive = eqx.filter_eval_shape(system.drive, x)
        state = eqx.filter_eval_shape(system.initial_state, drive)
        control = eqx.filter_eval_shape(of_state, state, drive)
        field = _counted(of_state, state, drive)
        back = _counted(pulled, state, drive, control)
        return SampleWork(
            _counted(lambda x: system.drive(x), x),
            field,
            Work(*(both - one for both, one in zip(back, field, strict=True))),
            _counted(gradient, learned, state, x, control),
            sum(leaf.size for leaf in jax.tree.leaves(learned)),
            isinstance(system, AbstractOrderedSystem),
        )

    @property
    def made(self) -> float:
        """How many numbers the products of one forward pass result in."""
        return self.drive.made + self.field.made

    @property
    def rest(self) -> Work:
        """The work outside of a solve."""
        return self.drive + self.gradient

    def solve(self, rule: str, passes: float) -> Work:
        """Returns the work of so many passes of a rule's solve.

        A pass goes forward and back. Of recurrent backpropagation, each of its steps does one of
        the two; backpropagation has one pass. The joint iteration begins with free steps.
        """
        both = self.field + self.pullback
        if rule == "recurrent backpropagation":
            return both.times(passes / 2)
        free = 0 if self.ordered else FREE_STEPS
        return both.times(passes) + self.field.times(free)

    def step(self, rule: str, passes: float) -> Work:
        """Returns the work of a step."""
        return self.rest + self.solve(rule, passes)


def _counted(function: Callable[..., PyTree], *arguments: PyTree) -> Work:
    """Counts the work of a function without what its results do not depend on."""
    program = eqx.filter_make_jaxpr(function)(*arguments)[0].jaxpr
    return _work(dce_jaxpr(program, [True] * len(program.outvars))[0])


def _work(program: Jaxpr) -> Work:
    total = Work()
    for equation in program.eqns:
        name, parameters = equation.primitive.name, equation.params
        size = sum(math.prod(out.aval.shape) for out in equation.outvars)
        if name == "dot_general":
            ((contracted, _), _) = parameters["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += Work(size * math.prod(shape[axis] for axis in contracted), 0.0, size)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = kernel[parameters["dimension_numbers"].rhs_spec[0]]
            total += Work(size * math.prod(kernel) / features, 0.0, size)
        elif name in ARITHMETIC:
            total += Work(0.0, size)
        elif name in SUMS:
            (array,) = equation.invars
            total += Work(0.0, math.prod(array.aval.shape))  # pyright: ignore
        elif name == "scan":
            total += _work(parameters["jaxpr"].jaxpr).times(parameters["length"])
        else:
            for inner in parameters.values():
                if isinstance(inner, ClosedJaxpr):
                    total += _work(inner.jaxpr)
                elif isinstance(inner, Jaxpr):
                    total += _work(inner)
    return total

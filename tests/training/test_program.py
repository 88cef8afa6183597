"""Programs: what is compiled beforehand gives the function's numbers, and says what it costs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leastcontrol import training

SIZE = 64


def square_sum(x):
    # The product is larger than all that goes in and comes out.
    return jnp.sum(jnp.sin(jnp.outer(x, x)) @ x)


@pytest.mark.parametrize("jit", [jax.jit, eqx.filter_jit])
def test_a_program_gives_the_numbers_of_its_function(jit):
    x = jnp.arange(SIZE) / SIZE
    program = training.Program.of(jit(square_sum), x)
    for given in (x, x + 1):
        result, seconds = program.timed(given)
        np.testing.assert_allclose(result, square_sum(given), rtol=1e-12)
        assert seconds > 0
    assert program.compile_seconds > 0
    with pytest.raises(TypeError, match="compiled"):
        program.timed(jnp.ones(SIZE + 1))


def test_the_memory_is_that_of_arguments_results_and_what_lies_between():
    x = jnp.ones(SIZE)
    memory = training.Program.of(jax.jit(square_sum), x).memory
    assert memory is not None
    # One vector goes in and one number comes out, in double precision.
    assert memory.lasting == 8 * (SIZE + 1)
    assert memory.temporary >= 8 * SIZE**2
    donated = training.Program.of(jax.jit(lambda x: x + 1, donate_argnums=0), x)
    assert donated.memory is not None
    assert donated.memory.lasting == 8 * SIZE
    assert donated.temporary_bytes == donated.memory.temporary


def test_what_a_backend_does_not_analyse_is_not_known():
    class Unknown:
        def lower(self, *_):
            return self

        def compile(self):
            return self

        @property
        def compiled(self):
            return self

        def memory_analysis(self):
            return None

        def __call__(self, x):
            return x

    program = training.Program.of(Unknown(), 1)
    assert program.memory is None
    assert program.temporary_bytes == 0
    assert program.timed(2)[0] == 2

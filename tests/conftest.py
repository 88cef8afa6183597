"""Strict settings for every test, made before JAX and the package are first imported.

* Shapes and types in the package's signatures are checked at run time (jaxtyping with beartype).
* 64-bit numbers are on; a test of single precision says so. With them on, Optimistix 0.1.0 keeps
  the error estimates of some solvers (fixed point, dogleg) in double precision and refuses a
  single-precision state: such a test runs inside `jax.enable_x64(False)`.
* Operands of different rank are never broadcast silently.
* Strict promotion of types stays off: Optax's bias correction (`decay**count` in Adam) and the
  steady-state event and Brownian tree of Diffrax mix types inside, and fail under it.
* What one test has compiled is not compiled again by another that makes the same program anew. The
  folder is a test process's own, for JAX does not write its files whole or not at all.
* Compiled programs are dropped after each file of tests. A process may have 65 530 mappings of
  memory on Linux, every program takes some, and LLVM ends the process where it gets no more.
"""

import gc
import os
import tempfile
from collections.abc import Iterator

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread pool for each test process would be as many as cores, for each process.
    for variable in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("leastcontrol", "beartype.beartype")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
COMPILATIONS = tempfile.TemporaryDirectory(prefix="leastcontrol-compilations-")
jax.config.update("jax_compilation_cache_dir", COMPILATIONS.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs() -> Iterator[None]:
    yield
    jax.clear_caches()
    gc.collect()

"""Strict settings for every test, made before JAX and the package are first imported.

* Shapes and types in the package's signatures are checked at run time (jaxtyping with beartype),
  but for the command line and the words: they import nothing heavy, so that what they build has a
  name for the type checker alone. A word checks the types of its options itself.
* 64-bit numbers are on; a test of single precision says so. With them on, Optimistix 0.1.0 keeps
  the error estimates of some solvers (fixed point, dogleg) in double precision and refuses a
  single-precision state: such a test runs inside `jax.enable_x64(False)`.
* Operands of different rank are never broadcast silently.
* Strict promotion of types stays off: Optax's bias correction (`decay**count` in Adam) and the
  steady-state event and Brownian tree of Diffrax mix types inside, and fail under it.
* What one test has compiled is not compiled again by another that makes the same program anew. The
  folder is a test process's own, for JAX does not write its files whole or not at all.
* Programs are compiled as quickly as XLA can, since compiling them is most of the time: without
  LLVM's optimisations, with the older kernels, in one part. That is a sixth of the usual time, and
  another order of rounding.
* Compiled programs are dropped after each file of tests. A process may have 65 530 mappings of
  memory on Linux, every program takes some, and LLVM ends the process where it gets no more.
"""

import atexit
import gc
import mmap
import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

QUICK = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}


def known_to_xla(flag: str) -> bool:
    """Returns whether XLA has a flag; one that it does not know would end the process."""
    with open(XLA, "rb") as library:
        content = mmap.mmap(library.fileno(), 0, access=mmap.ACCESS_READ)
        return content.find(flag.encode()) > 0


XLA = Path(find_spec("jaxlib").origin).with_name("libjax_common.so")
if XLA.exists():
    flags = [f"--{flag}={value}" for flag, value in QUICK.items() if known_to_xla(flag)]
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))
if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread pool for each test process would be as many as cores, for each process.
    for variable in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

PACKAGE = Path(__file__).parents[1] / "leastcontrol"
LIGHT = (
    "cli",
    "words",
    "options",
    "configuration",
    "config",
    "meta_config",
    "represent_config",
    "device_config",
)
MODULES = [path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")]
install_import_hook(
    [
        ".".join(("leastcontrol", *(part for part in parts if part != "__init__")))
        for parts in MODULES
        # The package itself would stand for all that is in it, and so would a room.
        if parts != ("__init__",) and parts != ("runs", "__init__") and not {*parts} & {*LIGHT}
    ],
    "beartype.beartype",
)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
COMPILATIONS = tempfile.TemporaryDirectory(prefix="leastcontrol-compilations-")
atexit.register(COMPILATIONS.cleanup)
jax.config.update("jax_compilation_cache_dir", COMPILATIONS.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs() -> Iterator[None]:
    yield
    jax.clear_caches()
    gc.collect()

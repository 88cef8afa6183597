"""The arguments of compiled functions: signatures, strong types, and a user's functions.

What is checked by shapes alone is checked once for each `Signature`. An array whose type is weak,
such as `jnp.full(3, 0.1)`, would be compiled for once more, so types are made strong first.

JAX compiles for a function by its identity, and differentiates in arguments alone. But a function
that is defined where it is used is a new one in every call, and may close over arrays that change
or are differentiated. `as_pytree` therefore takes it apart: its code is structure, which is equal
in every call, and what it closes over or reads of its module are leaves. So no cache keeps these
arrays, and one that is bound to another value is seen.
"""

import dis
import functools
import sys
from collections.abc import Callable, Iterator
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

# Objects without parts that can change.
_CONSTANTS = (type, ModuleType, BuiltinFunctionType, np.ufunc)

# Packages whose functions read nothing of their modules that a user changes.
_LIBRARIES = sys.stdlib_module_names | {
    "diffrax",
    "equinox",
    "flax",
    "haiku",
    "jax",
    "jaxtyping",
    "leastcontrol",
    "lineax",
    "numpy",
    "optax",
    "optimistix",
}


class Signature:
    """The structure, shapes and types of a pytree, and its leaves that are not arrays."""

    def __init__(self, tree: PyTree[Any]):
        leaves, self._structure = jax.tree.flatten(tree)
        self._leaves = tuple(
            jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if _is_array(leaf) else leaf
            for leaf in leaves
        )

    def shapes(self) -> PyTree[Any]:
        """Returns the pytree with the shapes and types of its arrays in their places."""
        return jax.tree.unflatten(self._structure, self._leaves)

    @property
    def hashable(self) -> bool:
        """Whether it can be looked up."""
        try:
            hash(self._identity)
        except TypeError:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signature) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Any, ...]:
        # Python's 1, 1.0 and True are equal, but f may treat them differently.
        return self._structure, self._leaves, tuple(map(type, self._leaves))


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def of_strong_types(tree: PyTree[Any]) -> PyTree[Any]:
    """Makes the weak types of arrays strong; other leaves stay as they are."""

    def of_leaf(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and getattr(leaf, "weak_type", False):
            return jax.lax.convert_element_type(leaf, leaf.dtype)
        return leaf

    return jax.tree.map(of_leaf, tree)


def as_pytree(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Makes a function a pytree of all that it depends on.

    Returns `None` for one that depends on an object which may change and cannot be taken apart,
    such as a NumPy array or a method of a class of one's own: what it reads of this object shows
    only when it is traced.
    """
    try:
        return _Parts().of(function)
    except _CannotBeTakenApart:
        return None


class _CannotBeTakenApart(Exception):
    pass


class _Code:
    """The code of a function, compared by value, and its global names, compared by identity."""

    def __init__(self, code: CodeType, names: dict[str, Any]):
        self.code, self.names = code, names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Code) and self.code == other.code and self.names is other.names

    def __hash__(self) -> int:
        return hash((self.code, id(self.names)))


class _Closure(eqx.Module):
    """A function of Python, with all that it depends on beside its arguments as leaves."""

    code: _Code = eqx.field(static=True)
    defaults: tuple[Any, ...] | None
    keyword_defaults: dict[str, Any] | None
    cells: tuple[Any, ...]
    # What it reads of its module.
    read: dict[str, Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        cells = tuple(map(CellType, self.cells))
        code, names = self.code.code, self.code.names
        if self.read:
            names = names | self.read
        function = FunctionType(code, names, code.co_name, self.defaults, cells)
        function.__kwdefaults__ = self.keyword_defaults
        return function(*args, **kwargs)


class _Parts:
    """Takes functions apart, and remembers those that it is inside of."""

    def __init__(self):
        self._inside: list[Any] = []

    def of(self, tree: PyTree[Any]) -> PyTree[Any]:
        return jax.tree.map(self._of_leaf, tree)

    def _of_leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, FunctionType):
            return self._of_function(leaf)
        if isinstance(leaf, functools.partial):
            return eqx.Partial(self.of(leaf.func), *self.of(leaf.args), **self.of(leaf.keywords))
        if isinstance(leaf, (jax.Array, *_CONSTANTS)):
            return leaf
        # f may use the values of NumPy's arrays, which a compiled function does not see.
        of_numpy = isinstance(leaf, np.ndarray | np.generic)
        if of_numpy or not (_compares_by_value(leaf) or self._is_made_by_jax(leaf)):
            raise _CannotBeTakenApart
        return leaf

    def _of_function(self, function: FunctionType) -> _Closure:
        if function in self._inside:
            raise _CannotBeTakenApart
        self._inside.append(function)
        try:
            cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        except ValueError:
            # A name that is not assigned yet.
            raise _CannotBeTakenApart from None
        parts = function.__defaults__, function.__kwdefaults__, cells, _read(function)
        code = _Code(function.__code__, function.__globals__)
        closure = _Closure(code, *self.of(parts))
        self._inside.pop()
        return closure

    def _is_made_by_jax(self, leaf: Any) -> bool:
        """Returns whether `jax.jit` or the like made it of a function without arrays."""
        if not type(leaf).__module__.startswith("jax") or not hasattr(leaf, "__wrapped__"):
            return False
        return not jax.tree.leaves(eqx.filter(self.of(leaf.__wrapped__), eqx.is_array))


def _read(function: FunctionType) -> dict[str, Any]:
    """Returns what a function reads of its module, but for containers without content."""
    names = function.__globals__
    if str(names.get("__name__")).partition(".")[0] in _LIBRARIES:
        return {}
    return {
        name: names[name]
        for name in _global_names(function.__code__)
        if name in names and jax.tree.leaves(names[name])
    }


@functools.lru_cache(1024)
def _global_names(code: CodeType) -> tuple[str, ...]:
    def of(code: CodeType) -> Iterator[str]:
        for instruction in dis.get_instructions(code):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield instruction.argval
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from of(constant)

    return tuple(sorted(set(of(code))))


def _compares_by_value(leaf: Any) -> bool:
    """Returns whether an object is hashed by its value, and so must not change."""
    if isinstance(leaf, MethodType):
        return _compares_by_value(leaf.__self__)
    return type(leaf).__hash__ not in (None, object.__hash__)

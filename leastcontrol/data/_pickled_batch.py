"""Reading of a pickled batch of images without unpickling it.

A pickle is a program, and unpickling runs it. The batches of CIFAR-10 are pickles of a dictionary
with an array of bytes and a list of labels. This reader interprets their instructions itself and
can build strings, numbers, lists, tuples, dictionaries and arrays of bytes, and nothing else. Any
other instruction is an error that names it.
"""

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from ._dataset import DataError


class _Named:
    """A name that the pickle of a byte array refers to; it is never imported."""

    def __init__(self, name: str):
        self.name = name


class _Array:
    """An array under construction, with its shape and bytes."""

    def __init__(self):
        self.state: Any = None

    def finished(self) -> np.ndarray:
        match self.state:
            case (_, tuple(shape), _Type(code="u1"), False, bytes(content)):
                return np.frombuffer(content, np.uint8).reshape(shape)
        raise _Refused("an array that is not of unsigned bytes in rows")


class _Type:
    """The code of an array's dtype."""

    def __init__(self, code: Any):
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code


class _Refused(ValueError):
    """Raised if the pickle uses something that no batch of images needs."""


# The allowed names, as written by Python 2 and 3 and by NumPy 1 and 2.
_KNOWN = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy ndarray": "kind",
    "numpy dtype": "type",
    "_codecs encode": "bytes",
}
_MARK = object()


def _called(function: Any, arguments: Any) -> Any:
    """Evaluates a call of one of the known names."""
    if isinstance(function, _Named) and isinstance(arguments, tuple):
        match function.name, arguments:
            case "array", _:
                return _Array()
            case "type", (code, *_):
                return _Type(code)
            case "bytes", (str(text), b"latin1" | "latin1"):
                return text.encode("latin-1")
    raise _Refused("a call")


def _put(state: Any, target: Any) -> None:
    """Sets the state of an object."""
    if isinstance(target, _Array):
        target.state = state
    elif not isinstance(target, _Type):
        raise _Refused("an object with a state")


class _Machine:
    """A pickle interpreter, with its stack and memory."""

    def __init__(self):
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        """Pops the last mark and everything above it, and returns the items above."""
        place = max(i for i, item in enumerate(self.stack) if item is _MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def perform(self, name: str, argument: Any) -> None:
        """Performs one instruction, given by its name in `pickletools`."""
        stack, pop = self.stack, self.stack.pop
        if name in ("BINSTRING", "SHORT_BINSTRING", "STRING"):
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(argument)
        elif name in _MAKERS:
            stack.append(_MAKERS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memory[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memory[argument])
        elif name == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            items = tuple(stack[-count:])
            del stack[-count:]
            stack.append(items)
        elif name in ("APPENDS", "APPEND"):
            items = self.since_mark() if name == "APPENDS" else [pop()]
            _of(list, stack[-1]).extend(items)
        elif name in ("SETITEMS", "SETITEM"):
            items = self.since_mark() if name == "SETITEMS" else [stack.pop(-2), pop()]
            _of(dict, stack[-1]).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            if argument not in _KNOWN:
                raise _Refused(f"the name {argument!r}")
            stack.append(_Named(_KNOWN[argument]))
        elif name == "REDUCE":
            arguments = pop()
            stack.append(_called(pop(), arguments))
        elif name == "BUILD":
            _put(pop(), stack[-1])
        elif name not in ("PROTO", "STOP"):
            raise _Refused(f"the instruction {name}")


_CONSTANTS = ("BININT", "BININT1", "BININT2", "INT", "BINUNICODE", "BINBYTES", "SHORT_BINBYTES")
_MAKERS: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: _MARK,
}


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _Refused(f"a {type(value).__name__} where a {kind.__name__} is filled")
    return value


def read_pickled_batch(content: bytes, *, where: str) -> dict[str, Any]:
    """Reads the dictionary of a pickled batch; `where` names the content in errors.

    **Raises:** `DataError` if the content is not a pickle, is truncated, or uses anything that a
    batch of images does not need.
    """
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(content):
            machine.perform(instruction.name, argument)
        (batch,) = machine.stack
        items = _of(dict, batch).items()
        return {
            name.decode("latin-1") if isinstance(name, bytes) else name: (
                value.finished() if isinstance(value, _Array) else value
            )
            for name, value in items
        }
    except _Refused as error:
        raise DataError(
            f"{where}: the pickle asks for {error}, which no batch of images needs, and nothing of "
            "it was run; expected a batch of CIFAR-10: get the archive again from its authors."
        ) from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{where}: it cannot be read as a pickled batch ({str(error) or 'damaged'}); expected "
            "a batch of CIFAR-10, whole: get it again."
        ) from error

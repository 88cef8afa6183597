"""Programs: functions that are compiled before they are first called, and what they cost.

Because the compilation is apart from the calls, each can be timed by itself, and the memory of a
call is known before there is one.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class ProgramMemory:
    """The bytes that XLA plans for one call of a program, on each device.

    * `temporary`: working memory, which is free again after the call.
    * `lasting`: arguments and results; a result that takes the place of an argument counts once.
    """

    temporary: int
    lasting: int


@dataclasses.dataclass(frozen=True, eq=False)
class Program(Generic[Result]):
    """A function, compiled for arguments of given shapes and types.

    * `call`: runs it, and may return before its results are ready.
    * `memory`: `None` where the backend does not analyse its programs.
    * `compile_seconds`: wall time of tracing and compiling; close to zero for a function that was
      compiled for such arguments before.
    """

    call: Callable[..., Result]
    memory: ProgramMemory | None
    compile_seconds: float

    @staticmethod
    def of(function: Callable[..., Result], *arguments: Any) -> "Program[Result]":
        """Compiles a function of `jax.jit` or `eqx.filter_jit` for arguments like these.

        What has been compiled for the same function and such arguments is used again.
        """
        began = time.perf_counter()
        compiled = function.lower(*arguments).compile()  # pyright: ignore[reportFunctionMemberAccess]
        seconds = time.perf_counter() - began
        inner = compiled if isinstance(compiled, jax.stages.Compiled) else compiled.compiled
        plan = inner.memory_analysis()
        if plan is None:
            return Program(compiled, None, seconds)
        lasting = plan.argument_size_in_bytes + plan.output_size_in_bytes
        memory = ProgramMemory(
            temporary=int(plan.temp_size_in_bytes),
            lasting=int(lasting - plan.alias_size_in_bytes),
        )
        return Program(compiled, memory, seconds)

    @property
    def temporary_bytes(self) -> int:
        """The working memory of a call; 0 where it is not known."""
        return 0 if self.memory is None else self.memory.temporary

    def timed(self, *arguments: Any) -> tuple[Result, float]:
        """Runs the program and waits for its results; returns them with the wall time in seconds.

        Whatever is given must have the shapes and types that the program was compiled for.
        """
        began = time.perf_counter()
        result = jax.block_until_ready(self.call(*arguments))
        return result, time.perf_counter() - began

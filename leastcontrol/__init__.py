"""Train systems that settle by the least control they need.

The names that users write live here; each comes from the room that answers its question: what
settles (`systems`), how far from good (`losses`), how the rest point is reached and whether it is
one (`equilibrium`), where the control comes from (`controllers`), what changes then (`rules`).

A name's room is imported when the name is first used, because JAX takes two seconds: who only asks
the command line for help does not wait for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .controllers import (
        AbstractController,
        AbstractOutputControl,
        DynamicInversion,
        Energy,
        Exact,
        LeakyIntegral,
        Proportional,
        batch_mean_leak,
    )
    from .equilibrium import (
        RESULTS,
        Certificate,
        ControlProblem,
        FixedPoint,
        NewtonKrylov,
        Point,
        Sample,
        Solution,
        Tolerance,
        free_equilibrium,
        solved,
    )
    from .losses import AbstractLoss, CrossEntropy, SquaredError
    from .rules import (
        AbstractRule,
        AbstractUnsolved,
        Backpropagation,
        Batch,
        Credit,
        Drop,
        JacobianPenalty,
        Keep,
        LeastControl,
        RaiseError,
        RecurrentBackpropagation,
        least_control,
    )
    from .systems import (
        AbstractInitialisation,
        AbstractOrderedSystem,
        AbstractSystem,
        EquilibriumRNN,
        FanInUniform,
        Feedforward,
        FunctionSystem,
        Orthogonal,
        XavierNormal,
        XavierUniform,
        gelu,
        identity,
        relu,
        tanh,
    )

__all__ = [
    "RESULTS",
    "AbstractController",
    "AbstractInitialisation",
    "AbstractLoss",
    "AbstractOrderedSystem",
    "AbstractOutputControl",
    "AbstractRule",
    "AbstractSystem",
    "AbstractUnsolved",
    "Backpropagation",
    "Batch",
    "Certificate",
    "ControlProblem",
    "Credit",
    "CrossEntropy",
    "Drop",
    "DynamicInversion",
    "Energy",
    "EquilibriumRNN",
    "Exact",
    "FanInUniform",
    "Feedforward",
    "FixedPoint",
    "FunctionSystem",
    "JacobianPenalty",
    "Keep",
    "LeakyIntegral",
    "LeastControl",
    "NewtonKrylov",
    "Orthogonal",
    "Point",
    "Proportional",
    "RaiseError",
    "RecurrentBackpropagation",
    "Sample",
    "Solution",
    "SquaredError",
    "Tolerance",
    "XavierNormal",
    "XavierUniform",
    "batch_mean_leak",
    "free_equilibrium",
    "gelu",
    "identity",
    "least_control",
    "relu",
    "solved",
    "tanh",
]

if not TYPE_CHECKING:
    # From the ground up: a name belongs to the first room that has it.
    _ROOMS = ("systems", "losses", "equilibrium", "controllers", "rules")

    def __getattr__(name: str) -> Any:
        from importlib import import_module, metadata

        if name == "__version__":
            value = metadata.version("leastcontrol")
        elif name in _ROOMS:
            value = import_module(f"leastcontrol.{name}")
        elif name in __all__:
            rooms = (import_module(f"leastcontrol.{room}") for room in _ROOMS)
            value = next(getattr(room, name) for room in rooms if hasattr(room, name))
        else:
            raise AttributeError(f"module 'leastcontrol' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_ROOMS, *__all__, "__version__"})

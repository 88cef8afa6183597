"""Train systems that settle by the least control they need.

The names that users write live here; each comes from the room that answers its question: what
settles (`systems`), how far from good (`losses`), how the rest point is reached and whether it is
one (`equilibrium`), where the control comes from (`controllers`), what changes then (`rules`).
"""

from importlib.metadata import version as _version

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

__version__ = _version("leastcontrol")

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

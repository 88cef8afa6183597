"""Train systems that settle by the least control they need.

The names that users write live here; each comes from the room that answers its question: what
settles (`systems`), how far from good (`losses`), how the rest point is reached and whether it is
one (`equilibrium`), where the control comes from (`controllers`), what changes then (`rules`), and
how good the feedback is (`diagnostics`).

A name's room is imported when the name is first used, because JAX takes two seconds: who only asks
the command line for help does not wait for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .controllers import (
        AbstractController,
        AbstractFeedbackPath,
        AbstractOutputControl,
        AbstractTeaching,
        Automatic,
        DirectFeedback,
        DynamicInversion,
        Energy,
        Exact,
        JacobianFeedback,
        KolenPollack,
        LabelDifference,
        LeakyIntegral,
        LinearFeedback,
        Nudged,
        Proportional,
        Strong,
        WeightProductFeedback,
        batch_mean_leak,
    )
    from .equilibrium import (
        RESULTS,
        AbstractNoise,
        Certificate,
        ControlProblem,
        Dynamics,
        FilteredNoise,
        FixedPoint,
        NoiseRun,
        Point,
        Sample,
        Solution,
        Tolerance,
        TrustRegion,
        WhiteNoise,
        free_equilibrium,
        solved,
    )
    from .losses import AbstractLoss, CrossEntropy, SquaredError
    from .rules import (
        AbstractDifference,
        AbstractFeedbackLearning,
        AbstractPhase,
        AbstractRule,
        AbstractUnsolved,
        AnalyticSteadyState,
        Backpropagation,
        Batch,
        Continuous,
        Credit,
        DeepFeedbackControl,
        DirectFeedbackAlignment,
        Drop,
        EquilibriumPropagation,
        FeedbackAlignment,
        JacobianPenalty,
        Keep,
        LeastControl,
        PhantomGradient,
        QuasiStatic,
        RaiseError,
        RateDifference,
        RecurrentBackpropagation,
        SimulatedSteadyState,
        SinglePhase,
        SteadyState,
        TwoPhase,
        VoltageDifference,
        WithBatchStatistics,
        jacobian_free_backpropagation,
        least_control,
        predictive_coding,
    )
    from .systems import (
        AbstractCell,
        AbstractInitialisation,
        AbstractOrderedSystem,
        AbstractSystem,
        Convolution,
        ConvolutionalFeedforward,
        DeepEquilibrium,
        EquilibriumRNN,
        FanInUniform,
        Feedforward,
        FunctionSystem,
        ImplicitRepresentation,
        MaxPool,
        Orthogonal,
        ResidualCell,
        ResidualNetwork,
        Swapped,
        WithNodes,
        XavierNormal,
        XavierUniform,
        convolutional_deep_equilibrium,
        dense_residual_network,
        gelu,
        identity,
        relu,
        tanh,
    )

__all__ = [
    "RESULTS",
    "AbstractCell",
    "AbstractController",
    "AbstractDifference",
    "AbstractFeedbackLearning",
    "AbstractFeedbackPath",
    "AbstractInitialisation",
    "AbstractLoss",
    "AbstractNoise",
    "AbstractOrderedSystem",
    "AbstractOutputControl",
    "AbstractPhase",
    "AbstractRule",
    "AbstractSystem",
    "AbstractTeaching",
    "AbstractUnsolved",
    "AnalyticSteadyState",
    "Automatic",
    "Backpropagation",
    "Batch",
    "Certificate",
    "Continuous",
    "ControlProblem",
    "Convolution",
    "ConvolutionalFeedforward",
    "Credit",
    "CrossEntropy",
    "DeepEquilibrium",
    "DeepFeedbackControl",
    "DirectFeedback",
    "DirectFeedbackAlignment",
    "Drop",
    "DynamicInversion",
    "Dynamics",
    "Energy",
    "EquilibriumPropagation",
    "EquilibriumRNN",
    "Exact",
    "FanInUniform",
    "FeedbackAlignment",
    "Feedforward",
    "FilteredNoise",
    "FixedPoint",
    "FunctionSystem",
    "ImplicitRepresentation",
    "JacobianFeedback",
    "JacobianPenalty",
    "Keep",
    "KolenPollack",
    "LabelDifference",
    "LeakyIntegral",
    "LeastControl",
    "LinearFeedback",
    "MaxPool",
    "NoiseRun",
    "Nudged",
    "Orthogonal",
    "PhantomGradient",
    "Point",
    "Proportional",
    "QuasiStatic",
    "RaiseError",
    "RateDifference",
    "RecurrentBackpropagation",
    "ResidualCell",
    "ResidualNetwork",
    "Sample",
    "SimulatedSteadyState",
    "SinglePhase",
    "Solution",
    "SquaredError",
    "SteadyState",
    "Strong",
    "Swapped",
    "Tolerance",
    "TrustRegion",
    "TwoPhase",
    "VoltageDifference",
    "WeightProductFeedback",
    "WhiteNoise",
    "WithBatchStatistics",
    "WithNodes",
    "XavierNormal",
    "XavierUniform",
    "batch_mean_leak",
    "convolutional_deep_equilibrium",
    "dense_residual_network",
    "free_equilibrium",
    "gelu",
    "identity",
    "jacobian_free_backpropagation",
    "least_control",
    "predictive_coding",
    "relu",
    "solved",
    "tanh",
]

if not TYPE_CHECKING:
    # From the ground up: a name belongs to the first room that has it.
    _ROOMS = ("systems", "losses", "equilibrium", "controllers", "rules", "diagnostics")

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

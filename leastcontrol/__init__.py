"""Train systems that settle by the least control they need.

The names that users write first live here. Each comes from the room that answers its question: what
settles (`systems`), how far from good (`losses`), how the equilibrium is reached and whether it is
one (`equilibrium`), where the control comes from (`controllers`), and what changes then (`rules`).

What belongs to one subject has a space of its own: `meta`, learning to learn; `feedback_control`,
deep feedback control; `diagnostics`, how good feedback and gradients are; `data`, data sets by
name.

A room is imported when one of its names is first used, because JAX takes two seconds to import: who
only asks the command line for help does not wait for it.
"""

from typing import TYPE_CHECKING, Any

# The table of the package's names, written once: type checkers read these imports as they stand,
# and `__getattr__` reads them to find the room of a name.
if TYPE_CHECKING:
    from . import controllers as controllers
    from . import data as data
    from . import devices as devices
    from . import diagnostics as diagnostics
    from . import equilibrium as equilibrium
    from . import feedback_control as feedback_control
    from . import losses as losses
    from . import meta as meta
    from . import rules as rules
    from . import systems as systems
    from .controllers import AbstractController as AbstractController
    from .controllers import AbstractOutputControl as AbstractOutputControl
    from .controllers import Automatic as Automatic
    from .controllers import ContinuousTime as ContinuousTime
    from .controllers import DynamicInversion as DynamicInversion
    from .controllers import Energy as Energy
    from .controllers import Exact as Exact
    from .controllers import KolenPollack as KolenPollack
    from .controllers import LeakyIntegral as LeakyIntegral
    from .controllers import LinearFeedback as LinearFeedback
    from .controllers import Proportional as Proportional
    from .controllers import RelativeLeak as RelativeLeak
    from .controllers import batch_mean_leak as batch_mean_leak
    from .equilibrium import RESULTS as RESULTS
    from .equilibrium import Anderson as Anderson
    from .equilibrium import Certificate as Certificate
    from .equilibrium import ControlProblem as ControlProblem
    from .equilibrium import FixedPoint as FixedPoint
    from .equilibrium import NoiseRun as NoiseRun
    from .equilibrium import Point as Point
    from .equilibrium import Sample as Sample
    from .equilibrium import Solution as Solution
    from .equilibrium import Tolerance as Tolerance
    from .equilibrium import TrustRegion as TrustRegion
    from .equilibrium import free_equilibrium as free_equilibrium
    from .equilibrium import solved as solved
    from .losses import AbstractLoss as AbstractLoss
    from .losses import CrossEntropy as CrossEntropy
    from .losses import FunctionLoss as FunctionLoss
    from .losses import SquaredError as SquaredError
    from .rules import AbstractRule as AbstractRule
    from .rules import AbstractUnsolved as AbstractUnsolved
    from .rules import Backpropagation as Backpropagation
    from .rules import BackpropagationThroughTime as BackpropagationThroughTime
    from .rules import Batch as Batch
    from .rules import Credit as Credit
    from .rules import DirectFeedbackAlignment as DirectFeedbackAlignment
    from .rules import Drop as Drop
    from .rules import EquilibriumPropagation as EquilibriumPropagation
    from .rules import FeedbackAlignment as FeedbackAlignment
    from .rules import GradientCertificate as GradientCertificate
    from .rules import InParts as InParts
    from .rules import JacobianPenalty as JacobianPenalty
    from .rules import Keep as Keep
    from .rules import LeastControl as LeastControl
    from .rules import PhantomGradient as PhantomGradient
    from .rules import RaiseError as RaiseError
    from .rules import RecurrentBackpropagation as RecurrentBackpropagation
    from .rules import WithBatchStatistics as WithBatchStatistics
    from .rules import credit_certificate as credit_certificate
    from .rules import gradient_certificate as gradient_certificate
    from .rules import jacobian_free_backpropagation as jacobian_free_backpropagation
    from .rules import least_control as least_control
    from .rules import predictive_coding as predictive_coding
    from .rules import settle as settle
    from .systems import AbstractCell as AbstractCell
    from .systems import AbstractInitialisation as AbstractInitialisation
    from .systems import AbstractOrderedSystem as AbstractOrderedSystem
    from .systems import AbstractSystem as AbstractSystem
    from .systems import Convolution as Convolution
    from .systems import ConvolutionalFeedforward as ConvolutionalFeedforward
    from .systems import DeepEquilibrium as DeepEquilibrium
    from .systems import EquilibriumRNN as EquilibriumRNN
    from .systems import FanInUniform as FanInUniform
    from .systems import Feedforward as Feedforward
    from .systems import FunctionSystem as FunctionSystem
    from .systems import ImplicitRepresentation as ImplicitRepresentation
    from .systems import MaxPool as MaxPool
    from .systems import Orthogonal as Orthogonal
    from .systems import ResidualCell as ResidualCell
    from .systems import ResidualNetwork as ResidualNetwork
    from .systems import Swapped as Swapped
    from .systems import WithNodes as WithNodes
    from .systems import XavierNormal as XavierNormal
    from .systems import XavierUniform as XavierUniform
    from .systems import convolutional_deep_equilibrium as convolutional_deep_equilibrium
    from .systems import dense_residual_network as dense_residual_network
    from .systems import gelu as gelu
    from .systems import identity as identity
    from .systems import relu as relu
    from .systems import tanh as tanh
else:
    from functools import cache as _cache

    @_cache
    def _rooms() -> dict[str, str]:
        """Finds the room that each name is imported from above; a room itself has none."""
        import ast

        source = __spec__.loader.get_source(__name__)
        block = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
        return {
            alias.name: statement.module or ""
            for statement in block.body
            for alias in statement.names
        }

    def __getattr__(name: str) -> Any:
        from importlib import import_module, metadata

        if name == "__version__":
            value = metadata.version("leastcontrol")
        elif name == "__all__":
            value = [public for public, room in _rooms().items() if room]
        elif name in _rooms():
            room = _rooms()[name]
            module = import_module(f"leastcontrol.{room or name}")
            value = getattr(module, name) if room else module
        else:
            raise AttributeError(f"module 'leastcontrol' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_rooms(), "__all__", "__version__"})

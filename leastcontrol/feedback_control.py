"""Deep feedback control: a controller of the output drives every layer of a feedforward network.

`DeepFeedbackControl` is one rule with five parts, each of which can be exchanged:

* a phase: `Continuous`, `SimulatedSteadyState`, `AnalyticSteadyState`, `SteadyState`;
* a teaching: `Nudged`, `Strong`, `LabelDifference`;
* a feedback path: `DirectFeedback`, `WeightProductFeedback`, `JacobianFeedback`;
* a difference: `RateDifference`, `VoltageDifference`;
* feedback learning, or none: `SinglePhase`, `TwoPhase`, `QuasiStatic`.

Simulated phases follow `Dynamics`, whose noise is white or filtered (`WhiteNoise`, `FilteredNoise`)
and has increments that are normal or signs (`NormalIncrements`, `TwoPointIncrements`).
"""

from .controllers import AbstractFeedbackPath as AbstractFeedbackPath
from .controllers import AbstractTeaching as AbstractTeaching
from .controllers import DirectFeedback as DirectFeedback
from .controllers import JacobianFeedback as JacobianFeedback
from .controllers import LabelDifference as LabelDifference
from .controllers import Nudged as Nudged
from .controllers import Strong as Strong
from .controllers import WeightProductFeedback as WeightProductFeedback
from .equilibrium import AbstractIncrements as AbstractIncrements
from .equilibrium import AbstractNoise as AbstractNoise
from .equilibrium import Dynamics as Dynamics
from .equilibrium import FilteredNoise as FilteredNoise
from .equilibrium import NormalIncrements as NormalIncrements
from .equilibrium import TwoPointIncrements as TwoPointIncrements
from .equilibrium import WhiteNoise as WhiteNoise
from .rules._feedback_control import *  # noqa: F403

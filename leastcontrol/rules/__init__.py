"""What changes: from a batch to a descent direction for every parameter.

A rule is composed of a controller and what it needs besides, and is called the same way whatever
it is: `rule(system, feedback, batch, key)` returns a `Credit`. Rules never step an optimiser.

* `LeastControl` descends the control that is needed: ∂_θfᵀψ at the controlled rest point.
* `Backpropagation` and `RecurrentBackpropagation` descend the loss, by reverse-mode differentiation
  of an ordered system and by implicit differentiation of any; `BackpropagationThroughTime` stores
  and reverses the steps of a free solve.
* `FeedbackAlignment` and `DirectFeedbackAlignment` do so with a backward path of random weights,
  `EquilibriumPropagation` by the contrast of two rest points.
* `predictive_coding` is least control on the energy, by the name that it has there.
* `JacobianPenalty` adds to another rule what keeps a recurrent system solvable while it learns.
* `DeepFeedbackControl` learns from what a controller of the output changes in every layer of a
  feedforward network, through feedback weights of its own that may learn as well.
* `InParts` applies another rule to parts of a batch, one after another or on several devices.
* `MetaLeastControl` learns the slow weights of `FastWeights`, as do `FirstOrderMAML`, `MAML`,
  `Reptile`, `T1T2`, `ImplicitMAML` and `ContrastiveMeta`; see `leastcontrol.rules._meta`.

What is done with samples whose solve failed is the rule's `unsolved` policy: `Drop`, `Keep` or
`RaiseError`. `least_control` is `LeastControl` for people who bring their own f and optimiser.
"""

from ._backpropagation import Backpropagation as Backpropagation
from ._backpropagation import RecurrentBackpropagation as RecurrentBackpropagation
from ._batch_statistics import WithBatchStatistics as WithBatchStatistics
from ._equilibrium_propagation import EquilibriumPropagation as EquilibriumPropagation
from ._feedback_alignment import DirectFeedbackAlignment as DirectFeedbackAlignment
from ._feedback_alignment import FeedbackAlignment as FeedbackAlignment
from ._feedback_control import AbstractDifference as AbstractDifference
from ._feedback_control import AbstractFeedbackLearning as AbstractFeedbackLearning
from ._feedback_control import AbstractPhase as AbstractPhase
from ._feedback_control import AnalyticSteadyState as AnalyticSteadyState
from ._feedback_control import Continuous as Continuous
from ._feedback_control import Controlled as Controlled
from ._feedback_control import DeepFeedbackControl as DeepFeedbackControl
from ._feedback_control import QuasiStatic as QuasiStatic
from ._feedback_control import RateDifference as RateDifference
from ._feedback_control import SimulatedSteadyState as SimulatedSteadyState
from ._feedback_control import SinglePhase as SinglePhase
from ._feedback_control import SteadyState as SteadyState
from ._feedback_control import Task as Task
from ._feedback_control import TwoPhase as TwoPhase
from ._feedback_control import VoltageDifference as VoltageDifference
from ._jacobian_free import PhantomGradient as PhantomGradient
from ._jacobian_free import jacobian_free_backpropagation as jacobian_free_backpropagation
from ._jacobian_penalty import JacobianPenalty as JacobianPenalty
from ._least_control import LeastControl as LeastControl
from ._least_control import least_control as least_control
from ._meta import MAML as MAML
from ._meta import T1T2 as T1T2
from ._meta import AbstractAdaptation as AbstractAdaptation
from ._meta import AbstractMetaControl as AbstractMetaControl
from ._meta import AbstractMetaRule as AbstractMetaRule
from ._meta import ContrastiveMeta as ContrastiveMeta
from ._meta import DescentControl as DescentControl
from ._meta import DirectControl as DirectControl
from ._meta import EulerControl as EulerControl
from ._meta import FirstOrderMAML as FirstOrderMAML
from ._meta import GradientDescent as GradientDescent
from ._meta import ImplicitMAML as ImplicitMAML
from ._meta import MetaLeastControl as MetaLeastControl
from ._meta import OptimalControl as OptimalControl
from ._meta import Relaxation as Relaxation
from ._meta import Reptile as Reptile
from ._meta import Settled as Settled
from ._parts import InParts as InParts
from ._policy import AbstractUnsolved as AbstractUnsolved
from ._policy import Drop as Drop
from ._policy import Keep as Keep
from ._policy import RaiseError as RaiseError
from ._predictive_coding import predictive_coding as predictive_coding
from ._quick import without_safeguard as without_safeguard
from ._rule import AbstractRule as AbstractRule
from ._rule import AbstractRuleAround as AbstractRuleAround
from ._rule import AbstractRuleWithoutFeedback as AbstractRuleWithoutFeedback
from ._rule import Batch as Batch
from ._rule import Credit as Credit
from ._through_time import BackpropagationThroughTime as BackpropagationThroughTime

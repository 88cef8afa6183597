"""What changes: learning rules, which turn a batch into a descent direction for every parameter.

Every rule is called the same way: `rule(system, feedback, batch, key=key)` returns a `Credit`. A
rule never steps an optimiser. The room has three kinds of rules.

Rules for any system:

* `LeastControl` descends the control that a good output needs: ∂_θfᵀψ at the controlled
  equilibrium. `least_control` offers it for functions f and h of your own, and `predictive_coding`
  is its case of energy-based control.
* `Backpropagation` and `RecurrentBackpropagation` descend the loss, the first by reverse-mode
  differentiation of an ordered system, the second by implicit differentiation of any system.
  `BackpropagationThroughTime` stores and reverses the steps of a free solve; `PhantomGradient`
  takes only the first steps of the adjoint solve.
* `FeedbackAlignment` and `DirectFeedbackAlignment` descend it with random weights on the way back,
  `EquilibriumPropagation` with the contrast of two equilibria.

`settle` is no rule but a function under JAX's own differentiation: the rest points of an f of your
own, for any program around them. `gradient_certificate` says what a gradient at such a point is
worth, whoever found it.

Rules around another rule:

* `JacobianPenalty` keeps a recurrent system solvable while it learns.
* `WithBatchStatistics` differentiates through batch norm.
* `InParts` takes a batch in parts, one after another or on several devices.

Rules for one kind of system, each kind with a folder and a space of its own:

* `leastcontrol.feedback_control`: deep feedback control of a feedforward network.
* `leastcontrol.meta`: meta-learning of the slow weights of `FastWeights`.

A rule's `unsolved` policy says what happens to samples whose solve failed: `Drop`, `Keep` or
`RaiseError`.
"""

from ._backpropagation import Backpropagation as Backpropagation
from ._backpropagation import RecurrentBackpropagation as RecurrentBackpropagation
from ._backpropagation import backpropagation_through as backpropagation_through
from ._batch_statistics import WithBatchStatistics as WithBatchStatistics
from ._equilibrium_propagation import EquilibriumPropagation as EquilibriumPropagation
from ._feedback_alignment import DirectFeedbackAlignment as DirectFeedbackAlignment
from ._feedback_alignment import FeedbackAlignment as FeedbackAlignment
from ._gradient_certificate import GradientCertificate as GradientCertificate
from ._gradient_certificate import credit_certificate as credit_certificate
from ._gradient_certificate import gradient_certificate as gradient_certificate
from ._gradient_noise import GradientNoise as GradientNoise
from ._gradient_noise import gradient_noise as gradient_noise
from ._jacobian_free import PhantomGradient as PhantomGradient
from ._jacobian_free import jacobian_free_backpropagation as jacobian_free_backpropagation
from ._jacobian_penalty import JacobianPenalty as JacobianPenalty
from ._least_control import LeastControl as LeastControl
from ._least_control import least_control as least_control
from ._parts import InParts as InParts
from ._parts import batch_axis as batch_axis
from ._policy import AbstractUnsolved as AbstractUnsolved
from ._policy import Drop as Drop
from ._policy import Keep as Keep
from ._policy import RaiseError as RaiseError
from ._predictive_coding import predictive_coding as predictive_coding
from ._quick import without_safeguard as without_safeguard
from ._rule import AbstractRule as AbstractRule
from ._rule import AbstractRuleAround as AbstractRuleAround
from ._rule import AbstractRuleWithoutFeedback as AbstractRuleWithoutFeedback
from ._rule import Aspects as Aspects
from ._rule import Batch as Batch
from ._rule import Control as Control
from ._rule import Credit as Credit
from ._settle import settle as settle
from ._through_time import BackpropagationThroughTime as BackpropagationThroughTime

"""Where the control comes from: from the error of the output to a control on the whole state.

A controller takes a batch to its controlled equilibrium. It chooses which view of the
least-control problem is solved and by what solver; the answer is measured the same way for all
(`leastcontrol.equilibrium.certify`). Five controllers end at the same rest point
(arXiv 2207.01332, section 3.3), by different roads:

* `DynamicInversion` inverts the dynamics with a control of its own, iterated with the state;
* `Energy` descends the energy, reading the control off as ψ = −f;
* `Exact` minimises the energy by Newton's method in a trust region: the oracle;
* `Automatic` is dynamic inversion, safeguarded by `Exact` sample by sample, and `Quick` the same
  without the safeguard;
* `ContinuousTime` integrates the equations of dynamic inversion themselves.

Two need no transposed weights, and have **feedback weights** of their own that learn beside the
system's. Their rest points are approximations of that one, better as the feedback learns:

* `KolenPollack` inverts the dynamics of a mirror of the system with separate weights;
* `LinearFeedback` sends the output control straight to the state, ψ = Qu.

The feedback weights of both forms, mirrored and direct, are drawn and checked by functions that
rules without control use too (`mirror_weights`, `direct_weights`, `check_feedback`).

How strongly the output pulls is not the controller's business but the **output control**'s: at
rest every one of them satisfies αu + ∇_yL = 0 for its effective leak α.
"""

from ._continuous_time import ContinuousTime as ContinuousTime
from ._controller import AbstractController as AbstractController
from ._controller import AbstractControllerWithoutFeedback as AbstractControllerWithoutFeedback
from ._controllers import Automatic as Automatic
from ._controllers import DynamicInversion as DynamicInversion
from ._controllers import Energy as Energy
from ._controllers import Exact as Exact
from ._controllers import Quick as Quick
from ._direct_feedback import AbstractDirectPath as AbstractDirectPath
from ._direct_feedback import AbstractFeedbackPath as AbstractFeedbackPath
from ._direct_feedback import DirectFeedback as DirectFeedback
from ._direct_feedback import JacobianFeedback as JacobianFeedback
from ._direct_feedback import WeightProductFeedback as WeightProductFeedback
from ._direct_feedback import output_jacobian as output_jacobian
from ._direct_feedback import output_response as output_response
from ._feedback_equilibrium import FeedbackEquilibrium as FeedbackEquilibrium
from ._feedback_equilibrium import FeedbackPoint as FeedbackPoint
from ._feedback_equilibrium import FeedbackRest as FeedbackRest
from ._feedback_equilibrium import FeedbackSample as FeedbackSample
from ._feedback_equilibrium import feedback_equilibrium as feedback_equilibrium
from ._feedback_equilibrium import linearised_control as linearised_control
from ._feedback_equilibrium import noisy_response as noisy_response
from ._feedback_weights import check_feedback as check_feedback
from ._feedback_weights import direct_weights as direct_weights
from ._feedback_weights import direct_weights_like as direct_weights_like
from ._feedback_weights import mirror_of as mirror_of
from ._feedback_weights import mirror_weights as mirror_weights
from ._feedback_weights import tree_slope as tree_slope
from ._kolen_pollack import KolenPollack as KolenPollack
from ._linear_feedback import LinearFeedback as LinearFeedback
from ._output_control import AbstractOutputControl as AbstractOutputControl
from ._output_control import LeakyIntegral as LeakyIntegral
from ._output_control import Proportional as Proportional
from ._output_control import as_output_control as as_output_control
from ._output_control import batch_mean_leak as batch_mean_leak
from ._teaching import AbstractTeaching as AbstractTeaching
from ._teaching import LabelDifference as LabelDifference
from ._teaching import Nudged as Nudged
from ._teaching import Strong as Strong

"""Controllers, which turn the error of the output into a control on the whole state.

A controller computes the controlled equilibria of a batch. It chooses a formulation of the
least-control problem and a solver; all results are certified in the same way
(`leastcontrol.equilibrium.certify`). Five controllers reach the same equilibrium (arXiv 2207.01332,
section 3.3) by different methods:

* `DynamicInversion` iterates the control together with the state, which inverts the dynamics;
* `Energy` descends the energy, with the control ψ = −f;
* `Exact` minimises the energy by Newton's method in a trust region; it is the reference;
* `Automatic` is dynamic inversion with `Exact` as a safeguard for single samples, and `Quick` is
  the same without the safeguard;
* `ContinuousTime` integrates the differential equations of dynamic inversion.

Two controllers need no transposed weights. They have **feedback weights**, which learn together
with the weights of the system. Their equilibria approximate the least-control equilibrium, more
closely as the feedback learns:

* `KolenPollack` inverts the dynamics of a mirror system with separate weights;
* `LinearFeedback` sends the output control directly to the state, ψ = Qu.

Rules without control use the same feedback weights, mirrored or direct, through `mirror_weights`,
`direct_weights` and `check_feedback`.

The strength of the control is not set by the controller but by the **output control**. At rest it
satisfies αu + ∇_yL = 0 for an effective leak α, the same for all samples or, with `RelativeLeak`,
in units of the gain of each.
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
from ._output_control import AbstractFixedLeak as AbstractFixedLeak
from ._output_control import AbstractOutputControl as AbstractOutputControl
from ._output_control import Asked as Asked
from ._output_control import LeakyIntegral as LeakyIntegral
from ._output_control import Proportional as Proportional
from ._output_control import RelativeLeak as RelativeLeak
from ._output_control import as_fixed_leak as as_fixed_leak
from ._output_control import as_output_control as as_output_control
from ._output_control import batch_mean_leak as batch_mean_leak
from ._teaching import AbstractTeaching as AbstractTeaching
from ._teaching import LabelDifference as LabelDifference
from ._teaching import Nudged as Nudged
from ._teaching import Strong as Strong

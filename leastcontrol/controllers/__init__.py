"""Where the control comes from: from the error of the output to a control on the whole state.

A controller takes a batch to its controlled equilibrium. It chooses which view of the
least-control problem is solved and by what solver; the answer is measured the same way for all
(`leastcontrol.equilibrium.certify`). The three controllers of this room end at the same rest point
(arXiv 2207.01332, section 3.3), by different roads:

* `DynamicInversion` inverts the dynamics with a control of its own, iterated with the state;
* `Energy` descends the energy, reading the control off as ψ = −f;
* `Exact` solves the optimality conditions by Newton's method: the oracle.

How strongly the output pulls is not the controller's business but the **output control**'s: at
rest every one of them satisfies αu + ∇_yL = 0 for its effective leak α.
"""

from ._controller import AbstractController as AbstractController
from ._controllers import DynamicInversion as DynamicInversion
from ._controllers import Energy as Energy
from ._controllers import Exact as Exact
from ._output_control import AbstractOutputControl as AbstractOutputControl
from ._output_control import LeakyIntegral as LeakyIntegral
from ._output_control import Proportional as Proportional
from ._output_control import as_output_control as as_output_control
from ._output_control import batch_mean_leak as batch_mean_leak

"""How good the feedback is: figures that no rule needs and that say why one learns.

A diagnostic is a function of a system, of a batch at the states that it is given, and of what is to
be judged; it returns a number for each sample. It computes with derivatives that the rules that it
judges do without.

* `column_space_condition`: for linear feedback to the state of any system.
* `feedback_condition`, `feedback_ratios`, `feedback_movement`, `error_ratio`: the subspace,
  strength and learning of direct feedback to the layers of a feedforward network.
* `stability_margin`, `quasi_static_margin`: whether the dynamics that it controls are stable.
* `free_margin`, `controlled_margin`: the same of any system, without control and under dynamic
  inversion, matrix-free; `simulated_margin`: of the steps of a simulation as they are taken.
* `energy_gap`: how far the energy at a rest point can be from the least that there is.
* `gradient_trust`: how much of a rule's gradient can be trusted, on a whole data set.
* `free_trajectory`, `controlled_trajectory`: one sample on its way to rest, in continuous time.
* `angle` and `layer_angles` compare updates: with backpropagation's, and with
  `minimum_norm_update`, `gauss_newton_update` and `linearised_control_gradient`, which are updates
  of the same form.
"""

from ._column_space import column_space_condition as column_space_condition
from ._directions import angle as angle
from ._directions import layer_angles as layer_angles
from ._feedback import error_ratio as error_ratio
from ._feedback import feedback_condition as feedback_condition
from ._feedback import feedback_movement as feedback_movement
from ._feedback import feedback_ratios as feedback_ratios
from ._feedback import gauss_newton_update as gauss_newton_update
from ._feedback import jacobians as jacobians
from ._feedback import linearised_control_gradient as linearised_control_gradient
from ._feedback import minimum_norm_update as minimum_norm_update
from ._feedback import quasi_static_margin as quasi_static_margin
from ._feedback import stability_margin as stability_margin
from ._gap import EnergyGap as EnergyGap
from ._gap import energy_gap as energy_gap
from ._gap import largest_gain as largest_gain
from ._margins import controlled_margin as controlled_margin
from ._margins import free_margin as free_margin
from ._margins import simulated_margin as simulated_margin
from ._trajectory import Trajectory as Trajectory
from ._trajectory import controlled_trajectory as controlled_trajectory
from ._trajectory import free_trajectory as free_trajectory
from ._trust import GradientTrust as GradientTrust
from ._trust import gradient_trust as gradient_trust

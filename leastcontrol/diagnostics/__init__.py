"""Diagnostics of feedback, stability and gradients, which no rule needs but which explain learning.

Most diagnostics take a system, a batch with its states, and the quantity to measure, and return a
number for each sample. They use derivatives that the measured rules avoid.

* `column_space_condition` measures linear feedback to the state of any system.
* `feedback_condition`, `feedback_ratios`, `feedback_movement` and `error_ratio` measure subspace,
  strength and learning of direct feedback to the layers of a feedforward network.
* `stability_margin` and `quasi_static_margin` measure the stability of the dynamics under direct
  feedback.
* `free_margin` and `controlled_margin` measure, matrix-free, the stability of any system without
  control and under dynamic inversion; `simulated_margin` measures that of simulation steps.
* `energy_gap` bounds the distance of the energy at an equilibrium from its minimum.
* `gradient_trust` compares the gradient of a rule with exact gradients, on a whole data set.
* `free_trajectory` and `controlled_trajectory` integrate one sample in continuous time.
* `angle` and `layer_angles` compare updates, with those of backpropagation or with
  `minimum_norm_update`, `gauss_newton_update` and `linearised_control_gradient`, which have the
  same form.
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

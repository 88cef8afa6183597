"""Solvers for free and controlled equilibria, and the certificates of their solutions.

The package separates three things that vary independently.

* A **problem** defines the equilibrium of one sample as an iteration z ↦ z′ whose fixed points are
  the solutions. It also gives the error of z′ as a multiple of the tolerance. `FreeProblem` is
  f = 0, and with an `AdjointSystem` it is ∂_φfᵀa + ∂_φhᵀe = 0, the linear half of implicit
  differentiation. The controlled equilibrium f + ψ = 0, ∂_φfᵀψ + ∂_φhᵀu = 0, αu + ∇_yL = 0 is a
  `ControlProblem`, which is solved in one of several forms: `SweepProblem` for ordered systems,
  `JointProblem` for any f, and descents of the energy. These take first-order steps
  (`EnergyProblem`) or Newton steps (`TrustRegionProblem`) in the coordinates of an
  `AbstractLandscape`. Where units rest on kinks, `KinkedSweepProblem` and `KinkedJointProblem` take
  the place of the first two, and `minimum_on_kinks` that of Newton steps. If the control has a
  separate feedback path, `ControlPathProblem` replaces the second condition by that of the path.
* A **solver** (`FixedPoint`: plain or Anderson-accelerated) says how to run an iteration and for
  how many steps. `Anderson` is the same acceleration as an Optimistix solver.
* The **driver** (`run`) maps both over a batch. Every sample has its own error, step count and end.
  When most samples have finished, the driver continues with the others alone, so the cost of a
  batch is close to the mean cost of its samples instead of the maximum. This changes no result.

Whichever solver is used, the residuals of the three conditions at the returned point determine
`Solution.result`; a solver cannot claim success. `certify` measures them from their definitions.
Sweeps do not need it, because each sweep ends by evaluating the conditions at the point it returns.
"""

from ._anderson import Anderson as Anderson
from ._certificate import RESULTS as RESULTS
from ._certificate import Certificate as Certificate
from ._certificate import Point as Point
from ._certificate import Solution as Solution
from ._certificate import Tolerance as Tolerance
from ._certificate import certified as certified
from ._certificate import certify as certify
from ._certificate import energy_and_loss as energy_and_loss
from ._certificate import measured as measured
from ._certificate import solved as solved
from ._certificate import verdict as verdict
from ._control_path import AbstractControlPath as AbstractControlPath
from ._control_path import ControlPathProblem as ControlPathProblem
from ._control_path import LinearPath as LinearPath
from ._control_path import MirrorPath as MirrorPath
from ._driver import AbstractProblem as AbstractProblem
from ._driver import Budget as Budget
from ._driver import FixedPoint as FixedPoint
from ._driver import for_the_rest as for_the_rest
from ._driver import run as run
from ._energy import AbstractErrorCoordinates as AbstractErrorCoordinates
from ._energy import EnergyProblem as EnergyProblem
from ._energy import OrderedCoordinates as OrderedCoordinates
from ._energy import SolvedCoordinates as SolvedCoordinates
from ._free import Controlled as Controlled
from ._free import FreeProblem as FreeProblem
from ._free_equilibrium import InTurn as InTurn
from ._free_equilibrium import Solver as Solver
from ._free_equilibrium import certify_free as certify_free
from ._free_equilibrium import controlled_rest as controlled_rest
from ._free_equilibrium import free_equilibrium as free_equilibrium
from ._free_gain import FreeGain as FreeGain
from ._free_gain import free_gain as free_gain
from ._joint import JointProblem as JointProblem
from ._kinked_joint import KinkedJointProblem as KinkedJointProblem
from ._kinked_sweep import KinkedSweepProblem as KinkedSweepProblem
from ._landscape import AbstractLandscape as AbstractLandscape
from ._landscape import ErrorLandscape as ErrorLandscape
from ._landscape import FieldLandscape as FieldLandscape
from ._landscape import StateLandscape as StateLandscape
from ._linear import AdjointSystem as AdjointSystem
from ._linear import Linearised as Linearised
from ._linear import TangentSystem as TangentSystem
from ._merit import MeritLandscape as MeritLandscape
from ._merit import minimum as minimum
from ._noise import AbstractIncrements as AbstractIncrements
from ._noise import AbstractNoise as AbstractNoise
from ._noise import FilteredNoise as FilteredNoise
from ._noise import NormalIncrements as NormalIncrements
from ._noise import TwoPointIncrements as TwoPointIncrements
from ._noise import WhiteNoise as WhiteNoise
from ._noise import deviation_of as deviation_of
from ._noise import normal_draws as normal_draws
from ._noise_run import NoiseRun as NoiseRun
from ._noise_run import noise_correlation as noise_correlation
from ._problem import ControlProblem as ControlProblem
from ._problem import Sample as Sample
from ._simulation import AbstractSum as AbstractSum
from ._simulation import Dynamics as Dynamics
from ._simulation import Memory as Memory
from ._simulation import Moment as Moment
from ._simulation import Simulation as Simulation
from ._simulation import dynamics_step as dynamics_step
from ._simulation import free_moment as free_moment
from ._simulation import simulate as simulate
from ._softened import minimum_on_kinks as minimum_on_kinks
from ._spectrum import with_stability as with_stability
from ._sweep import SweepProblem as SweepProblem
from ._trees import tree_where as tree_where
from ._trust_region import TrustRegion as TrustRegion
from ._trust_region import TrustRegionProblem as TrustRegionProblem

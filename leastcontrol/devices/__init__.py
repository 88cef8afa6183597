"""Devices in the loop: training what is measured and never differentiated.

`AbstractDevice` is the protocol that a laboratory implements: settle a batch under a control and
measure it, read the weights and change them. `DeviceLearner` trains any of them by a rule, from
measurements alone. `LeastControlRule`: an output controller on the host (`Proportional`,
`LeakyIntegral`) drives the output, its control reaches the neurons through feedback weights that
follow the measured `Responses` to perturbations (`LearnedFeedback`, and `BalancedFeedback` for
control lines of unequal gains) or stay random (`RandomFeedback`), and every weight changes by the
control behind it times the activity before it. `judge` and `Watch` say what the measurements are
worth.

The other rules are what that is compared with: `TwoPhaseRule`, whose update is the measured
difference of two phases; `PhysicsAwareRule`, forwards by the device and backwards by a twin, such
as `NetworkTwin`; `NodePerturbationRule`, `WeightPerturbationRule` and
`SimultaneousPerturbationRule`, which perturb and look whether the loss falls.

`SimulatedDevice` is a network with the difficulties of hardware; `ProcessDevice` speaks the same
protocol with a program over a pipe, whose side `serve` is; `SpiceDevice` is a circuit of resistors
and transistors that ngspice simulates.
"""

from ._certificate import RESULTS as RESULTS
from ._certificate import Certificate as Certificate
from ._certificate import Watch as Watch
from ._certificate import judge as judge
from ._certificate import noise_floors as noise_floors
from ._control_rules import AbstractControlRule as AbstractControlRule
from ._control_rules import LeastControlRule as LeastControlRule
from ._control_rules import TwoPhaseRule as TwoPhaseRule
from ._device import AbstractDevice as AbstractDevice
from ._device import Connection as Connection
from ._device import Description as Description
from ._device import DeviceError as DeviceError
from ._device import Measurement as Measurement
from ._device import Memory as Memory
from ._device import Population as Population
from ._feedback import AbstractDeviceFeedback as AbstractDeviceFeedback
from ._feedback import BalancedFeedback as BalancedFeedback
from ._feedback import LearnedFeedback as LearnedFeedback
from ._feedback import RandomFeedback as RandomFeedback
from ._inspection import Alignment as Alignment
from ._inspection import Mismatch as Mismatch
from ._inspection import alignment as alignment
from ._inspection import free_states as free_states
from ._inspection import limits as limits
from ._inspection import mismatch as mismatch
from ._learning import DeviceLearner as DeviceLearner
from ._learning import DeviceTraining as DeviceTraining
from ._metrics import DeviceEvaluation as DeviceEvaluation
from ._metrics import DeviceMetrics as DeviceMetrics
from ._metrics import classified as classified
from ._metrics import settle_all as settle_all
from ._metrics import settle_twice as settle_twice
from ._output_control import AbstractOutputDrive as AbstractOutputDrive
from ._output_control import Driven as Driven
from ._output_control import LeakyIntegral as LeakyIntegral
from ._output_control import Proportional as Proportional
from ._output_control import output_error as output_error
from ._perturbation_rules import AbstractPerturbationRule as AbstractPerturbationRule
from ._perturbation_rules import NodePerturbationRule as NodePerturbationRule
from ._perturbation_rules import SimultaneousPerturbationRule as SimultaneousPerturbationRule
from ._perturbation_rules import WeightPerturbationRule as WeightPerturbationRule
from ._physics_aware import PhysicsAwareRule as PhysicsAwareRule
from ._process import ProcessDevice as ProcessDevice
from ._responses import Responses as Responses
from ._rule import AbstractDeviceRule as AbstractDeviceRule
from ._rule import AbstractRuleWithoutControl as AbstractRuleWithoutControl
from ._rule import Bench as Bench
from ._rule import DeviceBatch as DeviceBatch
from ._rule import Outcome as Outcome
from ._serving import serve as serve
from ._simulated import Difficulties as Difficulties
from ._simulated import SimulatedDevice as SimulatedDevice
from ._spice import SpiceDevice as SpiceDevice
from ._trained import TrainedDevice as TrainedDevice
from ._twins import AbstractTwin as AbstractTwin
from ._twins import NetworkTwin as NetworkTwin
from ._twins import Peculiarities as Peculiarities
from ._twins import mean_response as mean_response
from ._twins import twin_responses as twin_responses
from ._updates import local_updates as local_updates

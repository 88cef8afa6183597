"""Devices in the loop: training what is measured and never differentiated.

`AbstractDevice` is the protocol that a laboratory implements: settle a batch under a control and
measure it, read the weights and change them. `DeviceLearner` trains any of them from measurements
alone: an output controller on the host (`Proportional`, `LeakyIntegral`) drives the output, its
control reaches the neurons through feedback weights that follow the measured `Responses` to
perturbations (`LearnedFeedback`) or stay random (`RandomFeedback`), and every weight changes by the
control behind it times the activity before it. `judge` and `Watch` say what the measurements are
worth.

`SimulatedDevice` is a network with the difficulties of hardware; `ProcessDevice` speaks the same
protocol with a program over a pipe, whose side `serve` is.
"""

from ._certificate import RESULTS as RESULTS
from ._certificate import Certificate as Certificate
from ._certificate import Watch as Watch
from ._certificate import judge as judge
from ._certificate import noise_floors as noise_floors
from ._device import AbstractDevice as AbstractDevice
from ._device import Connection as Connection
from ._device import Description as Description
from ._device import DeviceError as DeviceError
from ._device import Measurement as Measurement
from ._device import Population as Population
from ._feedback import AbstractDeviceFeedback as AbstractDeviceFeedback
from ._feedback import LearnedFeedback as LearnedFeedback
from ._feedback import RandomFeedback as RandomFeedback
from ._learning import DeviceEvaluation as DeviceEvaluation
from ._learning import DeviceLearner as DeviceLearner
from ._learning import DeviceMetrics as DeviceMetrics
from ._learning import DeviceTraining as DeviceTraining
from ._learning import TrainedDevice as TrainedDevice
from ._learning import classified as classified
from ._learning import local_updates as local_updates
from ._learning import settle_all as settle_all
from ._output_control import AbstractOutputDrive as AbstractOutputDrive
from ._output_control import Driven as Driven
from ._output_control import LeakyIntegral as LeakyIntegral
from ._output_control import Proportional as Proportional
from ._output_control import output_error as output_error
from ._process import ProcessDevice as ProcessDevice
from ._responses import Responses as Responses
from ._serving import serve as serve
from ._simulated import Difficulties as Difficulties
from ._simulated import SimulatedDevice as SimulatedDevice

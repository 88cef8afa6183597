"""Deep feedback control and its strong form, as one rule with five parts.

A controller of the output drives every layer of a feedforward network, and each weight learns from
what the control changes at its neuron: nothing is sent back through the forward weights. The rule
is composed of

* a **phase**, which brings the network to its controlled state and sums the updates:
    * by simulation: `Continuous` sums updates while time runs, `SimulatedSteadyState` reads them
      off at the end;
    * at an equilibrium: `AnalyticSteadyState` linearises the network, `SteadyState` solves for the
      equilibrium;
* a **teaching**, which says what the output is controlled to: `Nudged`, `Strong`,
  `LabelDifference`;
* a **feedback path** from the controller to the neurons: `DirectFeedback`,
  `WeightProductFeedback`, `JacobianFeedback`;
* a **difference**, which an update reads of its neuron: of rates with and without the apical
  voltage (`RateDifference`) or of voltages (`VoltageDifference`);
* **feedback learning**, which may be left out: `SinglePhase`, `TwoPhase`, `QuasiStatic`.

Teachings and feedback paths lie in the room of the controllers, for diagnostics need them too.

| file | contents |
|---|---|
| `_rule` | `DeepFeedbackControl` |
| `_task` | a batch that is to be controlled, and its controlled state |
| `_phase` | the interface of a phase, and what all phases compute at their end |
| `_simulated`, `_steady` | the phases |
| `_difference` | the differences |
| `_learning`, `_quasi_static` | feedback learning from simulated noise, and its slow limit |
| `_noise` | the normal draws of noisy dynamics and noisy updates |
"""

from ._difference import AbstractDifference as AbstractDifference
from ._difference import RateDifference as RateDifference
from ._difference import VoltageDifference as VoltageDifference
from ._learning import AbstractFeedbackLearning as AbstractFeedbackLearning
from ._learning import SinglePhase as SinglePhase
from ._learning import TwoPhase as TwoPhase
from ._phase import AbstractPhase as AbstractPhase
from ._quasi_static import QuasiStatic as QuasiStatic
from ._rule import DeepFeedbackControl as DeepFeedbackControl
from ._rule import SimulatedControl as SimulatedControl
from ._simulated import Continuous as Continuous
from ._simulated import SimulatedSteadyState as SimulatedSteadyState
from ._steady import AnalyticSteadyState as AnalyticSteadyState
from ._steady import SteadyState as SteadyState
from ._task import Controlled as Controlled
from ._task import Task as Task

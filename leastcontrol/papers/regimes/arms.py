"""Arms: the rules that are compared, their optimisers and their learning rates.

Every arm has the squared error ½‖y − t‖² for one-hot targets t, for which all of these rules are
defined, and as many learning rates to choose from as every other. This module imports nothing
heavy; a rule is built when it is needed.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...rules import AbstractRule

ADAM_RATES = (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2)
SGD_RATES = (1e-3, 3.2e-3, 1e-2, 3.2e-2, 1e-1)


@dataclasses.dataclass(frozen=True)
class Arm:
    """A rule with its optimiser.

    **Arguments:**

    * `name`: for display and files.
    * `rule`: builds the rule.
    * `adam`: whether the optimiser is Adam; else it is plain gradient descent.
    * `rates`: the learning rates to choose from.
    * `removed`: the share of the loss that control is asked to remove, if it is asked for one.
    * `passes`, `passes_per_iteration`: how often a step goes through the network, forwards or
      backwards: a fixed number, and a number for each iteration of a solve.
    * `baseline`: whether it is one that the others are compared with.
    """

    name: str
    rule: "Callable[[], AbstractRule]"
    adam: bool = True
    rates: tuple[float, ...] = ADAM_RATES
    removed: float | None = None
    passes: float = 0.0
    passes_per_iteration: float = 2.0
    baseline: bool = False

    def identity(self) -> dict[str, object]:
        """Returns what a stored trial must agree with."""
        return {
            "arm": self.name,
            "adam": self.adam,
            "rates": list(self.rates),
            "removed": self.removed,
        }


def _backpropagation() -> "AbstractRule":
    from ...losses import SquaredError
    from ...rules import Backpropagation

    return Backpropagation(SquaredError())


def _least_control() -> "AbstractRule":
    from ...controllers import DynamicInversion, RelativeLeak
    from ...losses import SquaredError
    from ...rules import LeastControl

    return LeastControl(DynamicInversion(), RelativeLeak(1.0), loss=SquaredError())


def _predictive_coding() -> "AbstractRule":
    from ...controllers import Exact
    from ...rules import predictive_coding

    # Sweeps leave a third of the samples unsolved where the output is clamped.
    return predictive_coding(controller=Exact())


def _equilibrium_propagation() -> "AbstractRule":
    from ...controllers import DynamicInversion
    from ...losses import SquaredError
    from ...rules import EquilibriumPropagation

    return EquilibriumPropagation(DynamicInversion(), 0.1, loss=SquaredError())


def _strong_feedback() -> "AbstractRule":
    from ...controllers import Strong, WeightProductFeedback
    from ...losses import SquaredError
    from ...rules._feedback_control import DeepFeedbackControl, QuasiStatic, SteadyState

    return DeepFeedbackControl(
        phase=SteadyState(0.1),
        teaching=Strong(),
        loss=SquaredError(),
        path=WeightProductFeedback(),
        feedback_learning=QuasiStatic(0.1, decay=0.003, leak=1.0),
    )


def _feedback_alignment() -> "AbstractRule":
    from ...losses import SquaredError
    from ...rules import FeedbackAlignment

    return FeedbackAlignment(SquaredError())


def _strength(share: float) -> Arm:
    # The free pass, the way of the error back, and the response of the output to it.
    return Arm(f"least control, {100 * share:.0f} %", _least_control, removed=share, passes=3.0)


ARMS = (
    Arm(
        "backpropagation, Adam",
        _backpropagation,
        passes=2.0,
        passes_per_iteration=0.0,
        baseline=True,
    ),
    Arm(
        "backpropagation, SGD",
        _backpropagation,
        adam=False,
        rates=SGD_RATES,
        passes=2.0,
        passes_per_iteration=0.0,
        baseline=True,
    ),
    _strength(0.05),
    _strength(0.5),
    _strength(0.85),
    Arm("predictive coding", _predictive_coding),
    Arm("equilibrium propagation", _equilibrium_propagation),
    # The free pass, and a second solve for the feedback.
    Arm("Strong-DFC", _strong_feedback, passes=1.0, passes_per_iteration=4.0),
    Arm("feedback alignment", _feedback_alignment, passes=2.0, passes_per_iteration=0.0),
)

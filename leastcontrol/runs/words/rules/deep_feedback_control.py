"""The word `deep-feedback-control`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import NON_NEGATIVE, ConfigError, choice, option
from ..feedback_learning import FEEDBACK_LEARNING, AbstractFeedbackLearningWord
from ..feedback_learning.none import NoFeedbackLearning
from ..phases import PHASES, AbstractPhaseWord
from ..phases.steady_state import SteadyState
from ..teaching import TEACHING, AbstractTeachingWord
from ..teaching.nudged import Nudged
from ._rule import AbstractRuleWord

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class DeepFeedbackControl(AbstractRuleWord):
    """Deep feedback control: a controller drives every layer through feedback weights."""

    word: ClassVar[str] = "deep-feedback-control"

    phase: AbstractPhaseWord = choice(PHASES, SteadyState, "Way to the controlled state")
    teaching: AbstractTeachingWord = choice(TEACHING, Nudged, "What the output is controlled to")
    controller_leak: float = option(1e-3, "Leak α of the controller", range=NON_NEGATIVE)
    feedback: str = option(
        "random",
        "First feedback weights; jacobian has none, and is the ideal feedback",
        choices={
            "random": "DirectFeedback",
            "weight-product": "WeightProductFeedback",
            "jacobian": "JacobianFeedback",
        },
    )
    feedback_learning: AbstractFeedbackLearningWord = choice(
        FEEDBACK_LEARNING, NoFeedbackLearning, "How feedback weights learn"
    )
    difference: str = option(
        "rate",
        "What a weight reads of its neuron",
        choices={"rate": "RateDifference", "voltage": "VoltageDifference"},
    )
    update_noise: float = option(
        0.0, "Deviation of the noise in what weights read, as a voltage", range=NON_NEGATIVE
    )
    conventions: str = option(
        "corrected",
        "corrected, or published for the behaviour of the authors' code",
        choices=("corrected", "published"),
    )

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from .... import controllers, feedback_control

        return feedback_control.DeepFeedbackControl(
            phase=self.phase.build(self.controller_leak),
            teaching=self.teaching.build(),
            loss=config.data.loss(),
            path=self.stands_for("feedback", controllers)(),
            feedback_learning=self.feedback_learning.build(self),
            difference=self.stands_for("difference", feedback_control)(),
            update_noise=self.update_noise,
            published=self.conventions == "published",
        )

    def check(self, config: Any) -> None:
        """Checks that the parts fit together; what a part refuses by itself is left to it."""
        if config.system.word != "feedforward":
            raise ConfigError(
                f"--rule deep-feedback-control drives the layers of a feedforward network, and "
                f"--system is {config.system.word}: write --system feedforward."
            )
        if self.feedback == "jacobian" and self.feedback_learning.word != "none":
            raise ConfigError(
                f"--feedback jacobian has no weights, but --feedback-learning is "
                f"{self.feedback_learning.word}: write --feedback-learning none."
            )
        if self.feedback == "jacobian" and self.phase.word == "steady-state":
            raise ConfigError(
                "--feedback jacobian at a solved steady state is the least-control state: write "
                "--rule least-control, or --phase simulated-steady-state."
            )

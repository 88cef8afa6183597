"""Predictive coding as the case of least control that it is."""

from ..controllers import AbstractController, AbstractOutputControl, Energy
from ..losses import AbstractLoss, SquaredError
from ._least_control import LeastControl
from ._policy import AbstractUnsolved


def predictive_coding(
    leak: float | AbstractOutputControl = 0.0,
    *,
    controller: AbstractController | None = None,
    loss: AbstractLoss | None = None,
    unsolved: AbstractUnsolved | None = None,
) -> LeastControl:
    """Returns predictive coding (Whittington and Bogacz 2017) as the least-control rule it is.

    Every layer predicts the next; the states descend the squared prediction errors with the output
    held at the target, and each weight then learns from its own error times its own activity:

        E = ½ Σ_i ‖φ_i − W_i σ(φ_{i−1}) − b_i‖²,   ΔW_i = ε_i σ(φ_{i−1})ᵀ.

    On a `Feedforward` system with output neurons the prediction errors are the controls, ε_i =
    −f_i = ψ_i and y − h = u, and E is the energy ½‖ψ‖² + ½‖u‖² of energy-based control (arXiv
    2207.01332, section 3.3). So this is `LeastControl(Energy(), leak)` by the name it is known by,
    and nothing else: with a leak of 0 the output is clamped where the loss is least, with another
    it is nudged there. The rest point, unlike a descent that is stopped early, is certified.

    **Arguments:** as those of `LeastControl`; the squared error and `Energy()` by default.
    """
    return LeastControl(
        Energy() if controller is None else controller,
        leak,
        loss=SquaredError() if loss is None else loss,
        unsolved=unsolved,
    )

"""Predictive coding, which is a case of least control."""

from ..controllers import AbstractController, AbstractOutputControl, Energy
from ..losses import AnyLoss, SquaredError
from ._least_control import LeastControl
from ._policy import AbstractUnsolved


def predictive_coding(
    leak: float | AbstractOutputControl = 0.0,
    *,
    controller: AbstractController | None = None,
    loss: AnyLoss | None = None,
    unsolved: AbstractUnsolved | None = None,
) -> LeastControl:
    """Builds predictive coding (Whittington and Bogacz 2017) as a least-control rule.

    Every layer predicts the next. The states descend the squared prediction errors while the output
    is held at the target, and each weight then learns from the product of the error at its output
    and the activity at its input:

        E = ½ Σ_i ‖φ_i − W_i σ(φ_{i−1}) − b_i‖²,   ΔW_i = ε_i σ(φ_{i−1})ᵀ.

    On a `Feedforward` system with output neurons the prediction errors are the controls: ε_i =
    −f_i = ψ_i and y − h = u, and E is the energy ½‖ψ‖² + ½‖u‖² of energy-based control (arXiv
    2207.01332, section 3.3). The rule is therefore `LeastControl(Energy(), leak)`. With a leak of 0
    the output is clamped where the loss is least; with a larger one it is nudged towards that
    point. The equilibrium is certified, unlike a descent that is stopped early.

    **Arguments:** as for `LeastControl`; by default the squared error and `Energy()`.
    """
    return LeastControl(
        Energy() if controller is None else controller,
        leak,
        loss=SquaredError() if loss is None else loss,
        unsolved=unsolved,
    )

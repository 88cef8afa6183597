"""Least control for slow weights."""

from ...controllers import AbstractFixedLeak, as_fixed_leak
from ...equilibrium._trees import dot, tree_scale
from ...systems import FastWeights
from .._policy import AbstractUnsolved, Keep
from ._adaptation import AbstractAdaptation, Relaxation
from ._control import AbstractMetaControl, EulerControl
from ._rule import AbstractMetaRule, Outcome
from ._weights import Task, pulled_back


class MetaLeastControl(AbstractMetaRule):
    """Descends the control that fast weights need to do well on their query sets.

    With ψ at the controlled equilibrium of a task, Δθ = ∂_θfᵀψ: Δω = λψ and, if the pull learns,
    Δλ = −(φ − ω)ψ (arXiv 2207.01332, equations 16 to 18). There is one phase, no second derivative
    with `EulerControl`, and the memory does not grow with its steps.

    It differs from `LeastControl` with `Exact`, which also takes `FastWeights`: the paper's control
    is u itself (Q = I), and here it is not possible to form the Hessian of L_evaluate in all
    weights, nor to know its minima, which `LeastControl` needs when there is no leak.

    **Arguments:**

    * `leak`: α ≥ 0, as a number or an output controller; 0.1 in the paper.
    * `control`: finds the controlled weights; by default the paper's 100 Euler steps.
    * `adaptation`: learns a task, without control, when the rule is evaluated.
    * `unsolved`: the policy for tasks whose equilibrium was not reached. By default they count,
      because the paper's steps stop before it.

    **Raises:** `ValueError` if the leak is not a number of at least 0.
    """

    output_control: AbstractFixedLeak
    control: AbstractMetaControl
    adaptation: AbstractAdaptation
    unsolved: AbstractUnsolved

    def __init__(
        self,
        leak: float | AbstractFixedLeak = 0.1,
        *,
        control: AbstractMetaControl | None = None,
        adaptation: AbstractAdaptation | None = None,
        unsolved: AbstractUnsolved | None = None,
    ):
        self.output_control = as_fixed_leak(leak)
        self.control = EulerControl() if control is None else control
        self.adaptation = Relaxation() if adaptation is None else adaptation
        self.unsolved = Keep() if unsolved is None else unsolved

    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        leak = self.output_control.leak
        solution = self.control.equilibrium(system, leak, support, query)
        state, control, _ = solution.value
        loss = system.evaluation(state, query)
        objective = 0.5 * dot(control, control) + (loss / leak if leak > 0 else 0.0)
        gradient = pulled_back(system, state, support, tree_scale(-1.0, control))
        return Outcome(gradient, objective, loss, solution)

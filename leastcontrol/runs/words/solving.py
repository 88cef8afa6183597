"""Options that words with a solve have in common."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ..configuration import AbstractOptions
from ..options import AUTO, SHARE, FloatOrAuto, at_least, option

if TYPE_CHECKING:
    from ...equilibrium import Budget, FixedPoint, Tolerance

UNSOLVED = {"drop": "Drop", "keep": "Keep", "raise": "RaiseError"}


def unsolved_option(default: str = "drop") -> Any:
    """Declares what becomes of samples that are not solved."""
    return option(default, "Samples that are not solved", choices=UNSOLVED)


@dataclasses.dataclass(frozen=True)
class AbstractPolicy(AbstractOptions):
    """A policy for samples that are not solved."""

    unsolved: str = unsolved_option()

    def policy(self) -> Any:
        """Makes what decides on the samples that are not solved."""
        from ... import rules

        return self.stands_for("unsolved", rules)()


@dataclasses.dataclass(frozen=True)
class AbstractSolve(AbstractOptions):
    """An iteration to a rest point, with its tolerance and its budget."""

    tolerance: FloatOrAuto = option(
        1e-5,
        "Largest relative residual, or auto; relative to the control or the state; auto chooses it "
        "by the gradient's noise",
        range=SHARE,
    )
    max_steps: int | None = option(
        None, "Budget of a solve, in steps; by default the solver's own", range=at_least(1)
    )

    def allowance(self) -> "Tolerance":
        """Makes the tolerance; the default one where a training chooses it as it goes."""
        from ...equilibrium import Tolerance

        return Tolerance() if self.tolerance == AUTO else Tolerance(relative=self.tolerance)

    def budget(self) -> "Budget | None":
        """Makes the budget of a controller's default iteration; `None` for that of its own."""
        from ...equilibrium import Budget

        return None if self.max_steps is None else Budget(self.max_steps)

    def fixed_point(self) -> "FixedPoint | None":
        """Makes the iteration with its budget; `None` for the default one."""
        from ...equilibrium import FixedPoint

        return None if self.max_steps is None else FixedPoint(max_steps=self.max_steps)


@dataclasses.dataclass(frozen=True)
class AbstractSolveWithPolicy(AbstractPolicy, AbstractSolve):
    """A solve that says what becomes of samples that are not solved."""

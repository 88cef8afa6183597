"""The name `regimes` of `leastcontrol reproduce`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..experiment import AbstractExperiment, Reduction, Report
from .arms import ARMS
from .regimes import REGIMES
from .running import Plan, compared, finish

if TYPE_CHECKING:
    from ..reproduction import Judged

# As many as there are pairs of a learning rate and a tuning seed, so that programs are shared.
SEEDS = tuple(range(10))
TUNING_SEEDS = (100, 101)
FULL = Plan(REGIMES, ARMS, SEEDS, TUNING_SEEDS)


def _reduced(plan: Plan) -> Plan:
    """Takes two seeds, two learning rates and the first setting of every regime, shortened."""
    return Plan(
        tuple(
            dataclasses.replace(regime, settings=(regime.settings[0].reduced(),))
            for regime in plan.regimes
        ),
        tuple(dataclasses.replace(arm, rates=arm.rates[2:4]) for arm in plan.arms),
        plan.seeds[:2],
        plan.tuning_seeds[:1],
    )


@dataclasses.dataclass(frozen=True)
class RegimesExperiment(AbstractExperiment):
    """Trials of all arms in all regimes.

    **Arguments:** `plan`, what is run in full; the others as for every experiment.
    """

    name: str
    title: str
    source: str
    plan: Plan
    reduction: Reduction | None
    needs: tuple[str, str]
    differences: str
    full_minutes: int
    missing: str = ""
    compared_with: ClassVar[str] = "better backpropagation"
    reduced_compared_with: ClassVar[str] = "better backpropagation"

    @property
    def minutes(self) -> int:
        return self.full_minutes

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(unit.name for unit in self.plan.units())

    def described_parts(self) -> list[str]:
        lines = [f"    {regime.name:<28} {regime.protocol}" for regime in self.plan.regimes]
        for arm in self.plan.arms:
            rates = ", ".join(f"{rate:g}" for rate in arm.rates)
            optimiser = "Adam" if arm.adam else "SGD"
            lines.append(f"    arm {arm.name:<24} {optimiser}, learning rates {rates}")
        seeds, tuning = len(self.plan.seeds), len(self.plan.tuning_seeds)
        return [*lines, f"    {seeds} seeds; learning rates are chosen by {tuning} others"]

    def run(
        self,
        out: Path,
        *,
        reduction: Reduction | None,
        data_dir: Path | None,
        command: str | None,
        report: Report | None,
    ) -> "list[Judged]":
        from ... import training
        from ..reproduction import Judged
        from .training import Laboratory

        plan, folder = self._run_by(out, reduction)
        with training.RunFolder.held(folder, resume=True):
            finish(plan, folder, lambda: Laboratory(data_dir), command, report or _silent)
            regimes = compared(plan, folder)
        return [
            Judged(
                f"{regime['name']}, {setting['setting']}, {arm['arm']}",
                setting["figure"],
                _shown(arm["mean"], arm["deviation"], setting),
                _expected(setting),
                _verdict(arm, setting, reduction),
                strength=None if arm["removed"] is None else f"{100 * arm['removed']:.1f} %",
            )
            for regime in regimes
            for setting in regime["settings"]
            for arm in setting["arms"]
            if arm["verdict"] is not None
        ]

    def entries(self, out: Path, *, reduction: Reduction | None) -> dict[str, Any]:
        plan, folder = self._run_by(out, reduction)
        seeds = {"seeds": list(plan.seeds), "tuning_seeds": list(plan.tuning_seeds)}
        return {**seeds, "differences": self.differences, "regimes": compared(plan, folder)}

    def _run_by(self, out: Path, reduction: Reduction | None) -> tuple[Plan, Path]:
        if reduction is not None:
            return _reduced(self.plan), out / f"{self.name}-quick"
        return self.plan, out / self.name


def _silent(name: str, place: str, share: float) -> None:
    del name, place, share


def _shown(value: float, spread: float, setting: dict[str, Any]) -> str:
    digits = setting["digits"]
    return f"{value:.{digits}f} ± {spread:.{digits}f} {setting['unit']}".rstrip()


def _expected(setting: dict[str, Any]) -> str:
    better = next(arm for arm in setting["arms"] if arm["arm"] == setting["better_baseline"])
    return _shown(better["mean"], better["deviation"], setting)


def _verdict(arm: dict[str, Any], setting: dict[str, Any], reduction: Reduction | None) -> str:
    if reduction is not None:
        return "ran"
    mean, error = arm["difference"]
    digits = setting["digits"]
    return f"{arm['verdict']} ({mean:+.{digits}f} ± {error:.{digits}f})"


REGIMES_EXPERIMENT = RegimesExperiment(
    "regimes",
    "When is least control worth it? Paired trials under seven conditions",
    "this project",
    FULL,
    Reduction(
        "two seeds, two learning rates chosen by one seed, the first setting of each regime, 16-16 "
        "units and at most 64 steps; nothing is judged",
        {},
        3,
    ),
    ("Fashion-MNIST and MNIST", "Fashion-MNIST"),
    "images are 14 × 14, means of 2 × 2 pixels; networks have two layers of 64 tanh units unless "
    "said otherwise; the loss is the squared error for every arm; learning rates are constant; 2 "
    "tuning seeds; 1 000 test images. Smaller than planned: 960 steps of drift in the place of "
    "3 000, at most 960 steps on few data, two layers of fast learning in the place of 2 to "
    "50, 1 024 images under noise, 320 and 160 steps of the narrow network. "
    "A Newton step of predictive coding counts as two products, which is fewer than it takes.",
    45,
)

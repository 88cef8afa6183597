"""Tunes and tests every arm under every setting, once, and compares what was measured.

The file `OUT/REGIME/SETTING, ARM.json` holds the trials of an arm. It is written when they are all
finished, and an arm that has one is not trained again. The learning rate is the one with the best
mean first figure over the tuning seeds, on validation images; test images are looked at with this
learning rate alone, by other seeds.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import files
from ...runs.options import ConfigError
from .arms import Arm
from .measures import Figure
from .regimes import Regime, Setting
from .verdicts import Difference, judged

if TYPE_CHECKING:
    from .training import Laboratory


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is run.

    **Arguments:**

    * `regimes`, `arms`: the conditions, and the rules that are compared.
    * `seeds`: those of the trials that are compared.
    * `tuning_seeds`: those by which a learning rate is chosen; others than `seeds`.
    """

    regimes: tuple[Regime, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...]

    def __post_init__(self):
        if set(self.seeds) & set(self.tuning_seeds):
            raise ValueError("Seeds of trials and of tuning must be different.")

    def units(self) -> list["Unit"]:
        """Lists an arm under a setting after the other."""
        return [
            Unit(regime, setting, arm)
            for regime in self.regimes
            for setting in regime.settings
            for arm in self.arms
        ]


@dataclasses.dataclass(frozen=True)
class Unit:
    """An arm under a setting of a regime."""

    regime: Regime
    setting: Setting
    arm: Arm

    @property
    def name(self) -> str:
        """The words for display."""
        return f"{self.regime.name}, {self.setting.name}, {self.arm.name}"

    def path(self, folder: Path) -> Path:
        """Returns the place of its file."""
        return folder / self.regime.name / f"{self.setting.name}, {self.arm.name}.json"

    def identity(self, plan: Plan) -> dict[str, Any]:
        """Returns what a stored file must agree with."""
        seeds = {"seeds": list(plan.seeds), "tuning_seeds": list(plan.tuning_seeds)}
        return files.strict({**self.setting.identity(), **self.arm.identity(), **seeds})


def finish(
    plan: Plan,
    folder: Path,
    laboratory: "Callable[[], Laboratory]",
    command: str | None,
    report: Callable[[str, str, float], None],
) -> None:
    """Runs the units that are not finished.

    **Arguments:**

    * `folder`: of their files.
    * `laboratory`: makes the `Laboratory` that trains, if there is anything to train.
    * `command`: for the files.
    * `report`: called with a unit's name, a place in words and the share of the unit that is saved,
      when it is; may raise to stop there.

    **Raises:** `ConfigError` for a file that is damaged or of other options; `data.DataError`.
    """
    trained = None
    for unit in plan.units():
        path = unit.path(folder)
        if path.is_file():
            _read(unit, plan, path)
            continue
        trained = laboratory() if trained is None else trained
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, files.with_checksum(_trials(unit, plan, trained, command)))
        report(unit.name, "the last trial", 1.0)


def _trials(
    unit: Unit,
    plan: Plan,
    laboratory: "Laboratory",
    command: str | None,
) -> dict[str, Any]:
    """Chooses the learning rate of an arm, and measures its trials with it."""
    arm, figures = unit.arm, unit.setting.measure.figures
    pairs = [(seed, rate) for rate in arm.rates for seed in plan.tuning_seeds]
    tried = laboratory.trials(
        unit.setting,
        arm,
        [seed for seed, _ in pairs],
        [rate for _, rate in pairs],
        tuning=True,
    )
    (first, *_) = unit.setting.measure.values(tried.asked)
    count = len(plan.tuning_seeds)
    scores = [
        statistics.fmean(map(float, first[place : place + count]))
        for place in range(0, len(pairs), count)
    ]
    rate = chosen(arm.rates, scores, figures[0])
    trials = laboratory.trials(
        unit.setting,
        arm,
        plan.seeds,
        [rate] * len(plan.seeds),
        tuning=False,
    )
    values = unit.setting.measure.values(trials.asked)
    return {
        **unit.identity(plan),
        "regime": unit.regime.name,
        "command": command,
        "tuning_scores": scores,
        "rate": rate,
        "rate_at_edge": rate in (arm.rates[0], arm.rates[-1]),
        "values": {
            figure.name: list(map(float, each))
            for figure, each in zip(figures, values, strict=True)
        },
        "solved": list(map(float, trials.solved)),
        "removed_shares": [
            float(share) if math.isfinite(share) else None for share in trials.removed
        ],
        "passes_per_step": list(map(float, trials.asked.passes)),
    }


def chosen(rates: Sequence[float], scores: Sequence[float], figure: Figure) -> float:
    """Chooses the learning rate with the best score; the smaller one of equals."""
    best = max(range(len(rates)), key=lambda place: (figure.sign * scores[place], -rates[place]))
    return rates[best]


def _read(unit: Unit, plan: Plan, path: Path) -> dict[str, Any]:
    try:
        stored = files.read_record(path, required=True)
        for name in ("rate", "rate_at_edge", "values", "solved", "removed_shares", "tuning_scores"):
            stored[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not the file of finished trials: it is damaged; remove it, and they are "
            "made again."
        ) from error
    for name, value in unit.identity(plan).items():
        if stored.get(name) != value:
            raise ConfigError(
                f"{path} is of trials with {name} = {stored.get(name)}, and it is {value} now: "
                "name another folder with --out DIR."
            )
    return stored


def compared(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Compares the arms of every regime with the two baselines.

    Returns an entry for each regime, with one for each of its settings and figures, and in it one
    for each arm: its values, its differences to each baseline and to the better one by validation,
    and a verdict on the last.
    """
    return [_compared(plan, regime, folder) for regime in plan.regimes]


def _compared(plan: Plan, regime: Regime, folder: Path) -> dict[str, Any]:
    settings = []
    family: list[tuple[Difference, float]] = []
    judged_arms: list[dict[str, Any]] = []
    for setting in regime.settings:
        stored = {
            arm.name: _read(unit, plan, unit.path(folder))
            for arm in plan.arms
            for unit in [Unit(regime, setting, arm)]
        }
        baselines = [arm.name for arm in plan.arms if arm.baseline]
        main, *_ = setting.measure.figures
        better = max(baselines, key=lambda name: main.sign * _best_score(stored[name], main))
        for figure in setting.measure.figures:
            entry = {
                "setting": setting.name,
                "figure": figure.name,
                "unit": figure.unit,
                "scale": figure.scale,
                "digits": figure.digits,
                "better_baseline": better,
                "arms": [],
            }
            settings.append(entry)
            for arm in plan.arms:
                trials = stored[arm.name]
                values = [figure.scale * value for value in trials["values"][figure.name]]
                differences = {
                    name: Difference.paired(
                        values,
                        [figure.scale * value for value in stored[name]["values"][figure.name]],
                        figure.sign,
                    )
                    for name in baselines
                }
                result = {
                    "arm": arm.name,
                    "mean": statistics.fmean(values),
                    "deviation": statistics.stdev(values),
                    "values": values,
                    "differences": {
                        name: [each.mean, each.error] for name, each in differences.items()
                    },
                    "difference": [differences[better].mean, differences[better].error],
                    "solved": _mean(trials["solved"]),
                    "removed": _mean(trials["removed_shares"]),
                    "rate": trials["rate"],
                    "rate_at_edge": trials["rate_at_edge"],
                    "verdict": None,
                }
                entry["arms"].append(result)
                if not arm.baseline:
                    family.append((differences[better], figure.matters))
                    judged_arms.append(result)
    for result, verdict in zip(judged_arms, judged(family), strict=True):
        result["verdict"] = verdict
    return {
        "name": regime.name,
        "title": regime.title,
        "protocol": regime.protocol,
        "settings": settings,
        "verdicts": dict(_sentences(judged_arms)),
    }


def _sentences(results: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, int]]]:
    """Counts the verdicts on each arm of a regime."""
    for arm in dict.fromkeys(result["arm"] for result in results):
        verdicts = [result["verdict"] for result in results if result["arm"] == arm]
        yield arm, {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}


def _best_score(trials: dict[str, Any], figure: Figure) -> float:
    return max(trials["tuning_scores"], key=lambda score: figure.sign * score)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return statistics.fmean(known) if known else None

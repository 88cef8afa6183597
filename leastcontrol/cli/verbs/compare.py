"""`leastcontrol compare`."""

import dataclasses
import itertools
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ...runs.config import RunConfig
from ...runs.configuration import AbstractPart
from ...runs.interruption import interruptible
from ...runs.measures import measure_of
from ...runs.options import Choice, ConfigError, declared, flag, option
from .._display import Table, Work
from .._given import chosen, read_given, values_given, words_given
from ._configured import AbstractConfiguredVerb, show_help
from ._verb import check_out

if TYPE_CHECKING:
    from ...runs.comparison import Arm
    from ...training import EpochMetrics

# Rule, system and configuration of what is compared.
ArmWords = tuple[str, str, RunConfig]


@dataclasses.dataclass(frozen=True)
class CompareCommand(AbstractPart):
    """The options of `compare`."""

    rules: tuple[str, ...] = option(
        ("backpropagation", "least-control"),
        'Rules, each with its options if in quotes ("least-control --controller energy"); the '
        "others are compared with the first",
    )
    systems: tuple[str, ...] = option((), "Systems, likewise; the one of --system by default")
    target: float | None = option(
        None, "Validation accuracy, or squared error, to which epochs are counted"
    )
    out: Path | None = option(None, "New folder of the comparison; required")
    resume: bool = option(False, "Go on with the comparison in the folder, if there is one")


class Compare(AbstractConfiguredVerb[RunConfig]):
    """Train several rules on the same batches from the same weights, and compare them."""

    verb: ClassVar[str] = "compare"
    kind = RunConfig
    command_kind = CompareCommand

    def __init__(self, config: RunConfig, command: CompareCommand, arms: list[ArmWords]):
        super().__init__(config, command)
        self.arms = arms

    @classmethod
    def parse(cls, arguments: list[str]) -> Self:
        """Makes the verb from its arguments: an option goes to every arm that has it."""
        show_help(cls, arguments)
        given = values_given(arguments)
        if "rule" in given:
            raise ConfigError(
                f"--rule is {given['rule']}, but compare takes several: write --rules "
                f"{given['rule']}."
            )
        systems = words_given(arguments, "systems")
        if systems and "system" in given:
            raise ConfigError(
                f"--system is {given['system']}, and --systems is given too: write it there."
            )
        base = chosen(RunConfig.of(), arguments)
        rules = words_given(arguments, "rules")
        if rules is None:
            rules = list(CompareCommand().rules)
        if not rules:
            raise ConfigError("compare has no rules: write --rules backpropagation least-control.")
        words = [
            (rule, system, {**_with_options("system", system), **_with_options("rule", rule)})
            for system in systems or (base.system.word,)
            for rule in rules
        ]
        configs = [base.with_options(**options) for *_, options in words]
        shared, command = read_given(configs, cls.program(), arguments, cls.command_kind())
        arms = []
        for (rule, system, options), config in zip(words, configs, strict=True):
            having = {name: value for name, value in shared.items() if config.has(name)}
            arms.append((rule, system, config.with_options(**{**having, **options})))
        verb = cls(arms[0][2], command, arms)
        verb.check()
        return verb

    def check(self) -> None:
        """Checks the options of the command, and every arm."""
        check_out(self.verb, self.command.out, "folder")
        target, regression = self.command.target, self.config.data.regression
        if target is not None and regression and not 0 < target < math.inf:
            raise ConfigError(
                f"--target is {target}, but it is a mean squared error, above 0 and finite: write "
                "--target 0.1."
            )
        if target is not None and not regression and not 0 < target <= 1:
            raise ConfigError(
                f"--target is {target}, but it is a share above 0 and at most 1: write --target "
                "0.95."
            )
        for *_, config in self.arms:
            config.check()

    def run(self, command: str) -> int:
        """Trains the arms and prints the comparison."""
        from ...runs.comparison import Arm, compare

        measure = measure_of(self.config)
        arms = [Arm(*words) for words in self.arms]
        # The epochs that an arm begins with, and all of them.
        before = [0, *itertools.accumulate(map(_epochs, arms))]
        with Work(before[-1], "epochs") as work, interruptible() as saved:

            def report(arm: "Arm", seed: int, metrics: "EpochMetrics") -> None:
                epochs = arm.config.optimiser.epochs
                place = arm.config.all_seeds().index(seed)
                value = measure.shown(getattr(metrics.validation, measure.name))
                work.at(
                    f"{arm.system}, {arm.rule}, seed {seed}: validation {value} after "
                    f"{metrics.epoch} epochs",
                    before[arms.index(arm)] + place * epochs + metrics.epoch,
                    short=f"{arm.rule}: {value}",
                    last=metrics.epoch == epochs,
                )
                saved(f"epoch {metrics.epoch} of {arm.rule}, seed {seed}")

            comparison = compare(
                arms,
                check_out(self.verb, self.command.out, "folder"),
                target=self.command.target,
                command=command,
                resume=self.command.resume,
                report=report,
            )
        _print_comparison(comparison)
        return 0


def _with_options(name: str, words: str) -> dict[str, Any]:
    """Returns the options in an arm's words: a word of a choice, and what follows it."""
    choice = next(each for each in declared(RunConfig) if each.name == name)
    assert isinstance(choice, Choice)
    try:
        value, *options = shlex.split(words)
    except ValueError as error:
        raise ConfigError(
            f"{flag(name + 's')} has {words!r}, which is no word with its options: write "
            f"{flag(name + 's')} {choice.default.word}."
        ) from error
    choice.find(value, f"The {name}")
    arguments = [flag(name), value, *options]
    base = chosen(RunConfig.of(), arguments)
    given, _ = read_given([base], f"leastcontrol compare: {words}", arguments)
    return given


# Heading, figure, scale and form of a comparison's columns, if it has the figure; the most
# important ones first.
_COLUMNS = (
    ("test, %", "test_accuracy", 100.0, ".2f"),
    ("test squared error", "test_mean_squared_error", 1.0, ".4g"),
    ("epochs to target", "epochs_to_target", 1.0, ".1f"),
    ("solved, %", "converged_fraction", 100.0, ".2f"),
    ("ms a step", "step_ms_median", 1.0, ".2f"),
    ("NLL, nats", "test_nll", 1.0, ".3f"),
    ("‖(ψ, u)‖", "control_norm", 1.0, ".3f"),
    ("MiB", "step_bytes", 2.0**-20, ".2f"),
    ("s to target", "seconds_to_target", 1.0, ".1f"),
)


def _epochs(arm: "Arm") -> int:
    return len(arm.config.all_seeds()) * arm.config.optimiser.epochs


def _print_comparison(comparison: dict[str, Any]) -> None:
    arms, differences = comparison["arms"], comparison["differences"]
    columns = [column for column in _COLUMNS if _is_measured(arms, column[1])]
    systems = list(dict.fromkeys(row["system"] for row in arms))
    # One system for all rows stands above them.
    names = ("rule",) if len(systems) == 1 else ("rule", "system")
    above = f"{systems[0]}: " if len(systems) == 1 else ""
    first, *others = (column[0] for column in columns)
    means = Table(
        *(*names, "strength", first, "loss removed, mean / end, %", *others),
        title=f"{above}mean ± standard error over the seeds",
        numbers=True,
        names=len(names) + 1,
        kept=len(names) + 3,
    )
    for row in arms:
        first, *others = (
            _figure(row["mean"][n], row["standard_error"][n], s, d) for _, n, s, d in columns
        )
        named = [*(row[name] for name in names), row["strength"] or "–"]
        means.add_row(*named, first, _removed(row["mean"]), *others)
    means.show()
    if not differences:
        return
    paired = Table(
        *(*names, *(column[0] for column in columns)),
        title=f"{above}less the first rule, seed by seed: mean ± standard error",
        numbers=True,
        names=len(names),
        kept=len(names) + 1,
    )
    for row in differences:
        cells = [_figure(row[n]["mean"], row[n]["standard_error"], s, d) for _, n, s, d in columns]
        paired.add_row(*(row[name] for name in names), *cells)
    paired.show()


def _removed(mean: dict[str, float | None]) -> str:
    """Shows the share of the loss that control removed, over a training and at its end."""
    shares = (mean["removed_mean"], mean["removed_end"])
    if shares == (None, None):
        return "–"
    return " / ".join(_figure(share, None, 100.0, ".1f") for share in shares)


def _is_measured(rows: Sequence[dict[str, Any]], name: str) -> bool:
    """Returns whether some row has a figure: of targets, say, only where one was asked for."""
    return any(row["mean"].get(name) is not None for row in rows)


def _figure(mean: float | None, error: float | None, scale: float, form: str) -> str:
    if mean is None:
        return "–"
    spread = "" if error is None else f" ± {scale * error:{form}}"
    return f"{scale * mean:{form}}{spread}"

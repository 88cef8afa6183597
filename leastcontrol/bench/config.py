"""The options of a benchmark; like `runs.config`, this module imports nothing heavy."""

import dataclasses
import math
from pathlib import Path

from ..runs.options import ConfigError, check_choice, flag
from ..runs.words.controllers import CONTROLLERS
from ..runs.words.data import DATA
from ..runs.words.data._data import SEED
from ..runs.words.rules import RULES as RULE_WORDS

# The name of a controller stands for least control with that controller.
BASELINES = {"feedforward": "backpropagation", "rnn": "recurrent-backpropagation"}
RULES = (
    *BASELINES.values(),
    *(kind.word for kind in CONTROLLERS),
    *(kind.word for kind in RULE_WORDS if kind.word not in ("least-control", *BASELINES.values())),
)
# Rules whose strength the cases do not set: they have neither a control strength nor a nudge.
WITHOUT_STRENGTH = tuple(kind.word for kind in RULE_WORDS if not kind.strong)
CASES = ("feedforward", "feedforward-strong", "rnn", "rnn-strong")
SIZES = {
    "width": (64, 128, 256, 512, 1024, 2048),
    "depth": (2, 5, 10, 20, 50, 100),
    "batch": (1, 4, 16, 64, 256, 1024),
}
# Rules whose growth is measured by default.
GROWN_RULES = tuple(rule for rule in RULES if rule in ("automatic", "dynamic-inversion"))


def rules_of(case: str) -> tuple[str, ...]:
    """Lists the rules that a case can have, with its baseline first."""
    system, _, strong = case.partition("-")
    baseline = BASELINES[system]
    others = [rule for rule in RULES if rule not in BASELINES.values()]
    if strong:
        others = [rule for rule in others if rule not in WITHOUT_STRENGTH]
    other = "deep-feedback-control" if system == "rnn" else "backpropagation-through-time"
    others = [rule for rule in others if rule != other]
    return (baseline, *others)


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """The cases, rules and sizes of a benchmark, and the limits of its time."""

    data: str = "digits"
    """Data set that batches are taken from: digits, mnist or fashion-mnist."""
    data_dir: Path | None = None
    """Folder with the data set's files."""
    cases: tuple[str, ...] = CASES
    """feedforward and rnn at the paper's strength (α = 0.1 for the mean of a batch of 64);
    feedforward-strong and rnn-strong where control brings the target's mean probability to 0.97."""
    rules: tuple[str, ...] = ()
    """Rules beside the baseline, which is always measured: least control by the name of its
    controller, the others by their own. By default all, and in growth dynamic-inversion and, where
    there is one, automatic."""
    peers: bool = False
    """Measure the baselines also as written without this library: in plain JAX, and the rnn with
    Optimistix too."""
    weights: tuple[Path, ...] = ()
    """Folders of finished runs, measured besides weights at initialisation, on their own data."""
    hidden: int = 256
    """Size of every hidden layer: two of a feedforward network, one of an rnn."""
    batch_size: int = 64
    """Samples in a step."""
    batches: int = 4
    """Steps in one timed call."""
    repeats: int = 11
    """Timed calls of each rule, each beside one of the baseline."""
    seconds: float = 60.0
    """After this time a case takes no further repeats beyond three, and a curve of growth no
    further sizes."""
    grow: tuple[str, ...] = ()
    """Measure growth instead: width (64 to 2048 neurons), depth (2 to 100 residual layers of 128),
    batch (1 to 1024 samples), at the paper's strength."""
    seed: int = 0
    """Seed of the weights."""

    def check(self) -> None:
        """Raises `ConfigError` for the first value that cannot be run."""
        labelled = tuple(kind.word for kind in DATA if not kind.regression)
        check_choice("--data", self.data, labelled)
        for name, known in (("cases", CASES), ("rules", RULES), ("grow", tuple(SIZES))):
            words = getattr(self, name)
            for word in words:
                check_choice(flag(name), word, known)
            if len(set(words)) < len(words):
                raise ConfigError(
                    f"{flag(name)} is {' '.join(words)}, but each is measured once: leave out "
                    "the repetitions."
                )
        if not self.cases:
            raise ConfigError(
                f"--cases names nothing: write one of {', '.join(CASES)}, or leave it out for all."
            )
        for name, least, example in (
            ("hidden", 1, 256),
            ("batch_size", 1, 64),
            ("batches", 1, 4),
            ("repeats", 3, 11),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{flag(name)} is {getattr(self, name)}, but it must be at least {least}: "
                    f"write {flag(name)} {example}."
                )
        if not 0 < self.seconds < math.inf:
            raise ConfigError(
                f"--seconds is {self.seconds}, but it must be above 0 and finite: write "
                "--seconds 60."
            )
        if self.seed not in SEED:
            raise ConfigError(
                f"--seed is {self.seed}, but it must be at least 0 and below 2³²: write --seed 0."
            )
        for rule in self.rules:
            if not any(rule in rules_of(case) for case in self.cases):
                raise ConfigError(
                    f"--rules names {rule}, which none of the cases {' '.join(self.cases)} can "
                    "have: leave it out, or add --cases feedforward."
                )
        if self.peers and (self.grow or not set(self.cases) & set(BASELINES)):
            raise ConfigError(
                "--peers is given, but peers stand beside the baselines of the cases feedforward "
                "and rnn, which do not grow: leave out --peers or --grow, or write --cases "
                "feedforward rnn."
            )
        if self.grow and self.weights:
            raise ConfigError(
                "--grow measures weights at initialisation, and --weights gives others: leave one "
                "of them out."
            )
        if self.grow == ("depth",) and "feedforward" not in self.systems():
            raise ConfigError(
                "--grow depth grows feedforward networks, and --cases has none: write --cases "
                "feedforward."
            )
        if self.data == "digits" and self.data_dir is not None:
            raise ConfigError(
                "--data-dir is given, but the digits come with scikit-learn: leave it out, or "
                "write --data mnist."
            )

    def rows(self) -> int | None:
        """Counts the rows that are measured; `None` where only measuring shows how many."""
        if self.grow or self.weights or self.peers:
            return None
        chosen = self.rules or RULES
        return sum(
            1 + len([rule for rule in rules_of(case)[1:] if rule in chosen]) for case in self.cases
        )

    def systems(self) -> tuple[str, ...]:
        """Lists the systems of the cases."""
        return tuple(
            system for system in BASELINES if any(case.startswith(system) for case in self.cases)
        )

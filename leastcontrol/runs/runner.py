"""The way of every run: claiming a folder, going on, one seed after another, the summary.

What a verb does with one seed is a `Job`; everything around it is here, once. `run` claims the
folder: a new one gets the configuration, and one that is gone on with must hold the same. One seed
is run in the folder itself, several in `seed-N` inside it. A seed whose summary is there is
finished and is only checked. The summary of several seeds has the mean and the deviation of their
figures.

A training that is gone on with starts from its last state. `Recorder` keeps a seed's folder in step
with its training: the state first, since everything else can be made again from it.
"""

import abc
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from jaxtyping import PyTree

from .. import training
from .config import AbstractSeededConfig
from .folders import read_json, seed_folders
from .options import ConfigError, shown
from .origin import origin
from .spread import deviation, mean

Config = TypeVar("Config", bound=AbstractSeededConfig)
Summary = dict[str, Any]
# From a seed and the figures that were just saved.
Report = Callable[[int, Any], None]


@dataclasses.dataclass(frozen=True)
class SeedRun(Generic[Config]):
    """One seed of a run.

    * `config`: of this seed alone.
    * `folder`: where its files are written.
    * `keep_last`: number of states that are kept.
    * `report`: called when a part is saved; it may raise to stop the run there.
    * `look`: called at looks between these parts.
    """

    config: Config
    seed: int
    folder: training.RunFolder
    keep_last: int
    report: Report | None
    look: Report | None

    def looked(self, figures: Any) -> None:
        """Reports a look at what is not saved yet."""
        if self.look is not None:
            self.look(self.seed, figures)

    def saved(self, figures: Any) -> None:
        """Reports a part that was just saved."""
        if self.report is not None:
            self.report(self.seed, figures)


class AbstractJob(abc.ABC, Generic[Config]):
    """What a verb does with each of its seeds."""

    config: Config

    @abc.abstractmethod
    def run_seed(self, run: SeedRun[Config]) -> Summary:
        """Runs one seed, or what is left of it, and returns its summary without its origin."""

    @abc.abstractmethod
    def figures(self, summary: Summary) -> dict[str, float]:
        """Returns the figures of one seed's summary that several seeds' have mean and deviation of.

        **Raises:** `KeyError` or `TypeError` where the summary lacks one.
        """

    @abc.abstractmethod
    def combined(self, summaries: Sequence[Summary]) -> Summary:
        """Returns what the summary of several seeds says besides their figures."""

    @abc.abstractmethod
    def row(self, summary: Summary) -> Summary:
        """Returns what the summary of several seeds keeps of one of them."""

    @abc.abstractmethod
    def place(self, figures: Any) -> str:
        """Returns how far a seed is by the figures of a part: "epoch 3"."""

    @abc.abstractmethod
    def share(self, figures: Any) -> float:
        """Returns which share of a seed is done by the figures of a part."""

    def conditions(self) -> Summary:
        """Returns what a result depends on besides its command and the versions."""
        return {}


def run(
    job: AbstractJob[Any],
    out: Path,
    *,
    command: str | None = None,
    resume: bool = False,
    keep_last: int = 2,
    report: Report | None = None,
    look: Report | None = None,
) -> Summary:
    """Runs every seed of a job and returns the summary that it wrote.

    With `resume` a run that `out` already holds goes on from its last state, and ends as it would
    have without the interruption; one that is finished returns its summary. `report` is called when
    a part is saved, and may raise to stop the run there; `look` at looks between these parts.

    Where several processes run one job, only the first one reads and writes `out`, and reports.

    **Raises:** `ConfigError`, `training.FolderError`, and what the job raises.
    """
    config = job.config
    about = {**origin(command), **job.conditions()}
    with contextlib.ExitStack() as held:
        training.by_first(
            lambda: claim(config, held.enter_context(training.RunFolder.held(out, resume=resume)))
        )
        summaries = []
        for seed, path in seed_folders(config, out).items():
            single = config.single(seed)
            # A single seed's folder is the run's, which is claimed.
            if path != out:
                training.by_first(lambda c=single, p=path: claim(c, training.RunFolder.reopen(p)))
            folder = training.RunFolder(path)
            summary = training.by_first(lambda f=folder: finished(job, f))
            if summary is None:
                seed_run = SeedRun(single, seed, folder, keep_last, report, look)
                # The configuration as it was given: of one seed, or of a seed by default.
                written = config if path == out else single
                summary = {**job.run_seed(seed_run), "config": written.as_json(), **about}
                training.by_first(lambda f=folder, s=summary: f.write_record("summary.json", s))
            summaries.append(summary)
        if len(summaries) == 1:
            return summaries[0]
        summary = {**over_seeds(job, summaries), "config": config.as_json(), **about}
        whole = training.RunFolder(out)
        training.by_first(lambda: whole.write_record("summary.json", summary))
        return summary


def claim(config: AbstractSeededConfig, folder: training.RunFolder) -> None:
    """Writes a configuration into a new folder, or checks it against the one that is there.

    **Raises:** `ConfigError` or `training.FolderError` if the folder holds anything else.
    """

    def check(values: Any, path: Path) -> None:
        theirs, ours = type(config).from_json(values, str(path)).identity(), config.identity()
        for name in {**ours, **theirs}:
            if theirs.get(name) != ours.get(name):
                raise ConfigError(
                    f"{folder.path} holds a run with {name} = {shown(theirs.get(name))}, and now "
                    f"it is {shown(ours.get(name))}: repeat the options of that run, or name "
                    "another folder with --out DIR."
                )

    claim_as(folder, config.as_json(), check)


def claim_as(
    folder: training.RunFolder, values: dict[str, Any], check: Callable[[Any, Path], None]
) -> None:
    """Writes what a folder is for into a new one, or checks it against what is there.

    **Arguments:** `check`, which raises for values of the folder's that are not these; it is given
    them and the path of their file.
    """
    if folder.is_empty():
        folder.tidy()
        folder.write_record("config.json", values)
        return
    path = folder.path / "config.json"
    check(read_json(path), path)
    folder.tidy()


def finished(job: AbstractJob[Any], folder: training.RunFolder) -> Summary | None:
    """Returns the summary of a seed that is finished; `None` for one that is not.

    **Raises:** `training.FolderError` where it lacks a figure.
    """
    path = folder.path / "summary.json"
    if not path.is_file():
        return None
    summary = read_json(path)
    try:
        job.figures(summary)
        job.row(summary)
    except (KeyError, TypeError, AttributeError) as error:
        raise training.FolderError(
            f"{path} is no summary of a finished run, or is damaged: remove it, and it is made "
            "again from the last checkpoint."
        ) from error
    return summary


def over_seeds(job: AbstractJob[Any], summaries: Sequence[Summary]) -> Summary:
    """Returns the figures of several seeds, with their mean and deviation."""
    each = [job.figures(summary) for summary in summaries]
    figures = {name: [figures[name] for figures in each] for name in each[0]}
    return {
        "seed": list(job.config.all_seeds()),
        "mean": {name: mean(values) for name, values in figures.items()},
        "std": {name: deviation(values) for name, values in figures.items()},
        "per_seed": [job.row(summary) for summary in summaries],
        **job.combined(summaries),
    }


class Recorder:
    """Keeps a seed's folder in step with its training.

    * `start`: the state that the training goes on from.

    **Arguments:**

    * `run`: the seed.
    * `fresh`: the state before training.
    * `weights`: from a state to the weights that are kept.
    * `is_best`: whether a state's weights are kept as the best as well.
    * `noted`: called with the figures of each part when they are written.
    """

    def __init__(
        self,
        run: SeedRun[Any],
        fresh: Any,
        weights: Callable[[Any], PyTree[Any]],
        *,
        is_best: Callable[[Any], bool] = lambda _: False,
        noted: Callable[[Any], None] = lambda _: None,
    ):
        self._run, self._weights, self._is_best, self._noted = run, weights, is_best, noted
        self._identity = run.config.identity()
        self._states = training.Checkpoints(
            run.folder, self._identity, run.keep_last, run.config.identity_of
        )
        restored = training.restored_by_first(lambda: self._states.restore(fresh), fresh)
        self.start: Any
        self.start, seconds = restored or (fresh, 0.0)
        self._began = time.perf_counter() - seconds
        training.by_first(self._write_again)

    def seconds(self) -> float:
        """Returns the seconds that the training has taken, those before an interruption too."""
        return time.perf_counter() - self._began

    def save(self, figures: Any, state: Any) -> None:
        """Writes a state and all that follows from it, and reports its figures."""
        training.by_first(lambda: self._save(figures, state))

    def _save(self, figures: Any, state: Any) -> None:
        # The state first: all that follows is made again from it if the process ends here.
        self._states.save(state, self.seconds())
        self._run.folder.append_metrics(dataclasses.asdict(figures))
        self._save_weights(state)
        self._noted(figures)
        self._run.saved(figures)

    def _write_again(self) -> None:
        # Of a run whose states are gone nothing may be left of their parts.
        rows = [dataclasses.asdict(figures) for figures in self.start.metrics]
        self._run.folder.write_metrics(rows)
        if rows:
            self._save_weights(self.start)

    def _save_weights(self, state: Any) -> None:
        self._run.folder.save_weights("last", self._weights(state), self._identity)
        if self._is_best(state):
            self._run.folder.save_weights("best", self._weights(state), self._identity)

    @contextlib.contextmanager
    def keeping(self, *errors: type[Exception]) -> Iterator[None]:
        """Keeps the weights that an error of a training carries, before it is raised."""
        try:
            yield
        except errors as error:
            # In the first part nothing has been saved yet.
            weights = self._weights(error.trained)  # pyright: ignore[reportAttributeAccessIssue]
            training.by_first(
                lambda: self._run.folder.save_weights("last", weights, self._identity)
            )
            raise

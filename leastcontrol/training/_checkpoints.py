"""The states of a training, from which it goes on after an interruption."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import PyTree

from ..files import FileError
from ._folder import RunFolder
from ._sealed import FolderError, PrecisionError, read_sealed, sealed

KIND = "training state"
_NAME = re.compile(r"state-(\d+)\.eqx")


@runtime_checkable
class Resumable(Protocol):
    """What training leaves and can go on from: `Trained` or `MetaTrained`."""

    @property
    def metrics(self) -> tuple[Any, ...]:
        """The figures so far, as dataclasses."""
        ...

    def kept(self) -> PyTree[Any]:
        """Collects the arrays that are kept."""
        ...

    def restored(self, kept: PyTree[Any], rows: list[dict[str, Any]]) -> Any:
        """Makes the same from arrays that were kept and from figures as JSON has them."""
        ...


Left = TypeVar("Left", bound=Resumable)


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """The newest training states of a run, `checkpoints/state-EPOCH.eqx`.

    A state is a sealed file: the weights, the feedback weights and the states of their optimisers
    are its arrays, and the figures of the epochs stand in its header. Nothing else needs keeping,
    because the order of the samples, or the tasks, and the noise of an epoch follow from the seed
    and the epoch's number.

    **Arguments:**

    * `folder`: the folder of the run.
    * `run`: what distinguishes the run from others, in JSON's types; the state of another run is
      refused.
    * `keep_last`: how many of the newest states are kept.
    * `run_of`: from what a state says of its run to the words of `run`.

    **Raises:** `ValueError` where none would be kept.
    """

    folder: RunFolder
    run: dict[str, Any]
    keep_last: int = 2
    run_of: Callable[[Any], Any] = lambda written: written

    def __post_init__(self):
        if self.keep_last < 1:
            raise ValueError(
                f"`keep_last` is {self.keep_last}, but at least 1 checkpoint is kept: write "
                "keep_last=2."
            )

    def states(self) -> list[Path]:
        """Lists the files of the states, the oldest first."""
        folder = self.folder.path / "checkpoints"
        named = [(_NAME.fullmatch(path.name), path) for path in folder.glob("state-*.eqx")]
        return [path for _, path in sorted((int(m[1]), path) for m, path in named if m)]

    def save(self, trained: Resumable, seconds: float) -> None:
        """Writes what is trained and the seconds that it took, and removes the oldest states.

        **Raises:** `FolderError` if it cannot be written; the older states are then still there.
        """
        header = {
            "run": self.run,
            "seconds": seconds,
            "metrics": [dataclasses.asdict(figures) for figures in trained.metrics],
        }
        name = f"checkpoints/state-{len(trained.metrics):06d}.eqx"
        self.folder.write(name, sealed(KIND, header, trained.kept()))
        for old in self.states()[: -self.keep_last]:
            self.folder.remove(f"checkpoints/{old.name}")

    def restore(self, like: Left) -> tuple[Left, float] | None:
        """Reads the newest state and the seconds that it took; gives `None` where there is none.

        **Arguments:**

        * `like`: what the training started from.

        **Raises:** `FolderError` if the newest state is damaged or of another run. No file is
        touched.
        """
        states = self.states()
        if not states:
            return None
        try:
            state = read_sealed(states[-1], KIND)
            if self.run_of(state.header.get("run")) != self.run:
                raise FolderError(f"{states[-1]} is the training state of another run.")
            trained = like.restored(state.arrays(like.kept()), state.header["metrics"])
            seconds = float(state.header["seconds"])
        except PrecisionError:
            # The file is whole, and nothing is to be removed.
            raise
        except (FileError, KeyError, TypeError, ValueError) as error:
            reason = (
                str(error)
                if isinstance(error, FileError)
                else f"{states[-1]} has no figures of what was trained."
            )
            before = f"from {states[-2].name}" if len(states) > 1 else "from its start"
            raise FolderError(
                f"{reason.rstrip('.')}; remove that file, and training goes on {before}."
            ) from error
        return trained, seconds

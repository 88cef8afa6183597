"""The states that an interrupted training goes on from."""

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
    """What training leaves, and goes on from: `Trained`, `MetaTrained`."""

    @property
    def metrics(self) -> tuple[Any, ...]:
        """The figures so far, dataclasses."""
        ...

    def kept(self) -> PyTree[Any]:
        """Returns the arrays that are kept."""
        ...

    def restored(self, kept: PyTree[Any], rows: list[dict[str, Any]]) -> Any:
        """Returns the same with other arrays, and figures that are given as JSON's."""
        ...


Left = TypeVar("Left", bound=Resumable)


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """The newest training states of a run, `checkpoints/state-EPOCH.eqx`.

    A state is a sealed file: weights, feedback weights and the states of their optimisers as
    arrays, the epochs' figures in its header. The order of the samples, or the tasks, and the noise
    of an epoch follow from the seed and the epoch's number, so that nothing else needs keeping.

    **Arguments:**

    * `folder`: the run's.
    * `run`: what tells the run from others, of JSON's types; a state of another is refused.
    * `keep_last`: how many states are kept, the newest ones.
    * `run_of`: what a state says of its run, in the words of `run`.

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
        """Returns the files of the states, the oldest first."""
        folder = self.folder.path / "checkpoints"
        found = [(_NAME.fullmatch(path.name), path) for path in folder.glob("state-*.eqx")]
        return [path for _, path in sorted((int(m[1]), path) for m, path in found if m)]

    def save(self, trained: Resumable, seconds: float) -> None:
        """Writes what is trained and the seconds that it took, and removes the oldest states.

        **Raises:** `FolderError` if it cannot be written; the older states are then still there.
        """
        header = {
            "run": self.run,
            "seconds": seconds,
            "metrics": [dataclasses.asdict(own) for own in trained.metrics],
        }
        name = f"checkpoints/state-{len(trained.metrics):06d}.eqx"
        self.folder.write(name, sealed(KIND, header, trained.kept()))
        for old in self.states()[: -self.keep_last]:
            self.folder.remove(f"checkpoints/{old.name}")

    def restore(self, like: Left) -> tuple[Left, float] | None:
        """Returns the newest state, with the seconds that it took; `None` where there is none.

        **Arguments:**

        * `like`: what the training started from.

        **Raises:** `FolderError` if the newest state is damaged or of another run. No file is
        touched.
        """
        states = self.states()
        if not states:
            return None
        try:
            found = read_sealed(states[-1], KIND)
            if self.run_of(found.header.get("run")) != self.run:
                raise FolderError(f"{states[-1]} is the training state of another run.")
            trained = like.restored(found.arrays(like.kept()), found.header["metrics"])
            seconds = float(found.header["seconds"])
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

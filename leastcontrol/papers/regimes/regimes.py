"""The regimes as data: what is streamed to which network, disturbed by what, and what is measured.

This module imports nothing heavy, so that the list appears at once.
"""

import dataclasses
from typing import Any

from .measures import AbstractMeasure, LastAccuracy, MeanAccuracy, StepsToLoss
from .streams import CHUNK, AbstractProtocol, Drift, Passes, Turns

HIDDEN = (64, 64)
DEEP = (32,) * 15
BATCH = 10
FIRST_HALF, SECOND_HALF = tuple(range(5)), tuple(range(5, 10))
PAIRS = tuple((first, first + 1) for first in range(0, 10, 2))


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """Noise, in parts of what it disturbs or in units of the voltage.

    * `neurons`: the standard deviation of what is added to the drive of every neuron, drawn anew
      for every step and held while the network settles.
    * `updates`: that of what is added to an update, in units of the root mean square of the update
      of the same array.
    * `weights`: that of what is added to the weights after training, likewise of the weights.
    """

    neurons: float = 0.0
    updates: float = 0.0
    weights: float = 0.0


@dataclasses.dataclass(frozen=True)
class Setting:
    """One condition of a regime, under which every arm is tuned and tested.

    **Arguments:**

    * `name`: for display and files, within its regime.
    * `protocol`: draws the stream.
    * `measure`: reads the figures.
    * `hidden`: the widths of the hidden layers.
    * `data`: the name of the data set.
    * `disturbance`: the noise.
    * `before`: the stream that backpropagation has trained the network on before.
    """

    name: str
    protocol: AbstractProtocol
    measure: AbstractMeasure
    hidden: tuple[int, ...] = HIDDEN
    data: str = "fashion-mnist"
    disturbance: Disturbance = Disturbance()
    before: AbstractProtocol | None = None

    def identity(self) -> dict[str, Any]:
        """Returns what a stored trial must agree with."""
        return {
            "setting": self.name,
            "protocol": [type(self.protocol).__name__, dataclasses.asdict(self.protocol)],
            "measure": [type(self.measure).__name__, dataclasses.asdict(self.measure)],
            "hidden": list(self.hidden),
            "data": self.data,
            "disturbance": dataclasses.asdict(self.disturbance),
            "before": None if self.before is None else dataclasses.asdict(self.before),
        }

    def reduced(self) -> "Setting":
        """Makes a small version, of which all settings share their compiled programs."""
        before = self.before if self.before is None else self.before.shortened(BATCH)
        return dataclasses.replace(
            self, protocol=self.protocol.shortened(BATCH), hidden=(16, 16), before=before
        )


@dataclasses.dataclass(frozen=True)
class Regime:
    """Settings that ask one question.

    **Arguments:**

    * `name`, `title`: for display and files.
    * `protocol`: describes in a sentence what is done.
    * `settings`: the conditions.
    """

    name: str
    title: str
    protocol: str
    settings: tuple[Setting, ...]


def _disturbed(name: str, **noise: float) -> Setting:
    steps = 64 * CHUNK
    return Setting(
        name,
        Passes(steps, 1, steps),
        LastAccuracy(),
        disturbance=Disturbance(**noise),
    )


def _few(images: int, steps: int) -> Setting:
    return Setting(f"{images} images", Passes(steps, BATCH, images), LastAccuracy())


def _fast(layers: int, hidden: tuple[int, ...], steps: int) -> Setting:
    protocol = Passes(steps, BATCH, steps * BATCH, every=CHUNK)
    return Setting(f"{layers} layers", protocol, StepsToLoss(0.3), hidden=hidden)


REGIMES = (
    Regime(
        "online",
        "Online learning",
        "batches of one, one pass over 6 000 images; mean of the accuracies after every 400",
        (Setting("one pass", Passes(6000, 1, 6000, every=400), MeanAccuracy()),),
    ),
    Regime(
        "few-data",
        "Few data",
        "60 to 6 000 images, 320 to 960 steps of ten images; accuracy at the end",
        (_few(60, 320), _few(300, 480), _few(600, 640), _few(3000, 960), _few(6000, 960)),
    ),
    Regime(
        "drift",
        "Drift",
        "five of the ten classes exchange their labels after every 64 of 960 steps of ten "
        "images; mean of the accuracies before the next change",
        (Setting("every 64 steps", Drift(960, BATCH, 64), MeanAccuracy()),),
    ),
    Regime(
        "forgetting",
        "Forgetting",
        "groups of classes in turn, without saying which: two halves with the same five labels, "
        "ten turns of 64 steps, mean accuracy on both after each; and split-MNIST, five pairs of "
        "digits of 96 steps each, with ten labels or with even and odd, accuracy on all at the "
        "end",
        (
            Setting(
                "two halves",
                Turns(
                    640, BATCH, (FIRST_HALF, SECOND_HALF), 64, tuple(each % 5 for each in range(10))
                ),
                MeanAccuracy(),
            ),
            Setting(
                "split-MNIST, ten labels",
                Turns(480, BATCH, PAIRS, 96),
                LastAccuracy(),
                data="mnist",
            ),
            Setting(
                "split-MNIST, even and odd",
                Turns(480, BATCH, PAIRS, 96, tuple(each % 2 for each in range(10))),
                LastAccuracy(),
                data="mnist",
            ),
        ),
    ),
    Regime(
        "noise",
        "Noise",
        "batches of one, one pass over 1 024 images, with noise in every neuron that is held while "
        "it settles, in every update, or in the weights after training; accuracy without the noise "
        "of the neurons",
        (
            *(_disturbed(f"neurons {level:g}", neurons=level) for level in (0.05, 0.1, 0.3)),
            *(_disturbed(f"updates {level:g}", updates=level) for level in (1.0, 3.0)),
            *(_disturbed(f"weights {level:g}", weights=level) for level in (0.3, 0.6)),
        ),
    ),
    Regime(
        "narrow-and-deep",
        "Narrow and deep",
        "15 layers of 32 units, trained by backpropagation on five classes for 320 steps, then 160 "
        "steps of ten images of the other five; accuracy on these",
        (
            Setting(
                "other classes",
                Turns(160, BATCH, (SECOND_HALF,), 160),
                LastAccuracy(),
                hidden=DEEP,
                before=Turns(320, BATCH, (FIRST_HALF,), 320),
            ),
        ),
    ),
    Regime(
        "fast-learning",
        "Fast learning",
        "steps, and passes through the network, until the squared error on training images is 0.3; "
        "two layers of 64 units, at most 384 steps of ten new images",
        (_fast(2, HIDDEN, 384),),
    ),
)

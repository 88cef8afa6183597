"""The kinds of devices of `devices.py`: how they are made, and which ways and arms there are."""

import abc
import argparse
import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from typing import ClassVar

import numpy as np

from leastcontrol import devices

DRIFT = {"drift": 0.01, "dead_units": 2}


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to train a device.

    * `rule`: made for a device, of a seed, of the perturbation by which responses are learned, and
      of what a trial says of it.
    * `trials`: learning rates, and what else is tried.
    """

    rule: Callable[..., devices.AbstractDeviceRule]
    trials: tuple[Mapping, ...]


@dataclasses.dataclass(frozen=True)
class Arm:
    """What is reported of a way: on which devices, and whether trained there or before."""

    way: str
    difficulties: Mapping = dataclasses.field(default_factory=dict)
    programmed: bool = False


class AbstractKind(abc.ABC):
    """Devices of a kind, how they are trained, and what is compared."""

    training: ClassVar[Mapping]
    ideal: ClassVar[Mapping]
    search_seeds: ClassVar[tuple[int, ...]]
    ways: ClassVar[Mapping[str, Way]]
    arms: ClassVar[Mapping[str, Arm]]

    @abc.abstractmethod
    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Adds the options of the devices."""

    @abc.abstractmethod
    def opened(
        self, splits, options, seed: int, **difficulties
    ) -> AbstractContextManager[devices.AbstractDevice]:
        """Makes the device of a seed, with other difficulties than the options say."""

    def alignment(self, device, inputs, feedback) -> dict:
        """Compares feedback with the true response, of devices that know it."""
        del device, inputs, feedback
        return {}


def trials(*rates: float, **other) -> tuple[Mapping, ...]:
    """Makes trials of learning rates, with what else is the same in them."""
    return tuple({"learning_rate": rate, **other} for rate in rates)


def least_control(feedback: Callable[[int], devices.AbstractDeviceFeedback]):
    """Makes what makes the rule with the feedback of a seed."""
    return lambda device, seed, perturbation: devices.LeastControlRule(
        feedback(seed), perturbation=perturbation
    )


def two_phases(device, seed: int, perturbation: float, gain: float) -> devices.AbstractDeviceRule:
    """Makes the rule of two phases, whose second one is driven by a gain."""
    del device, seed
    return devices.TwoPhaseRule(perturbation=perturbation, drive=devices.Proportional(gain))


def physics_aware(known: float) -> Callable[..., devices.AbstractDeviceRule]:
    """Makes what makes the rule with a twin that knows a part of the mismatch."""
    return lambda device, seed, perturbation: devices.PhysicsAwareRule(device.twin(known))


def perturbing(kind: Callable[[float], devices.AbstractDeviceRule]):
    """Makes what makes a rule that perturbs by some size of its trial."""
    return lambda device, seed, perturbation, size: kind(size)


LEARNED = least_control(lambda seed: devices.LearnedFeedback())
BALANCED = least_control(lambda seed: devices.BalancedFeedback())
RANDOM = least_control(devices.RandomFeedback)


class Simulated(AbstractKind):
    """Simulated networks."""

    training: ClassVar[Mapping] = {"settles": 1800, "batch_size": 64}
    ideal: ClassVar[Mapping] = {"mismatch": 0.0}
    search_seeds: ClassVar[tuple[int, ...]] = (100, 101)
    ways: ClassVar[Mapping[str, Way]] = {
        "learned": Way(LEARNED, trials(1e-2, 2e-2, 4e-2)),
        "balanced": Way(BALANCED, trials(1e-2, 2e-2, 4e-2)),
        "random": Way(RANDOM, trials(1e-2, 2e-2, 4e-2)),
        "two phases": Way(two_phases, (*trials(1e-2, gain=1), *trials(1e-2, 2e-2, gain=4))),
        "physics-aware, good twin": Way(physics_aware(0.9), trials(5e-3, 1e-2, 2e-2)),
        "physics-aware, poor twin": Way(physics_aware(0.0), trials(5e-3, 1e-2, 2e-2)),
        "node perturbation": Way(
            perturbing(devices.NodePerturbationRule),
            (*trials(2e-2, size=0.2), *trials(1e-2, 2e-2, size=0.4)),
        ),
        "weight perturbation": Way(
            perturbing(devices.WeightPerturbationRule),
            (*trials(2e-2, size=0.02), *trials(2e-2, 4e-2, size=0.05)),
        ),
        "SPSA": Way(
            perturbing(devices.SimultaneousPerturbationRule),
            (*trials(2e-2, size=0.02), *trials(2e-2, 4e-2, size=0.05)),
        ),
    }
    arms: ClassVar[Mapping[str, Arm]] = {
        "ideal": Arm("learned", ideal),
        "programmed": Arm("learned", programmed=True),
        "programmed with drift": Arm("learned", DRIFT, programmed=True),
        **{name: Arm(name) for name in ways},
        **{f"{name} with drift": Arm(name, DRIFT) for name in ways},
    }

    def add_options(self, parser):
        parser.add_argument("--mismatch", type=float, default=0.5)
        parser.add_argument("--noise", type=float, default=0.05)
        parser.add_argument("--hidden", type=int, nargs="+", default=[32, 32, 32, 32])

    def opened(self, splits, options, seed, **difficulties):
        values = {"mismatch": options.mismatch, "noise": options.noise, **difficulties}
        inputs, outputs = splits.train.inputs.shape[1], splits.train.classes
        return nullcontext(
            devices.SimulatedDevice(
                inputs, tuple(options.hidden), outputs, devices.Difficulties(**values), seed=seed
            )
        )

    def alignment(self, device, inputs, feedback):
        response = device.true_response(inputs[:256].astype(np.float64))
        # The output's own lines are nearly the same in every arm.
        hidden = slice(0, device.describe().neurons - device.describe().outputs)
        true, sent = response.T[hidden], feedback[hidden]
        cosine = np.sum(true * sent) / (np.linalg.norm(true) * np.linalg.norm(sent))
        basis = np.linalg.qr(true)[0]
        return {
            "angle": float(np.degrees(np.arccos(cosine))),
            "column_space": float(np.linalg.norm(basis.T @ sent) / np.linalg.norm(sent)),
        }


class Ngspice(AbstractKind):
    """Circuits in ngspice."""

    # A settle of a sample takes long, and has no noise that a larger batch would average.
    training: ClassVar[Mapping] = {"settles": 984, "batch_size": 16}
    ideal: ClassVar[Mapping] = {"resistor_mismatch": 0.0, "offset": 0.0}
    search_seeds: ClassVar[tuple[int, ...]] = (100, 101)
    ways: ClassVar[Mapping[str, Way]] = {
        "learned": Way(LEARNED, trials(1e-2, 2e-2, 4e-2)),
        "random": Way(RANDOM, trials(1e-2, 2e-2, 4e-2)),
    }
    arms: ClassVar[Mapping[str, Arm]] = {
        "ideal": Arm("learned", ideal),
        "programmed": Arm("learned", programmed=True),
        "learned": Arm("learned"),
        "random": Arm("random"),
    }

    def add_options(self, parser):
        parser.add_argument("--pairs", type=int, default=16)
        parser.add_argument("--resistor-mismatch", type=float, default=0.05)
        parser.add_argument("--offset", type=float, default=2e-3)

    def opened(self, splits, options, seed, **difficulties):
        values = {
            "resistor_mismatch": options.resistor_mismatch,
            "offset": options.offset,
            **difficulties,
        }
        inputs, outputs = splits.train.inputs.shape[1], splits.train.classes
        return closing(devices.SpiceDevice(inputs, options.pairs, outputs, seed=seed, **values))


KINDS = {"simulated": Simulated(), "ngspice": Ngspice()}

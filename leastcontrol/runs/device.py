"""What the training of a device does with each of its seeds."""

import contextlib
import dataclasses
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from .. import data, devices
from .device_config import DeviceConfig
from .runner import AbstractJob, Recorder, Report, SeedRun, Summary, run
from .spread import mean, number

INSPECTED = 128
"""Training samples at whose states the device is compared with a twin."""


def run_device(
    config: DeviceConfig,
    out: Path,
    *,
    command: str | None = None,
    resume: bool = False,
    keep_last: int = 2,
    report: Report | None = None,
) -> Summary:
    """Trains a device for each seed, by `runner.run`, and returns the summary.

    A training that goes on writes the weights that it left to the device. A simulated device goes
    on in the same bits; the noise of another one is not repeated.

    **Arguments:** `report`, called with the seed and the `DeviceMetrics` of an epoch that is saved;
    it may raise to stop the run there.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError` or `devices.DeviceError`.
    """
    job = DeviceJob(config)
    return run(job, out, command=command, resume=resume, keep_last=keep_last, report=report)


class DeviceJob(AbstractJob[DeviceConfig]):
    """Training a device with each seed."""

    verb: ClassVar[str] = "device"

    def __init__(self, config: DeviceConfig):
        """Checks the configuration and loads the samples.

        **Raises:** `ConfigError` or `data.DataError` for what cannot be trained.
        """
        config.check()
        self.config = config
        splits = config.data.load()
        assert isinstance(splits, data.Splits)
        self.splits = splits

    def run_seed(self, run: SeedRun[DeviceConfig]) -> Summary:
        """Trains one device, or goes on with it."""
        splits = self.splits
        size, classes = splits.train.inputs.shape[1], splits.train.classes
        with run.config.device.opened(size, classes, run.seed) as device:
            return self._trained(run, device)

    def _trained(self, run: SeedRun[DeviceConfig], device: devices.AbstractDevice) -> Summary:
        splits, config = self.splits, run.config
        learner = devices.DeviceLearner(
            device,
            config.rule.build(config, device, run.seed),
            config.build_training(),
            splits.train.inputs,
            splits.train.targets,
            seed=run.seed,
        )
        word = config.device
        fresh = dataclasses.replace(
            devices.TrainedDevice.untrained(device), memory=word.memory(device)
        )
        recorder = Recorder(run, fresh, lambda trained: trained.weights)
        trained = recorder.start
        if trained.metrics:
            word.remember(device, trained.memory)
            learner.go_on(trained)
        while len(trained.metrics) < config.optimiser.epochs:
            trained = learner.epoch(trained, splits.validation.inputs, splits.validation.targets)
            trained = dataclasses.replace(trained, memory=word.memory(device))
            recorder.save(trained.metrics[-1], trained)
        first, second = devices.settle_twice(device, splits.test.inputs)
        certificate, _ = devices.judge(first, second, np.zeros(len(splits.test), bool))
        test = devices.classified(first.output, splits.test.targets)
        last = trained.metrics[-1]
        return {
            "test_accuracy": test.accuracy,
            "test_nll": test.nll,
            "validation_accuracy": last.validation.accuracy,
            "settles": trained.settles,
            "certificate": dataclasses.asdict(certificate),
            "faults": list(last.faults),
            "limits": list(devices.limits(learner.description, last, trained.weights)),
            **self._inspected(run, device, trained),
            "remaining_error": last.remaining_error,
            "write_error": last.write_error,
            "samples": len(splits.test),
            "seconds": recorder.seconds(),
            "seed": run.seed,
            "machine": platform.machine(),
        }

    def _inspected(
        self,
        run: SeedRun[DeviceConfig],
        device: devices.AbstractDevice,
        trained: devices.TrainedDevice,
    ) -> Summary:
        """Compares the device with its description, and the feedback with the device if possible.

        What cannot be known is `None`.
        """
        word, description = run.config.device, device.describe()
        state = devices.free_states(device, self.splits.train.inputs[:INSPECTED])
        feedback = run.config.rule.build(run.config, device, run.seed).feedback_weights(
            description, trained.responses
        )
        mismatch, aligned = None, None
        if not len(state):
            return {"mismatch": mismatch, "alignment": aligned}
        with contextlib.suppress(devices.DeviceError):
            described = word.twin(device, 0.0)
            expected = devices.mean_response(described, description, trained.weights, state)
            mismatch = devices.mismatch(description, trained.responses, expected)
        if feedback is not None and word.mismatch_is_known:
            exact = word.twin(device, 1.0)
            response = devices.mean_response(exact, description, trained.weights, state)
            output = response[-description.outputs :]
            aligned = devices.alignment(description, feedback, output)
        return {
            "mismatch": None if mismatch is None else dataclasses.asdict(mismatch),
            "alignment": None if aligned is None else dataclasses.asdict(aligned),
        }

    def figures(self, summary: Summary) -> dict[str, float]:
        """Returns accuracy and loss on the device, and the settles that they took."""
        return {name: number(summary[name]) for name in _FIGURES}

    def row(self, summary: Summary) -> Summary:
        """Returns the seed with its accuracy and what its certificate counts."""
        return {name: summary[name] for name in _ROW}

    def place(self, figures: devices.DeviceMetrics) -> str:
        """Returns the epoch."""
        return f"epoch {figures.epoch}"

    def share(self, figures: devices.DeviceMetrics) -> float:
        """Returns the share of the epochs."""
        return figures.epoch / self.config.optimiser.epochs

    def combined(self, summaries: Sequence[Summary]) -> Summary:
        """Returns the means of the figures, and the sums of what the certificates count."""
        figures = [self.figures(summary) for summary in summaries]
        counts = [summary["certificate"]["counts"] for summary in summaries]
        return {
            **{name: mean(each[name] for each in figures) for name in _FIGURES},
            "certificate": {
                "counts": {name: sum(each[name] for each in counts) for name in counts[0]}
            },
        }


_ROW = ("seed", "test_accuracy", "certificate", "faults", "limits", "mismatch", "alignment")
_FIGURES = (
    "test_accuracy",
    "test_nll",
    "validation_accuracy",
    "settles",
    "remaining_error",
    "seconds",
)

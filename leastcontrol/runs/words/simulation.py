"""Options that words with a simulation have in common."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ..configuration import AbstractOptions
from ..options import NON_NEGATIVE, ConfigError, flag, option

if TYPE_CHECKING:
    from ...equilibrium import AbstractNoise, Dynamics


@dataclasses.dataclass(frozen=True)
class AbstractSimulation(AbstractOptions):
    """The simulated dynamics of deep feedback control; times are in units of its controller's."""

    time_step: float = option(
        0.02, "Simulated time step, in units of the controller's time constant"
    )
    points: int = option(500, "Number of simulated time points")
    voltage_time_constant: float = option(0.1, "Time constant of the voltages, likewise")
    apical_time_constant: float | None = option(
        None, "Time constant of the apical voltages; none by default"
    )
    proportional_gain: float = option(1.0, "Proportional gain of the controller")
    transmission: str = option(
        "instant", "Between layers: instant, or delayed by a step", choices=("instant", "delayed")
    )
    control_timing: str = option(
        "proactive",
        "Control that neurons receive: this time step's, or reactive, the last one's",
        choices=("proactive", "reactive"),
    )
    noise_time_constant: float | None = option(None, "Time constant of the noise; white by default")
    noise_increments: str = option(
        "normal",
        "Numbers that drive the noise: normal, or two-point (signs, cheap to draw)",
        choices={"normal": "NormalIncrements", "two-point": "TwoPointIncrements"},
    )

    def noise_of(self, hidden: float, output: float) -> "AbstractNoise":
        """Makes the noise with the deviations of hidden and output neurons."""
        from ... import equilibrium

        increments = self.stands_for("noise_increments", equilibrium)()
        if self.noise_time_constant is None:
            return equilibrium.WhiteNoise(hidden, output, increments)
        return equilibrium.FilteredNoise(
            hidden, output, time_constant=self.noise_time_constant, increments=increments
        )

    def dynamics(self, leak: float, noise: "AbstractNoise | None") -> "Dynamics":
        """Makes the dynamics for a leak of the controller."""
        from ...equilibrium import Dynamics

        return Dynamics(
            self.time_step,
            self.points,
            self.voltage_time_constant,
            leak,
            self.proportional_gain,
            self.apical_time_constant,
            delayed=self.transmission == "delayed",
            proactive=self.control_timing == "proactive",
            noise=noise,
        )


@dataclasses.dataclass(frozen=True)
class AbstractNoisySimulation(AbstractSimulation):
    """A simulation that may be noisy."""

    noise: float = option(
        0.0, "Deviation of the noise in hidden neurons' apical voltages", range=NON_NEGATIVE
    )
    output_noise: float | None = option(
        None, "The same of output neurons; that of hidden ones by default", range=NON_NEGATIVE
    )
    reach: float = option(1.0, "Share of the error that control may leave in a solved sample")

    @property
    def noisy(self) -> bool:
        """Whether there is any noise."""
        return self.noise > 0 or bool(self.output_noise)

    def noisy_dynamics(self, leak: float) -> "Dynamics":
        """Makes the dynamics with their noise."""
        output = self.noise if self.output_noise is None else self.output_noise
        noise = self.noise_of(self.noise, output) if self.noisy else None
        return self.dynamics(leak, noise)

    def check_noise(self, config: Any) -> None:
        """Checks that options of the noise are given only where there is noise.

        **Raises:** `ConfigError`.
        """
        if self.noisy or config.rule.feedback_learning.word == "two-phase":
            return
        for name, default in (("noise_time_constant", None), ("noise_increments", "normal")):
            value = getattr(self, name)
            if value != default:
                raise ConfigError(
                    f"{flag(name)} is {value}, but it has no effect without --noise "
                    "0.1: add that, or leave it out."
                )

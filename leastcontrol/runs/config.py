"""One training run in the words of the command line.

The words are kept, not the objects that they stand for, because a run folder has to say in JSON
what it holds; `running` turns them into objects, and nothing below it sees a word.
"""

import dataclasses
import difflib
import math
from pathlib import Path
from typing import Any, TypeVar

Own = TypeVar("Own")

# Data sets of images that are to be given back, and that of the images.
AUTOENCODERS = {
    "digits-autoencoder": "digits",
    "mnist-autoencoder": "mnist",
    "fashion-mnist-autoencoder": "fashion-mnist",
}
# Data sets with labels, and those whose targets are vectors.
CLASSIFICATIONS = ("digits", "mnist", "fashion-mnist", "cifar10")
REGRESSIONS = ("student-teacher", *AUTOENCODERS)
# Data sets that are made, or come with scikit-learn.
WITHOUT_FILES = ("digits", "digits-autoencoder", "student-teacher")
CHOICES = {
    "data": (*CLASSIFICATIONS, *REGRESSIONS),
    "system": ("feedforward", "rnn", "convolutional", "residual", "deep-equilibrium"),
    "activation": ("tanh", "relu", "gelu", "identity"),
    "initialisation": ("fan-in-uniform", "xavier-normal", "xavier-uniform", "orthogonal"),
    "rule": (
        "least-control",
        "backpropagation",
        "recurrent-backpropagation",
        "backpropagation-through-time",
        "deep-feedback-control",
        "feedback-alignment",
        "direct-feedback-alignment",
        "equilibrium-propagation",
        "centred-equilibrium-propagation",
        "predictive-coding",
        "phantom-gradient",
        "jacobian-free-backpropagation",
    ),
    "controller": (
        "automatic",
        "dynamic-inversion",
        "energy",
        "exact",
        "continuous-time",
        "kolen-pollack",
        "linear-feedback",
    ),
    "alpha_convention": ("sample", "batch-mean"),
    "output_control": ("leaky-integral", "proportional"),
    "phase": ("steady-state", "simulated-steady-state", "analytic-steady-state", "continuous"),
    "teaching": ("nudged", "strong", "label-difference"),
    "feedback": ("random", "weight-product", "jacobian"),
    "feedback_learning": ("none", "quasi-static", "single-phase", "two-phase"),
    "difference": ("rate", "voltage"),
    "transmission": ("instant", "delayed"),
    "control_timing": ("proactive", "reactive"),
    "conventions": ("corrected", "published"),
    "noise_increments": ("normal", "two-point"),
    "unsolved": ("drop", "keep", "raise"),
    "start": ("cold", "warm"),
    "preprocessing": ("none", "standardise"),
    "augment": ("none", "crop", "flip", "crop-and-flip"),
    "convolutions": ("small", "strided", "paper"),
    "cell": ("residual", "swapped", "nodes"),
}
# Systems that take images with their channels and axes; the others take pixels in a row.
IMAGE_SYSTEMS = ("convolutional", "deep-equilibrium")
# Systems without an order, which are iterated to rest.
RECURRENT_SYSTEMS = ("rnn", "deep-equilibrium")
# Systems of layers of one width.
ONE_WIDTH = ("rnn", "residual")
# Options of one system alone.
SYSTEM_OPTIONS = {
    "convolutions": "convolutional",
    "depth": "residual",
    "cell": "deep-equilibrium",
    "channels": "deep-equilibrium",
    "inner": "deep-equilibrium",
    "groups": "deep-equilibrium",
    "pool": "deep-equilibrium",
    "encoder_stride": "deep-equilibrium",
}
# Options of deep feedback control alone, and those of them that belong to its simulation.
SIMULATION_OPTIONS = (
    "time_step",
    "points",
    "voltage_time_constant",
    "apical_time_constant",
    "proportional_gain",
    "transmission",
    "control_timing",
)
FEEDBACK_CONTROL_OPTIONS = (
    "phase",
    "teaching",
    "controller_leak",
    "feedback",
    "feedback_learning",
    "difference",
    "update_noise",
    "conventions",
)
# Two such layers in a row are joined by 4 GiB of weights, and the optimiser needs three times that.
LARGEST_LAYER = 2**15
# Each of them is compiled by itself.
MOST_LAYERS = 1000
# The noise of linear feedback has a time constant of this many steps.
FEWEST_NOISE_STEPS = 5
# JAX takes larger seeds modulo this number, so that different ones would be the same.
SEEDS = 2**32


class ConfigError(ValueError):
    """A configuration cannot be run; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training run."""

    data: str = "digits"
    """Data set: digits, mnist, fashion-mnist or cifar10; or with the squared error and not the
    cross-entropy student-teacher (what a random network says), digits-autoencoder,
    mnist-autoencoder or fashion-mnist-autoencoder (the images themselves)."""
    data_dir: Path | None = None
    """Folder with the data set's files; else the environment variable LEASTCONTROL_DATA, what the
    machine has installed, the cache, or a download."""
    preprocessing: str = "none"
    """none (pixels in [0, 1]) or standardise (with CIFAR-10's mean and deviation of each channel,
    or MNIST's)."""
    augment: str = "none"
    """What is done at random to every image in training: none, crop (moved by up to 4 pixels), flip
    (left for right), or crop-and-flip."""
    validation_fraction: float = 1 / 12
    """Share of the samples that are not test samples, kept for validation."""
    split_seed: int = 0
    """Seed of the split into training and validation samples."""
    system: str = "feedforward"
    """What settles: feedforward, rnn, convolutional, residual or deep-equilibrium."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers, of a convolutional network those behind its convolutions; one
    number for an rnn and for a residual network."""
    activation: str = "tanh"
    """tanh, relu, gelu or identity."""
    initialisation: str = "fan-in-uniform"
    """fan-in-uniform, xavier-normal, xavier-uniform or orthogonal."""
    convolutions: str = "small"
    """Convolutions of a convolutional network: small (16 and 32 maps with pools), strided (16 and
    32 without), or paper (96, 128 and 256, for colour images of 32 × 32)."""
    depth: int = 50
    """Blocks of a residual network."""
    cell: str = "residual"
    """Block of a deep equilibrium model: residual, swapped (as the paper's code calls it), or nodes
    (with a state for every convolution)."""
    channels: int = 48
    """Feature maps of a deep equilibrium model's state."""
    inner: int = 64
    """Feature maps between its two convolutions."""
    groups: int = 8
    """Groups of its norms; divides both."""
    pool: int = 8
    """Size in pixels of its last average; divides its maps."""
    encoder_stride: int = 1
    """How many times fewer rows and columns its maps have than the images."""
    rule: str = "least-control"
    """What changes: least-control, backpropagation, recurrent-backpropagation,
    backpropagation-through-time (of as many steps as --max-steps says, 30 by default),
    deep-feedback-control, feedback-alignment, direct-feedback-alignment, equilibrium-propagation,
    centred-equilibrium-propagation, predictive-coding (least control by energy), phantom-gradient,
    or jacobian-free-backpropagation."""
    controller: str = "automatic"
    """Where the control comes from: dynamic-inversion, energy, exact or continuous-time; for least
    control also kolen-pollack and linear-feedback, which have feedback weights of their own."""
    noise_steps: int = 100
    """Steps of the simulation that linear feedback learns from."""
    noise_samples: int = 8
    """Samples of each batch that are simulated, its first ones."""
    feedback_decay: float = 1e-3
    """Decay of linear feedback in its own gradient."""
    alpha: float = 6.4
    """Leak α of the output control; the strength of control, or of a nudge, is 1/α."""
    alpha_convention: str = "sample"
    """Whose loss α refers to: sample, or batch-mean as in the paper's code (α times batch size)."""
    output_control: str = "leaky-integral"
    """leaky-integral or proportional; at rest they differ in nothing but the meaning of α."""
    softness: float = 0.0
    """Probability that soft targets take from the class; needed for α = 0."""
    tolerance: float = 1e-5
    """Largest residual of a solve, relative to the control."""
    max_steps: int | None = None
    """Budget of a solve, in steps; each solver's own by default."""
    unsolved: str = "drop"
    """What becomes of samples that are not solved: drop, keep or raise."""
    start: str = "cold"
    """Where a solve starts: cold, or warm, from the rest point that the sample had an epoch before.
    Those of the whole training set are then held in memory and in checkpoints."""
    epochs: int = 30
    """Passes over the training set."""
    batch_size: int = 64
    """Samples in a step."""
    accumulate: int = 1
    """Equal parts of its share of a batch that a device goes through one after another, in the
    memory of one."""
    learning_rate: float = 1e-3
    """Adam's learning rate at the first step."""
    final_learning_rate: float = 1e-4
    """Adam's learning rate at the last step, reached by half a cosine."""
    gradient_clip: float | None = None
    """Largest global norm of the gradient."""
    weight_decay: float = 0.0
    """Share of itself that every weight and learned feedback weight loses in a step."""
    feedback_learning_rate: float | None = None
    """Adam's learning rate of the feedback weights at the first step; the other's by default."""
    jacobian_penalty: float | None = None
    """Strength of a penalty that keeps an rnn or a deep equilibrium model solvable while it learns,
    in units of the loss."""
    phase: str = "steady-state"
    """Deep feedback control's way to the controlled state: steady-state (solved for),
    simulated-steady-state, analytic-steady-state or continuous."""
    teaching: str = "nudged"
    """What the output is controlled to: nudged, strong, or label-difference."""
    nudge: float = 0.1
    """Step λ by which nudged teaching moves the output."""
    controller_leak: float = 1e-3
    """Leak α of deep feedback control's controller."""
    feedback: str = "random"
    """First feedback weights: random, weight-product, or jacobian (none; the ideal feedback)."""
    feedback_learning: str = "none"
    """How feedback weights learn: none, quasi-static, single-phase or two-phase."""
    feedback_noise: float = 0.1
    """Standard deviation of the noise that quasi-static and two-phase feedback learn from, in the
    apical voltage."""
    quasi_static_leak: float | None = None
    """Leak of a phase in which quasi-static feedback learns by itself; by default it learns at the
    rest point that the other weights learn at."""
    direct_feedback_decay: float = 0.0
    """Decay γ of quasi-static or single-phase feedback weights, beside what they learn from
    noise."""
    feedback_samples: int | None = None
    """Samples of each batch that have that phase, its first ones; all by default."""
    feedback_start: int = 0
    """Time point of a single phase from which feedback learns."""
    filter_time_constant: float = 0.5
    """Time constant of the running mean that single-phase learning takes off the control."""
    difference: str = "rate"
    """What a weight reads of its neuron: the rate or the voltage."""
    conventions: str = "corrected"
    """corrected, or published for the behaviour of the deep feedback control authors' code."""
    time_step: float = 0.02
    """Simulated time step, in units of the controller's time constant like all that follow."""
    points: int = 500
    """Simulated time points."""
    voltage_time_constant: float = 0.1
    """Time constant of the voltages."""
    apical_time_constant: float | None = None
    """Time constant of the apical voltages; none by default."""
    proportional_gain: float = 1.0
    """Proportional gain of the controller."""
    transmission: str = "instant"
    """Between layers: instant, or delayed by one time step."""
    control_timing: str = "proactive"
    """Whether neurons receive the control of the present time step (proactive) or that of the last
    (reactive)."""
    noise: float = 0.0
    """Standard deviation of the noise in the apical voltages of simulated hidden neurons."""
    output_noise: float | None = None
    """The same for output neurons; that of the hidden ones by default."""
    noise_time_constant: float | None = None
    """Time constant of the noise; white by default."""
    noise_increments: str = "normal"
    """What drives the noise in every step: normal numbers, or two-point, which are signs and cheap
    to draw, with the same means and covariances."""
    update_noise: float = 0.0
    """Standard deviation of the noise in what weights read of their neurons, as a voltage."""
    update_start: int = 0
    """Time point of a continuous phase from which weights learn; what was before is its way to the
    target, and costs less."""
    reach: float = 1.0
    """Share of the error that simulated control may leave in a sample that counts as solved."""
    diagnose: int = 0
    """Validation samples on which alignment, feedback and the control of every layer are measured
    after each epoch; the metrics then hold them, and a report draws them."""
    seed: int | None = None
    """Seed of the weights and of the order of the samples; 0 by default."""
    seeds: tuple[int, ...] = ()
    """Several seeds, each trained in turn; the summary then has their mean and deviation."""

    @property
    def regression(self) -> bool:
        """Whether the targets are vectors, and the loss the squared error."""
        return self.data in REGRESSIONS

    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds to be trained."""
        if self.seeds:
            return self.seeds
        return (0 if self.seed is None else self.seed,)

    def check(self) -> None:
        """Raises `ConfigError` for the first value that cannot be run."""
        for name, choices in CHOICES.items():
            check_choice(flag(name), getattr(self, name), choices)
        if len(self.hidden) > MOST_LAYERS:
            raise ConfigError(
                f"--hidden has {len(self.hidden)} sizes, but a network has at most {MOST_LAYERS} "
                "layers: write fewer."
            )
        if not self.hidden or any(not 1 <= size <= LARGEST_LAYER for size in self.hidden):
            _refuse("hidden", self.hidden, f"sizes from 1 to {LARGEST_LAYER}", "256 256")
        self._check_system()
        if self.regression:
            self._check_regression()
        if not 0 <= self.alpha < math.inf:
            _refuse("alpha", self.alpha, "a finite leak of at least 0", "6.4")
        if not 0 <= self.softness < 1:
            _refuse("softness", self.softness, "at least 0 and below 1", "0.01")
        self._check_controller()
        if self.rule in ("least-control", "predictive-coding") and self.alpha == 0:
            if self.softness == 0 and not self.regression:
                raise ConfigError(
                    "--alpha is 0 and the targets are hard, which asks for infinite control: "
                    "write --softness 0.01, or an --alpha above 0."
                )
            if self.output_control == "proportional":
                raise ConfigError(
                    "--alpha is 0, but proportional control has the strength 1/α: write "
                    "--output-control leaky-integral, or an --alpha above 0."
                )
        if self.rule == "deep-feedback-control":
            self._check_feedback_control()
        self._refuse_without_effect()
        if not 0 < self.tolerance < 1:
            _refuse("tolerance", self.tolerance, "between 0 and 1", "1e-5")
        if self.start == "warm" and (
            self.rule != "least-control" or self.controller in ("exact", "continuous-time")
        ):
            raise ConfigError(
                "--start warm is for the iterations of least control, and these are --rule "
                f"{self.rule} and --controller {self.controller}: leave it out, or write "
                "--rule least-control --controller automatic."
            )
        if self.max_steps is not None and self.max_steps < 1:
            _refuse("max_steps", self.max_steps, "at least 1", "200")
        if not 0 < self.validation_fraction < 1:
            _refuse("validation_fraction", self.validation_fraction, "between 0 and 1", "0.1")
        if self.epochs < 1:
            _refuse("epochs", self.epochs, "at least 1", "30")
        if self.batch_size < 1:
            _refuse("batch_size", self.batch_size, "at least 1", "64")
        if self.accumulate < 1:
            _refuse("accumulate", self.accumulate, "at least 1", "4")
        if self.batch_size % self.accumulate:
            _refuse(
                "batch_size",
                self.batch_size,
                f"a multiple of --accumulate, {self.accumulate}",
                str(self.accumulate * max(1, self.batch_size // self.accumulate)),
            )
        if not 0 < self.learning_rate < math.inf:
            _refuse("learning_rate", self.learning_rate, "above 0 and finite", "1e-3")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            _refuse(
                "final_learning_rate",
                self.final_learning_rate,
                f"between 0 and the first one, {self.learning_rate:g}",
                f"{self.learning_rate / 10:g}",
            )
        if self.gradient_clip is not None and not 0 < self.gradient_clip < math.inf:
            _refuse("gradient_clip", self.gradient_clip, "above 0 and finite", "10")
        if not 0 <= self.weight_decay < 1:
            _refuse("weight_decay", self.weight_decay, "at least 0 and below 1", "1e-6")
        if self.feedback_learning_rate is not None and not (
            0 < self.feedback_learning_rate < math.inf
        ):
            _refuse(
                "feedback_learning_rate", self.feedback_learning_rate, "above 0 and finite", "1e-3"
            )
        if self.jacobian_penalty is not None:
            if not 0 < self.jacobian_penalty < math.inf:
                _refuse("jacobian_penalty", self.jacobian_penalty, "above 0 and finite", "1")
            if self.system not in RECURRENT_SYSTEMS:
                raise ConfigError(
                    f"--jacobian-penalty keeps an rnn solvable, and --system is {self.system}, "
                    "which needs no help: leave it out, or write --system rnn."
                )
        if self.diagnose < 0:
            _refuse("diagnose", self.diagnose, "at least 0", "32")
        check_seeds(self)
        if self.data in WITHOUT_FILES and self.data_dir is not None:
            source = "the digits come with scikit-learn"
            if self.data == "student-teacher":
                source = "what a random network says is in no file"
            other = "mnist-autoencoder" if self.regression else "mnist"
            raise ConfigError(
                f"--data-dir is given, but {source}: leave it out, or write --data {other}."
            )

    def _check_system(self) -> None:
        """Raises `ConfigError` for an option that does not fit the system.

        What depends on the images is left to the system, which is built before a run begins.
        """
        if self.system in ONE_WIDTH and len(self.hidden) != 1:
            article = "an" if self.system == "rnn" else "a"
            _refuse("hidden", self.hidden, f"one size for {article} {self.system}", "256")
        if self.system in RECURRENT_SYSTEMS and self.rule == "backpropagation":
            raise ConfigError(
                f"--rule backpropagation goes through a feedforward system, and --system is "
                f"{self.system}: write --rule recurrent-backpropagation."
            )
        through_time = self.rule == "backpropagation-through-time"
        if through_time and self.system not in RECURRENT_SYSTEMS:
            raise ConfigError(
                f"--rule {self.rule} takes the steps of a recurrent system, and --system is "
                f"{self.system}: write --rule backpropagation."
            )
        for name, system in SYSTEM_OPTIONS.items():
            value = getattr(self, name)
            if value != getattr(RunConfig, name) and self.system != system:
                raise ConfigError(
                    f"{flag(name)} is {value}, but it has no effect without --system {system}: add "
                    "that, or leave it out."
                )
            largest = MOST_LAYERS if name == "depth" else LARGEST_LAYER
            if isinstance(value, int) and not 1 <= value <= largest:
                _refuse(name, value, f"from 1 to {largest}", str(getattr(RunConfig, name)))
        for name in ("hidden", "activation"):
            value = getattr(self, name)
            if self.system == "deep-equilibrium" and value != getattr(RunConfig, name):
                raise ConfigError(
                    f"{flag(name)} is given, but it has no effect with --system deep-equilibrium, "
                    "whose block is rectified and has --channels and --inner: leave it out."
                )
        if self.augment != "none" and self.system not in IMAGE_SYSTEMS:
            raise ConfigError(
                f"--augment is {self.augment}, but it has no effect with --system {self.system}, "
                "which takes pixels in a row: write --system convolutional, or leave it out."
            )
        known = ("feedforward", "rnn")
        for name, value in (("rule", self.rule), ("controller", self.controller)):
            straight = value in ("direct-feedback-alignment", "linear-feedback")
            if straight and self.system not in known:
                raise ConfigError(
                    f"{flag(name)} is {value}, whose feedback goes straight to the neurons of a "
                    f"feedforward or rnn system, and --system is {self.system}: choose another "
                    f"{name}."
                )

    def _check_regression(self) -> None:
        """Raises `ConfigError` for what needs labels, or images."""
        if self.softness != 0:
            raise ConfigError(
                f"--softness is {self.softness}, but --data {self.data} has vectors for targets "
                "and no labels to soften: leave it out."
            )
        if self.teaching == "label-difference":
            raise ConfigError(
                f"--teaching is label-difference, but --data {self.data} has no labels: write "
                "--teaching strong, which is the same for vectors."
            )
        if self.system in IMAGE_SYSTEMS:
            raise ConfigError(
                f"--system {self.system} takes images to classes, and --data {self.data} has "
                "vectors for targets: write --system feedforward."
            )
        if self.data == "student-teacher":
            for name in ("preprocessing", "validation_fraction"):
                if getattr(self, name) != getattr(RunConfig, name):
                    raise ConfigError(
                        f"{flag(name)} is {getattr(self, name)}, but it has no effect on samples "
                        "that are made, with --data student-teacher: leave it out."
                    )

    def _check_controller(self) -> None:
        """Raises `ConfigError` for a controller, or an option of one, that a rule cannot use."""
        learned = self.controller in ("kolen-pollack", "linear-feedback")
        if learned and self.rule != "least-control":
            raise ConfigError(
                f"--controller {self.controller} has feedback weights that --rule {self.rule} does "
                "not use: write --rule least-control, or another controller."
            )
        if self.rule == "predictive-coding" and self.controller not in (
            RunConfig.controller,
            "energy",
        ):
            raise ConfigError(
                f"--rule predictive-coding descends the energy, and --controller is "
                f"{self.controller}: leave that out, or write --rule least-control."
            )
        if self.rule.endswith("equilibrium-propagation") and self.alpha == 0:
            raise ConfigError(
                f"--alpha is 0, but the nudge of --rule {self.rule} has the strength 1/α: write "
                "--alpha 6.4."
            )
        if self.noise_steps < FEWEST_NOISE_STEPS:
            _refuse("noise_steps", self.noise_steps, f"at least {FEWEST_NOISE_STEPS}", "100")
        if self.noise_samples < 1:
            _refuse("noise_samples", self.noise_samples, "at least 1", "8")
        if not 0 <= self.feedback_decay < math.inf:
            _refuse("feedback_decay", self.feedback_decay, "at least 0 and finite", "1e-3")
        for name in ("noise_steps", "noise_samples", "feedback_decay"):
            value = getattr(self, name)
            if value != getattr(RunConfig, name) and self.controller != "linear-feedback":
                raise ConfigError(
                    f"{flag(name)} is {value}, but it has no effect without --controller "
                    "linear-feedback: add that, or leave it out."
                )

    def _check_feedback_control(self) -> None:
        """Raises `ConfigError` for what does not fit together in deep feedback control.

        What one part of it refuses by itself is left to that part.
        """
        if self.system != "feedforward":
            raise ConfigError(
                f"--rule deep-feedback-control drives the layers of a feedforward network, and "
                f"--system is {self.system}: write --system feedforward."
            )
        if self.teaching != "nudged" and self.softness == 0 and not self.regression:
            raise ConfigError(
                f"--teaching {self.teaching} drives the output to its target, and no finite output "
                "has the probability 1 of a hard label: write --softness 0.01."
            )
        if self.feedback == "jacobian" and self.feedback_learning != "none":
            raise ConfigError(
                f"--feedback jacobian has no weights, but --feedback-learning is "
                f"{self.feedback_learning}: write --feedback-learning none."
            )
        if self.feedback == "jacobian" and self.phase == "steady-state":
            raise ConfigError(
                "--feedback jacobian at a solved steady state is the least-control state: write "
                "--rule least-control, or --phase simulated-steady-state."
            )
        if self.feedback_learning == "quasi-static" and self.phase != "steady-state":
            raise ConfigError(
                f"--feedback-learning quasi-static shifts a rest point that was solved for, and "
                f"--phase is {self.phase}: write --phase steady-state."
            )
        if self.feedback_learning == "single-phase" and (
            self.phase not in ("continuous", "simulated-steady-state")
            or (self.noise == 0 and not self.output_noise)
        ):
            raise ConfigError(
                "--feedback-learning single-phase learns from the noise of a simulated phase: "
                "write --phase continuous --noise 0.1."
            )
        if self.phase == "analytic-steady-state" and self.teaching != "nudged":
            raise ConfigError(
                f"--phase analytic-steady-state is to first order in the error, and --teaching is "
                f"{self.teaching}: write --teaching nudged, or --phase steady-state."
            )

    def _refuse_without_effect(self) -> None:
        """Raises `ConfigError` for an option of deep feedback control that would change nothing."""
        used = self.rule == "deep-feedback-control"
        simulated = self.phase in ("continuous", "simulated-steady-state")
        two_phases = self.feedback_learning == "two-phase"
        strong = self.teaching != "nudged"
        noisy = simulated and (self.noise > 0 or bool(self.output_noise))
        single_phase = self.feedback_learning == "single-phase"
        filtered = single_phase or (two_phases and strong)
        quasi_static = self.feedback_learning == "quasi-static"
        rule, phase = "--rule deep-feedback-control", "--phase continuous"
        slow_noise = "--feedback-learning quasi-static"
        needs = dict.fromkeys(FEEDBACK_CONTROL_OPTIONS, (used, rule))
        needs |= dict.fromkeys(SIMULATION_OPTIONS, (simulated or two_phases, phase))
        needs |= dict.fromkeys(("noise", "output_noise", "reach"), (simulated, phase))
        needs |= {
            "nudge": (not strong, "--teaching nudged"),
            "feedback_noise": (two_phases or quasi_static, slow_noise),
            "quasi_static_leak": (quasi_static, slow_noise),
            "feedback_samples": (
                quasi_static and self.quasi_static_leak is not None,
                f"{slow_noise} --quasi-static-leak 1",
            ),
            "direct_feedback_decay": (quasi_static or single_phase, slow_noise),
            "feedback_start": (single_phase, "--feedback-learning single-phase"),
            "filter_time_constant": (filtered, "--feedback-learning single-phase"),
            "noise_time_constant": (noisy or two_phases, "--noise 0.1"),
            "noise_increments": (noisy or two_phases, "--noise 0.1"),
            "update_start": (self.phase == "continuous", phase),
        }
        for name, (has_effect, needed) in needs.items():
            if getattr(self, name) != getattr(RunConfig, name) and not (used and has_effect):
                raise ConfigError(
                    f"{flag(name)} is {getattr(self, name)}, but it has no effect without "
                    f"{needed if used else rule}: add that, or leave it out."
                )

    def as_json(self) -> dict[str, Any]:
        """Returns what `from_json` reads."""
        return options_as_json(self)

    @staticmethod
    def from_json(values: Any, source: str) -> "RunConfig":
        """Returns a configuration from JSON.

        **Raises:** `ConfigError` naming `source` for anything but a configuration.
        """
        return _read(RunConfig, values, source)


def options_as_json(config: Any) -> dict[str, Any]:
    """Returns what `options_from_json` reads."""
    values = dataclasses.asdict(config)
    return {
        name: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v
        for name, v in values.items()
    }


def config_of_verb(kind: type[Own], verb: str, what: str, values: Any, source: str) -> Own:
    """Returns the configuration of another command than train, of which JSON names the verb.

    **Raises:** `ConfigError` naming `source` for anything but the configuration of `what` it runs.
    """
    if not is_of_verb(verb, values):
        raise ConfigError(
            f"{source} does not hold the configuration of {what}: give the folder that "
            f"`leastcontrol {verb} --out DIR` wrote."
        )
    options = {name: value for name, value in values.items() if name != "verb"}
    return _read(kind, options, source)


def is_of_verb(verb: str, values: Any) -> bool:
    """Returns whether JSON is the configuration of a command other than train."""
    return isinstance(values, dict) and values.get("verb") == verb


def options_from_json(kind: type, values: Any, source: str) -> dict[str, Any]:
    """Returns the options of a kind of configuration that JSON holds.

    **Raises:** `ConfigError` naming `source` for anything but such options.
    """
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    if not isinstance(values, dict):
        raise ConfigError(f"{source} holds no configuration: a JSON object is expected.")
    read = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"{source} has the unknown option {name!r}{_nearest(name, fields)}.")
        if not _fits(fields[name], value):
            raise ConfigError(f"{source} has {name} = {value!r}, which is not of its kind.")
        read[name] = _converted(fields[name], value)
    return read


def _read(kind: type[Own], values: Any, source: str) -> Own:
    config: Any = kind(**options_from_json(kind, values, source))
    try:
        config.check()
    except ConfigError as error:
        raise ConfigError(f"{source} cannot be run: {error}") from error
    return config


def check_seeds(config: Any) -> None:
    """Raises `ConfigError` for seeds that JAX does not tell apart, or that are given twice."""
    if config.seeds and config.seed is not None:
        raise ConfigError("--seed and --seeds are both given: write one of them.")
    for name in ("split_seed", "seed"):
        # Not every configuration has a split.
        value = getattr(config, name, None)
        if value is not None and not 0 <= value < SEEDS:
            _refuse(name, value, "at least 0 and below 2³²", "0")
    if any(not 0 <= seed < SEEDS for seed in config.seeds):
        _refuse("seeds", config.seeds, "at least 0 and below 2³²", "0 1 2")
    if len(set(config.seeds)) < len(config.seeds):
        _refuse("seeds", config.seeds, "different from each other", "0 1 2")


def _fits(annotation: Any, value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if annotation == tuple[int, ...]:
        return isinstance(value, list) and all(
            isinstance(item, int) and not isinstance(item, bool) for item in value
        )
    if annotation == tuple[str, ...]:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if annotation is str:
        return isinstance(value, str)
    if annotation is int:
        return whole
    # A whole number may be too large for a float.
    real = isinstance(value, float) or (whole and abs(value) < 2**53)
    if annotation is float:
        return real
    if value is None:
        return True
    if annotation == (int | None):
        return whole
    if annotation == (float | None):
        return real
    return isinstance(value, str)


def _converted(annotation: Any, value: Any) -> Any:
    """Returns a JSON value that fits as the value of a field."""
    if isinstance(value, list):
        return tuple(value)
    if annotation in (float, float | None) and value is not None:
        return float(value)
    return Path(value) if annotation == (Path | None) and value is not None else value


def flag(name: str) -> str:
    """Returns an option as it is written on the command line."""
    return "--" + name.replace("_", "-")


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError`, which calls the value `what`, where it is none of the choices."""
    if value not in choices:
        raise ConfigError(
            f"{what} is {value!r}, but it is one of {', '.join(choices)}{_nearest(value, choices)}."
        )


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; the nearest is {near[0]}" if near else ""


def _refuse(name: str, value: Any, expected: str, example: str) -> None:
    given = " ".join(map(str, value)) if isinstance(value, tuple) else value
    raise ConfigError(
        f"{flag(name)} is {given}, but it must be {expected}: write {flag(name)} {example}."
    )

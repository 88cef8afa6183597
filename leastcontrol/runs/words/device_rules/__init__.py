"""The words of a device's `--rule`."""

from ...options import words_in
from ._rule import AbstractDeviceRuleWord as AbstractDeviceRuleWord

DEVICE_RULES: tuple[type[AbstractDeviceRuleWord], ...] = words_in(
    __name__,
    "least_control",
    "two_phases",
    "physics_aware",
    "node_perturbation",
    "weight_perturbation",
    "simultaneous_perturbation",
)

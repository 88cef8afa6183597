"""The output controller on the host: it gives way, and honours the limit of the control."""

import numpy as np

from leastcontrol import devices
from leastcontrol.devices import Measurement


def test_the_output_controller_gives_way_where_the_error_grows():
    """The output falls when it should rise: whatever the gain, the error only grows."""
    target = np.asarray([[0.9, 0.1]])

    def settle(control):
        return Measurement(control, -5 * control)

    drive = devices.LeakyIntegral(gain=1.0, count=6)
    driven = drive.drive(settle, np.zeros((1, 2)), target, np.eye(2), None)
    one = devices.Proportional(1.0).drive(settle, np.zeros((1, 2)), target, np.eye(2), None)
    assert np.linalg.norm(driven.control) <= np.linalg.norm(one.control)
    right = drive.drive(
        lambda control: Measurement(control, control), np.zeros((1, 2)), target, np.eye(2), None
    )
    assert right.remaining[0] < 0.5 < 1 < one.remaining[0]


def test_a_limit_of_the_control_is_honoured_and_told():
    largest = 0.0

    def settle(control):
        nonlocal largest
        largest = max(largest, np.abs(control).max())
        return Measurement(control, 0.1 * control)

    drive = devices.LeakyIntegral(gain=1.0, leak=0.0, count=5)
    driven = drive.drive(settle, np.zeros((1, 2)), np.asarray([[1.0, 0.0]]), np.eye(2), 0.6)
    assert largest == 0.6
    assert driven.saturated.all()

"""A device behind a pipe: bytes, deaths, and that nothing is written twice."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from leastcontrol import devices
from leastcontrol.devices._frames import receive, send

SERVER = Path(__file__).resolve().parents[2] / "examples" / "device_server" / "server.py"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    journal = tmp_path_factory.mktemp("server") / "journal.json"
    command = (sys.executable, str(SERVER), "--journal", str(journal), "--sizes", "4", "6", "3")
    device = devices.ProcessDevice(command)
    yield device
    device.close()


def test_messages_are_a_line_and_plain_doubles():
    stream = io.BytesIO()
    send(stream, {"call": "x"}, {"a": np.asarray([[1.0, 2.0]]), "b": np.zeros((0, 3))})
    line, _, content = stream.getvalue().partition(b"\n")
    assert line == b'{"call": "x", "arrays": [["a", [1, 2]], ["b", [0, 3]]]}'
    assert content == np.asarray([1.0, 2.0], "<f8").tobytes()
    stream.seek(0)
    values, arrays = receive(stream)
    assert values == {"call": "x"}
    np.testing.assert_array_equal(arrays["a"], [[1.0, 2.0]])
    assert arrays["b"].shape == (0, 3)


@pytest.mark.parametrize(
    "damage",
    [
        b"hello\n",
        b'{"arrays": [["a", [-1]]]}\n',
        b'{"arrays": [["a", [99999999999]]]}\n',
        b"[]\n",
        b'{"call": "x"}\n',
    ],
)
def test_what_is_no_message_is_refused(damage):
    with pytest.raises(devices.DeviceError, match="a message begins with a line of JSON"):
        receive(io.BytesIO(damage))


def test_a_stream_that_ends_inside_a_message_is_an_end():
    for cut in (b"", b'{"arr', b'{"arrays": [["a", [2]]]}\n1234'):
        with pytest.raises(EOFError):
            receive(io.BytesIO(cut))


def test_a_write_is_answered_again_but_done_once():
    device = devices.SimulatedDevice(2, (), 2, devices.Difficulties(), seed=0)
    before = device.read()["inputs to output"]
    requests, answers = io.BytesIO(), io.BytesIO()
    for serial in (1, 1, 2):
        change = {"inputs to output": np.ones((2, 2))}
        send(requests, {"call": "write", "serial": serial}, change)
    send(requests, {"call": "read"}, {})
    send(requests, {"call": "nothing"}, {})
    requests.seek(0)
    devices.serve(device, requests, answers)
    answers.seek(0)
    calls = [receive(answers) for _ in range(5)]
    assert [values["answer"] for values, _ in calls] == ["write"] * 3 + ["read", "error"]
    np.testing.assert_allclose(calls[3][1]["inputs to output"], before + 2)


@pytest.mark.slow
def test_a_training_survives_ten_deaths_and_counts_nothing_twice(served):
    """The weights in the end are the first ones and every change exactly once."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    inputs = np.eye(4)[labels] * 2 + 0.2 * random.standard_normal((60, 4))
    training = devices.DeviceTraining(epochs=2, batch_size=10, learning_rate=0.02)
    killer = KillingDevice(served, every=4, deaths=10)
    learner = devices.DeviceLearner(
        killer, devices.LeastControlRule(), training, inputs, labels, seed=0
    )
    first = trained = devices.TrainedDevice.untrained(killer)
    for _ in range(2):
        trained = learner.epoch(trained, inputs[:20], labels[:20])
    assert served.restarts == killer.deaths == 10
    assert trained.settles == 2 * 6 * 3
    assert len(killer.written) == 2 * 6
    for name, weight in served.read().items():
        total = first.weights[name] + sum(change[name] for change in killer.written)
        np.testing.assert_allclose(weight, total, atol=1e-12)
    assert trained.metrics[1].loss < trained.metrics[0].loss


class KillingDevice(devices.AbstractDevice):
    """Kills the process before some requests, a write among them, and notes what was asked."""

    def __init__(self, device, every, deaths):
        self.device, self.every, self.most = device, every, deaths
        self.deaths, self.requests, self.written = 0, 0, []

    def _perhaps_kill(self):
        self.requests += 1
        if self.requests % self.every == 0 and self.deaths < self.most:
            self.deaths += 1
            self.device.process.kill()
            self.device.process.wait()

    def describe(self):
        return self.device.describe()

    def settle(self, inputs, control):
        self._perhaps_kill()
        return self.device.settle(inputs, control)

    def read(self):
        return self.device.read()

    def write(self, changes):
        self._perhaps_kill()
        self.written.append(changes)
        self.device.write(changes)


def test_a_program_that_is_none_is_refused_with_a_sentence():
    with pytest.raises(devices.DeviceError, match="cannot be started"):
        devices.ProcessDevice(("/nowhere/to/be/seen",))
    with pytest.raises(devices.DeviceError, match="ended or did not answer describe 2 times"):
        devices.ProcessDevice((sys.executable, "-c", ""), attempts=2)

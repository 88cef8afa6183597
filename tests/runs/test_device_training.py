"""The verb `device`: words, run folder, resuming, and what is refused."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from leastcontrol import devices, report
from leastcontrol.cli._perform import perform
from leastcontrol.cli.verbs.device import Device, with_command
from leastcontrol.runs.device import run_device
from leastcontrol.runs.device_config import DeviceConfig
from leastcontrol.runs.words.device_rules import DEVICE_RULES

SERVER = Path(__file__).resolve().parents[2] / "examples" / "device_server" / "server.py"
SHORT = DeviceConfig.of(hidden=(12,), epochs=2, batch_size=128, mismatch=0.2)


class Stopped(Exception):
    """Ends a run where a test wants it to end."""


def test_a_run_is_a_folder_and_goes_on_where_it_stopped(tmp_path):
    seen = []

    def stop(seed, metrics):
        raise Stopped

    with pytest.raises(Stopped):
        run_device(SHORT, tmp_path / "run", report=stop)
    summary = run_device(
        SHORT, tmp_path / "run", resume=True, report=lambda seed, m: seen.append(m.epoch)
    )
    assert seen == [2]
    assert summary["settles"] == 2 * 10 * 3
    assert sum(summary["certificate"]["counts"].values()) == 359 == summary["samples"]
    assert set(summary["certificate"]["counts"]) == set(devices.RESULTS)
    assert 0.2 < summary["test_accuracy"] <= 1
    assert 0 < summary["alignment"]["column_space"] <= 1
    assert summary["mismatch"]["response"] > 0.1
    written = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert written["test_accuracy"] == summary["test_accuracy"]
    # A finished run is only looked up.
    assert run_device(SHORT, tmp_path / "run", resume=True)["seconds"] == written["seconds"]
    runs, _ = report.read([tmp_path / "run"])
    assert len(runs[0].trials[0].epochs["accuracy"]) == 2
    page = report.page(runs, [], [])
    assert "noise-limited" in page
    faulty = dict(written, faults=["Output 3 is <b>frozen</b>."])
    trial = dataclasses.replace(runs[0].trials[0], summary=faulty)
    page = report.page([dataclasses.replace(runs[0], trials=(trial,))], [], [])
    assert "Output 3 is &lt;b&gt;frozen" in page


@pytest.mark.slow
def test_a_simulated_device_goes_on_in_the_same_bits(tmp_path):
    """With noise, drift and asymmetric writes, which would all be others if they began again."""
    config = SHORT.with_options(drift=5.0, write_asymmetry=0.2, write_step=0.01, dead_units=1)

    def stop(seed, metrics):
        raise Stopped

    straight = run_device(config, tmp_path / "straight")
    with pytest.raises(Stopped):
        run_device(config, tmp_path / "run", report=stop)
    resumed = run_device(config, tmp_path / "run", resume=True)
    for name in ("test_nll", "certificate", "write_error", "remaining_error"):
        assert resumed[name] == straight[name]
    weights = [
        next((tmp_path / folder).rglob("last*")).read_bytes() for folder in ("straight", "run")
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_the_summary_says_what_limits_and_how_feedback_lies(tmp_path, capsys):
    options = ["--hidden", "8", "--epochs", "1", "--batch-size", "256", "--noise", "0.5"]
    assert perform(["device", *options, "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "feedback to the true response" in said
    assert "Noise changes the answer of" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "settles"),
    [(rule.word, n) for rule, n in zip(DEVICE_RULES, (3, 4, 1, 2, 2, 2), strict=True)],
)
def test_a_rule_is_chosen_by_its_word(rule, settles, tmp_path):
    more = {"first_responses": "twin"} if rule == "two-phases" else {}
    config = SHORT.with_options(rule=rule, epochs=1, **more)
    summary = run_device(config, tmp_path / "run")
    assert summary["settles"] == 10 * settles + len(more)


def test_a_process_is_named_by_its_command(tmp_path):
    assert with_command(["--device", "process:a b", "--out", "x"]) == with_command(
        ["--device=process:a b", "--out", "x"]
    )
    command = f"{sys.executable} {SERVER} --sizes 64 8 10"
    verb = Device.parse(
        ["--device", f"process:{command}", "--epochs", "1", "--out", str(tmp_path / "run")]
    )
    assert verb.config.device.device_command == command
    summary = run_device(verb.config, tmp_path / "run")
    assert summary["settles"] == 20 * 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--device", "process"], "does not say which program"),
        (["--device", "process:python 'x"], "quotes do not match"),
        (["--mismatch", "-1"], "--mismatch is -1"),
        (["--device", "process:x", "--mismatch", "0.1"], "--device simulated"),
        (["--device", "process:/nowhere/at/all"], "cannot be started"),
        (["--device", f"process:{sys.executable} {SERVER} --sizes 5 8 10"], "64 inputs"),
        (["--device", "ngspice"], "ngspice is not installed"),
        (["--rule", "physics-aware", "--twin-knowledge", "0.9", "--device", "ngspice"], "mismatch"),
        (["--rule", "physics-aware", "--feedback", "random"], "--rule least-control"),
        (["--device", "ngspice", "--offset", "2"], "--offset is 2"),
        (["--device", "ngspice", "--mismatch", "0.1"], "--device simulated"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_sentence(
    arguments, sentence, tmp_path, capsys, monkeypatch
):
    # Without the programs of this machine.
    monkeypatch.setenv("PATH", str(tmp_path))
    assert perform(["device", "--out", str(tmp_path / "run"), *arguments]) == 2
    said = capsys.readouterr()
    assert sentence in " ".join((said.err + said.out).split())
    assert "Traceback" not in said.err

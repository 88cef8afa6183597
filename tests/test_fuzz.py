"""The command line on random arguments, configurations and damaged files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"


@pytest.mark.slow
def test_what_is_wrong_at_random_ends_with_one_sentence(tmp_path):
    # Other cases than those whose faults were mended first.
    command = ["--count", "150", "--seed", "5000", "--json", str(tmp_path / "fuzz.json")]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *command], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads((tmp_path / "fuzz.json").read_text(encoding="utf-8"))
    assert outcome["cases"] == 150
    assert set(outcome["kinds"]) > {"arguments", "configuration", "bomb", "cut", "flip", "json"}
    assert outcome["faults"] == []

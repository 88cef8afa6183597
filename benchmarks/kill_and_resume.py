"""Kills a training at random moments, resumes it each time, and compares what it ends in.

    python benchmarks/kill_and_resume.py --kills 50

trains a small network on digits once without interruption, then again under SIGKILLs at random
moments, every time going on with `leastcontrol train --resume`. Weights, training state and
figures, wall times apart, must be the same to the last bit, and no unfinished file may remain.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from leastcontrol.training import read_sealed

TIMES = ("step_ms", "seconds")


def start(out: Path, epochs: int) -> subprocess.Popen[str]:
    """Starts a training that goes on with what its folder holds."""
    options = f"--rule backpropagation --hidden 8 --epochs {epochs} --learning-rate 1e-2 --resume"
    return subprocess.Popen(
        [sys.executable, "-m", "leastcontrol.cli", "train", *options.split(), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ending(folder: Path) -> dict[str, object]:
    """Returns what a finished run leaves, wall times apart."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, object] = {
        "metrics": [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    }
    for path in sorted((folder / "checkpoints").iterdir()):
        state = path.name.startswith("state-")
        found[path.name] = (
            read_sealed(path, "training state").content if state else path.read_bytes()
        )
    found["files"] = sorted(path.name for path in folder.iterdir())
    return found


def main() -> int:
    """Runs the comparison and returns its exit status."""
    parser = argparse.ArgumentParser(description="Kill a training at random and resume it.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--longest", type=float, default=10.0, help="seconds to a kill, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _, error = (whole := start(root / "whole", options.epochs)).communicate()
        if whole.returncode != 0:
            print(error, file=sys.stderr)
            return 1
        killed = rounds = 0
        while killed < options.kills:
            rounds += 1
            out = root / f"run-{rounds}"
            while True:
                process = start(out, options.epochs)
                seconds = moments.uniform(0.1, options.longest) if killed < options.kills else None
                try:
                    process.wait(timeout=seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                _, error = process.communicate()
                if process.returncode == 0:
                    break
                if process.returncode > 0:
                    print(error, file=sys.stderr)
                    return 1
                killed += 1
            if ending(out) != ending(root / "whole"):
                print(f"Round {rounds} ended in something else than the uninterrupted run.")
                return 1
            print(f"{killed} kills in {rounds} runs, each of which ended in the same bits.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

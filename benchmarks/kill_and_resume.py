"""Kills a training at random moments, resumes it each time, and compares what it ends in.

    python benchmarks/kill_and_resume.py --kills 50 --json results/kill-and-resume.json

trains a small network on digits once without interruption, then again under SIGKILLs at random
moments, every time going on with `leastcontrol train --resume`. Of four kills one comes at any
moment from the start of its process, three from when that has saved an epoch, since a start takes
longer than many epochs. Weights, training state and
figures, wall times apart, must be the same to the last bit, and no unfinished file may remain.

Then trainings are stopped (SIGSTOP), their folder is moved and another run put in its place, and
they continue (SIGCONT): each must end with a sentence, leave that run as it is byte for byte, and
go on where its folder is now.

The file counts the kills before the first epoch was saved, between two epochs of a run and after
the last one, and the folders that were damaged or ended in anything else.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _origin import origin

from leastcontrol.files import write_json
from leastcontrol.runs.folders import read_metrics
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
    outcome: dict[str, object] = {
        "metrics": [
            {k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(folder)
        ]
    }
    for path in sorted((folder / "checkpoints").iterdir()):
        state = path.name.startswith("state-")
        outcome[path.name] = (
            read_sealed(path, "training state").content if state else path.read_bytes()
        )
    outcome["files"] = sorted(path.name for path in folder.iterdir())
    return outcome


def moment(folder: Path) -> str:
    """Returns in which part of a run its process was killed."""
    if (folder / "summary.json").exists():
        return "after the last epoch"
    begun = (folder / "metrics.jsonl").exists()
    return "between epochs" if begun else "before the first epoch was saved"


def wait_for_an_epoch(folder: Path, process: subprocess.Popen[str]) -> None:
    """Waits until a process has saved an epoch, or has ended."""
    states = folder / "checkpoints"
    before = sorted(states.glob("state-*"))
    while process.poll() is None and sorted(states.glob("state-*")) == before:
        time.sleep(0.01)


def contents(folder: Path) -> dict[str, bytes]:
    """Returns every file of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def move(
    root: Path, number: int, moments: random.Random, options: argparse.Namespace
) -> Path | None:
    """Stops a training, puts another run in the place of its folder, and lets it continue.

    Returns the folder that was moved, after its run was resumed there; `None` where the training
    did not end with the sentence that it should.
    """
    place, moved = root / f"place-{number}", root / f"moved-{number}"
    process = start(place, options.epochs)
    wait_for_an_epoch(place, process)
    time.sleep(moments.uniform(0.0, 0.3))
    process.send_signal(signal.SIGSTOP)
    place.rename(moved)
    shutil.copytree(root / "whole", place)
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate()
    if process.returncode != 2 or "was moved, removed or replaced" not in error:
        print(f"The training ended with {process.returncode}: {error}", file=sys.stderr)
        return None
    _, error = (again := start(moved, options.epochs)).communicate()
    if again.returncode != 0:
        print(error, file=sys.stderr)
        return None
    return moved


def main() -> int:
    """Runs the comparison and returns its exit status."""
    parser = argparse.ArgumentParser(description="Kill a training at random and resume it.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--moves", type=int, default=10, help="folders that are moved")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--longest", type=float, default=5.0, help="seconds to a kill, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, help="file for the counts")
    options = parser.parse_args()
    made, began = origin(), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        counts = compare(Path(name), options)
    if counts is None:
        return 1
    print(
        f"{counts['kills']} kills in {counts['runs']} runs, {counts['moves']} folders moved: "
        f"{counts['different']} ended in other bits than the uninterrupted run, and "
        f"{counts['foreign']} folders of another run were written."
    )
    if options.json is not None:
        seconds = time.perf_counter() - began
        write_json(options.json, {**counts, "seconds": seconds, **made})
    return 1 if counts["different"] or counts["foreign"] else 0


def compare(root: Path, options: argparse.Namespace) -> dict[str, object] | None:
    """Returns the counts, or `None` where a training failed by itself."""
    moments = random.Random(options.seed)
    _, error = (whole := start(root / "whole", options.epochs)).communicate()
    if whole.returncode != 0:
        print(error, file=sys.stderr)
        return None
    expected = ending(root / "whole")
    killed: dict[str, int] = {}
    runs = different = 0
    while sum(killed.values()) < options.kills:
        runs += 1
        out = root / f"run-{runs}"
        while True:
            process = start(out, options.epochs)
            if sum(killed.values()) < options.kills:
                if moments.random() < 0.75:
                    wait_for_an_epoch(out, process)
                try:
                    process.wait(timeout=moments.uniform(0.0, options.longest))
                except subprocess.TimeoutExpired:
                    process.kill()
            _, error = process.communicate()
            if process.returncode == 0:
                break
            if process.returncode > 0:
                print(error, file=sys.stderr)
                return None
            killed[moment(out)] = killed.get(moment(out), 0) + 1
        different += ending(out) != expected
        print(f"{sum(killed.values())} kills in {runs} runs", flush=True)
    foreign = 0
    for number in range(options.moves):
        moved = move(root, number, moments, options)
        if moved is None:
            return None
        different += ending(moved) != expected
        foreign += contents(root / f"place-{number}") != contents(root / "whole")
        print(f"{number + 1} folders moved", flush=True)
    return {
        "moves": options.moves,
        "foreign": foreign,
        "kills": sum(killed.values()),
        "runs": runs,
        "different": different,
        "moments": killed,
        "epochs": options.epochs,
        "longest": options.longest,
        "seed": options.seed,
    }


if __name__ == "__main__":
    sys.exit(main())

"""Times how long a person waits for the first word of help and for the first steps of a training.

    python benchmarks/start_up.py --repeats 5 --json results/start-up.json

Each is a process of its own, as in a terminal: `leastcontrol --help` until it has ended, and a
training on digits with the options that are the default until its first epoch is reported, which is
the compilation and 25 steps; then that with what JAX has kept of an earlier one's compilations
(`JAX_COMPILATION_CACHE_DIR`). Wall time is what a person waits, on a machine that does nothing
else; the processor's time is told beside it, since on a busy one only that says anything.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _origin import origin

from leastcontrol.files import write_json

# Seconds of wall time that are allowed.
FIRST_STEP = 6.0
# Where JAX keeps compilations, and from how many seconds on.
KEPT = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
COMMAND = [sys.executable, "-m", "leastcontrol.cli"]


def help_seconds() -> None:
    """Asks for help."""
    subprocess.run([*COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)


def first_step(kept: Path | None = None) -> None:
    """Trains until the first epoch is reported, with compilations that are kept in a folder."""
    environment = {n: v for n, v in os.environ.items() if n not in KEPT}
    if kept is not None:
        environment |= {KEPT[0]: str(kept), KEPT[1]: "0"}
    with tempfile.TemporaryDirectory() as name:
        options = ["train", "--epochs", "1000000", "--out", str(Path(name) / "run")]
        process = subprocess.Popen(
            [*COMMAND, *options],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        process.kill()
        process.communicate()
    if "epoch" not in line:
        raise RuntimeError(f"The training said {line!r} and no epoch.")


def processor_seconds() -> float:
    """Returns the processor's time that the processes so far have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(name: str, bar: float, start: Callable[[], None], repeats: int) -> dict[str, Any]:
    """Returns the figures of one case, and prints them."""
    # The first one reads what is then in the machine's memory, and compiles what is then kept.
    start()
    wall, processor = [], []
    for _ in range(repeats):
        began, before = time.perf_counter(), processor_seconds()
        start()
        wall.append(time.perf_counter() - began)
        processor.append(processor_seconds() - before)
    seconds, used = statistics.median(wall), statistics.median(processor)
    print(
        f"{name}: {seconds:.2f} s ({min(wall):.2f} to {max(wall):.2f}), {used:.2f} s of the "
        f"processor; at most {bar} s"
    )
    return {
        "seconds": seconds,
        "seconds_range": [min(wall), max(wall)],
        "processor_seconds": used,
        "bar_seconds": bar,
    }


def main() -> int:
    """Prints the figures; the exit status says whether they are within their bars."""
    parser = argparse.ArgumentParser(description="Times the start of the command line.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        cases: dict[str, tuple[float, Callable[[], None]]] = {
            "help": (0.5, help_seconds),
            "first training step": (FIRST_STEP, first_step),
            "first training step, compiled before": (FIRST_STEP, lambda: first_step(Path(kept))),
        }
        figures = {
            name: timed(name, bar, start, options.repeats) for name, (bar, start) in cases.items()
        }
    if options.json is not None:
        load = {"load": os.getloadavg()[0], "repeats": options.repeats}
        write_json(options.json, {**figures, **load, **origin()})
    return int(any(row["seconds"] > row["bar_seconds"] for row in figures.values()))


if __name__ == "__main__":
    sys.exit(main())

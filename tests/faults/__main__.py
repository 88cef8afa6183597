"""Puts one-line faults into copies of the package, and says which tests see them.

    python tests/faults                                  every fault; half an hour or more
    python tests/faults --only "recurrent: the weights are transposed"
    python tests/faults --root ../other --json faults.json

A fault is tried on a temporary copy of a checkout: first against the test files that it names, then
against all others. It counts as found where a test fails that passes without it, which is tried at
the end for all of these tests at once.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from named_faults import FAULTS, Fault

# At the top of a checkout; no test reads them.
LEFT_OUT = (".git", ".venv", ".hypothesis", "build", "dist", "runs", "site")
VERSIONS = ("pytest", "jax", "jaxlib", "equinox", "optimistix", "optax", "numpy")
# pytest's exit statuses.
PASSED, FAILED, NONE_COLLECTED = 0, 1, 5
# What is under way, to be ended with this process.
RUNNING: set[subprocess.Popen[str]] = set()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run of pytest ended.

    * `result`: "passed", "failed", "timeout", or "broken" where pytest could not run its tests.
    * `by`: the tests that failed. `seconds`: wall time.
    * `said`: the end of what pytest printed.
    """

    result: str
    by: tuple[str, ...]
    seconds: float
    said: str


@dataclasses.dataclass(frozen=True)
class Copy:
    """A copy of a checkout whose package is changed and whose tests are run."""

    root: Path

    @staticmethod
    @contextlib.contextmanager
    def of(root: Path) -> Iterator["Copy"]:
        """Copies a checkout into a temporary folder, which is removed in the end."""
        with tempfile.TemporaryDirectory(prefix="leastcontrol-faults-") as folder:
            copy = Path(folder) / "checkout"
            shutil.copytree(
                root,
                copy,
                ignore=lambda folder, _: ["__pycache__", *LEFT_OUT * (Path(folder) == root)],
            )
            # Data that tests look for beside a checkout.
            if (root.parent / "shared").is_dir():
                (copy.parent / "shared").symlink_to(root.parent / "shared")
            yield Copy(copy)

    @property
    def tests(self) -> Path:
        """The folder of the tests."""
        return self.root / "tests"

    @contextlib.contextmanager
    def with_fault(self, fault: Fault) -> Iterator[None]:
        """Holds a fault in the package."""
        (path,) = fault.places(self.root / "leastcontrol")
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(text, encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Returns the variables under which the copy's package is the one that is imported."""
        threads = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return {
            **dict.fromkeys(threads, "1"),
            **os.environ,
            "PYTHONPATH": str(self.root),
            # A fault may come and go within the resolution of the times of files.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def check(self) -> None:
        """Raises `RuntimeError` where another package would be imported."""
        command = [sys.executable, "-c", "import leastcontrol; print(leastcontrol.__file__)"]
        location = subprocess.run(
            command, cwd=self.root, env=self.environment(), capture_output=True, text=True
        ).stdout.strip()
        if not Path(location).is_relative_to(self.root):
            raise RuntimeError(
                f"The package of {self.root} is not imported, but {location or 'none'}."
            )

    def run(self, tests: Sequence[str], limit: float, *, first_alone: bool = True) -> Outcome:
        """Runs tests until one of them fails, or all of them, for so many seconds at most."""
        options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", *(["-x"] * first_alone)]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A group of its own, so that whatever it starts can be ended with it.
            start_new_session=True,
        )
        RUNNING.add(process)
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            end(process)
            said, _ = process.communicate()
            return Outcome("timeout", (), time.perf_counter() - began, said[-2000:])
        finally:
            RUNNING.discard(process)
        seconds = time.perf_counter() - began
        by = tuple(
            line.partition(" ")[2].partition(" - ")[0]
            for line in said.splitlines()
            if line.startswith(("FAILED ", "ERROR "))
        )
        if process.returncode == FAILED:
            return Outcome("failed", by, seconds, said[-2000:])
        result = "passed" if process.returncode in (PASSED, NONE_COLLECTED) else "broken"
        return Outcome(result, (), seconds, said[-2000:])


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def tried(
    fault: Fault, copy: Copy, *, limit: float, rest_limit: float, rest: bool
) -> dict[str, Any]:
    """Tries one fault and returns its row of the results."""
    named = [str(path.relative_to(copy.root)) for path in fault.files(copy.tests)]
    every = sorted(str(path.relative_to(copy.root)) for path in copy.tests.rglob("test_*.py"))
    (place,) = fault.places(copy.root / "leastcontrol")
    with copy.with_fault(fault):
        outcome, among = copy.run(named, limit), "named tests"
        seconds = outcome.seconds
        if rest and outcome.result == "passed":
            outcome = copy.run([test for test in every if test not in named], rest_limit)
            among, seconds = "all tests", seconds + outcome.seconds
    row = {
        **{"name": fault.name, "room": fault.room, "file": str(place.relative_to(copy.root))},
        **{"old": fault.old, "new": fault.new, "tests": named},
        **{"result": outcome.result, "found": outcome.result == "failed", "among": among},
        **{"by": outcome.by[0] if outcome.by else None, "seconds": round(seconds, 1)},
    }
    return {**row, "said": outcome.said} if outcome.result in ("broken", "timeout") else row


def checked(rows: list[dict[str, Any]], copy: Copy, limit: float) -> list[dict[str, Any]]:
    """Returns rows in which a fault is found only by a test that passes without the fault."""
    # With its parameters, a test may have a name that the command line would take apart.
    suspects = sorted({row["by"].partition("[")[0] for row in rows if row["by"]})
    if not suspects:
        return rows
    outcome = copy.run(suspects, limit, first_alone=False)
    if outcome.result == "timeout":
        raise RuntimeError("The tests that found faults did not end without them: allow more time.")
    return [
        {**row, "result": "fails without it", "found": False} if row["by"] in outcome.by else row
        for row in rows
    ]


def is_settled(fault: Fault, row: dict[str, Any] | None, named_only: bool) -> bool:
    """Says whether the row of a fault answers what is asked now, so that it is not tried again."""
    if row is None or (row["old"], row["new"]) != (fault.old, fault.new):
        return False
    passed = row["result"] == "passed" and (named_only or row["among"] == "all tests")
    return row["found"] or passed


def commit(root: Path) -> str | None:
    """Returns the commit of a checkout, with a mark where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return answer.stdout.strip() or None


def write(path: Path | None, result: dict[str, Any]) -> None:
    """Writes the results whole or not at all."""
    if path is not None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(
            json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        temporary.replace(path)


def said_of(row: dict[str, Any]) -> str:
    """Returns a line on a fault."""
    if row["found"]:
        return f"found      {row['seconds']:6.0f} s  {row['name']}: {row['by']}"
    reason = "" if row["result"] == "passed" else f" ({row['result']})"
    return f"NOT FOUND  {row['seconds']:6.0f} s  {row['name']}, by the {row['among']}{reason}"


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.split("\n")[0])
    checkout = Path(__file__).resolve().parents[2]
    parser.add_argument("--only", metavar="NAME", action="append", help="try this fault alone")
    parser.add_argument("--root", type=Path, default=checkout, help="checkout (default: this one)")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="results; those of the same commit that FILE holds already are kept",
    )
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time (default: 1)")
    parser.add_argument("--named-only", action="store_true", help="run no other tests than named")
    parser.add_argument(
        "--limit", type=float, default=600, metavar="SECONDS", help="for named tests (default: 600)"
    )
    parser.add_argument(
        "--rest-limit",
        type=float,
        default=3600,
        metavar="SECONDS",
        help="for all other tests (default: 3600)",
    )
    parser.add_argument("--check", action="store_true", help="only see that every fault fits")
    options = parser.parse_args()
    options.root = options.root.resolve()
    if not (options.root / "leastcontrol").is_dir() or not (options.root / "tests").is_dir():
        parser.error(f"{options.root} is no checkout, for it lacks leastcontrol/ or tests/.")
    names = [fault.name for fault in FAULTS]
    for name in options.only or ():
        if name not in names:
            parser.error(f"No fault is called {name!r}: give one of\n  " + "\n  ".join(names))
    if options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}, but at least 1 fault is tried at a time.")
    return options


def misfits(root: Path) -> list[str]:
    """Returns a sentence for each fault that a checkout has no place or no tests for."""
    sentences = []
    for fault in FAULTS:
        places = fault.places(root / "leastcontrol")
        if len(places) != 1:
            sentences.append(f"{fault.name}: its text stands {len(places)} times and not once.")
        if not fault.files(root / "tests"):
            sentences.append(f"{fault.name}: there is no {' or '.join(fault.tests)}.")
    return sentences


def main() -> None:
    """Tries the faults that the command line asks for."""
    options = arguments()
    # So that what is under way ends, and copies are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wrong = misfits(options.root)
    if wrong:
        sys.exit("\n".join(wrong))
    if options.check:
        print(f"{len(FAULTS)} faults fit {options.root}.")
        return
    known: dict[str, dict[str, Any]] = {}
    if options.json is not None and options.json.is_file():
        before = json.loads(options.json.read_text(encoding="utf-8"))
        if before["commit"] != commit(options.root):
            sys.exit(f"{options.json} is of the commit {before['commit']}: name another file.")
        known = {row["name"]: row for row in before["faults"]}
    chosen = [
        fault
        for fault in FAULTS
        if (
            fault.name in options.only
            if options.only
            else not is_settled(fault, known.get(fault.name), options.named_only)
        )
    ]

    def result() -> dict[str, Any]:
        rows = [known[fault.name] for fault in FAULTS if fault.name in known]
        return {
            "commit": commit(options.root),
            "found": sum(row["found"] for row in rows),
            "tried": len(rows),
            "seconds": round(sum(row["seconds"] for row in rows), 1),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in VERSIONS},
            },
            "faults": rows,
        }

    with contextlib.ExitStack() as held:
        copies: queue.Queue[Copy] = queue.Queue()
        for _ in range(options.jobs):
            copies.put(held.enter_context(Copy.of(options.root)))
        copies.queue[0].check()

        def attempt(fault: Fault) -> dict[str, Any]:
            copy = copies.get()
            try:
                return tried(
                    fault,
                    copy,
                    limit=options.limit,
                    rest_limit=options.rest_limit,
                    rest=not options.named_only,
                )
            finally:
                copies.put(copy)

        held.callback(lambda: [end(process) for process in tuple(RUNNING)])
        pool = concurrent.futures.ThreadPoolExecutor(options.jobs)
        held.callback(pool.shutdown, wait=False, cancel_futures=True)
        futures = [pool.submit(attempt, fault) for fault in chosen]
        for future in concurrent.futures.as_completed(futures):
            row = future.result()
            known[row["name"]] = row
            print(said_of(row), flush=True)
            write(options.json, result())
        for row in checked(list(known.values()), copies.get(), options.rest_limit):
            if row != known[row["name"]]:
                known[row["name"]] = row
                print(said_of(row), flush=True)
        write(options.json, result())
    print(f"{result()['found']} of {len(known)} faults are found.")


if __name__ == "__main__":
    main()

"""Runs scripts cell by cell and stores what each cell prints.

Each script runs in a process of its own, because some choose the precision of all of JAX. What is
stored names the checksum of the script that printed it, so that a page never shows the output of
another one. `differences` compares it with what the script prints by now, because the library may
have changed since.
"""

import contextlib
import io
import itertools
import json
import multiprocessing
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from leastcontrol.files import write_json
from leastcontrol.runs.origin import commit, versions

from .script import Script

COMMAND = "make notebooks"
FILE = "results/examples.json"
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
TOLERANCE = 0.05
"""Relative difference of a number that another machine may make, besides that of rounding."""


def run_cells(script: Script) -> list[str]:
    """Runs the cells of a script one after another and returns what each prints."""
    space: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for cell in script.cells:
        text = io.StringIO()
        if not cell.is_text:
            # So many empty lines that a traceback has the line numbers of the file.
            source = "\n" * (cell.line - 1) + cell.source
            with contextlib.redirect_stdout(text):
                exec(compile(source, f"examples/{script.name}.py", "exec"), space)
        printed.append(text.getvalue())
    return printed


def store(root: Path, scripts: Sequence[Script]) -> None:
    """Runs scripts and stores what they print, beside what is stored of the others."""
    # Before anything is written, which would count as a change of the checkout.
    origin = {"commit": commit(), "versions": versions()}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for script in scripts:
            began = time.perf_counter()
            printed = processes.submit(run_cells, script).result()
            print(f"{script.name}: {time.perf_counter() - began:.0f} s", flush=True)
            entry = {"sha256": script.digest, "printed": printed, **origin}
            # After each, so that a fault in one loses nothing of the others.
            stored = {**read(root), script.name: entry}
            kept = {name: stored[name] for name in sorted(stored)}
            write_json(root / FILE, {"examples": kept, "command": COMMAND})


def read(root: Path) -> Mapping[str, Any]:
    """Reads what is stored, by the scripts' names; nothing if there is no file."""
    path = root / FILE
    return json.loads(path.read_text(encoding="utf-8"))["examples"] if path.exists() else {}


def outputs_of(script: Script, stored: Mapping[str, Any]) -> list[str] | None:
    """Returns what the cells of a script print, or `None` if that is not stored of this text."""
    entry = stored.get(script.name)
    return entry["printed"] if entry and entry["sha256"] == script.digest else None


def differences(stored: str, printed: str) -> list[str]:
    """Lists the lines that differ in words, or in numbers by more than rounding and `TOLERANCE`.

    A number may differ by two units of its last digit.
    """
    return [
        f"stored: {before!r}, printed: {now!r}"
        for before, now in itertools.zip_longest(stored.splitlines(), printed.splitlines())
        if before is None or now is None or not _agree(before, now)
    ]


def _agree(stored: str, printed: str) -> bool:
    if NUMBER.sub("#", stored) != NUMBER.sub("#", printed):
        return False
    return all(
        abs(float(before) - float(now)) <= TOLERANCE * abs(float(before)) + 2 * _last_digit(before)
        for before, now in zip(NUMBER.findall(stored), NUMBER.findall(printed), strict=True)
    )


def _last_digit(number: str) -> float:
    """Computes the unit of the last digit of a number as it is written."""
    mantissa, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))

"""The table of results in the README and in the documentation, made from the runs' summaries.

    python -m tables.accuracy           # rewrites the table where it stands
    python -m tables.accuracy --check   # exits with 1 if it would change anything

A row is one run of several seeds: `results/NAME.json`, the file that `leastcontrol train --results`
wrote. `ROWS` says which names there are and, from the registry, what the paper reports for each;
`FEEDBACK_ROWS` says it of the second table, of deep feedback control, and `DEPTH_ROWS` which runs
stand on the page of depth and space, without numbers of a paper. A run whose file is missing
has no row; a file that does not hold the run that its name promises is refused.
"""

import argparse
import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from leastcontrol.papers import registry
from leastcontrol.papers.expectations import Published
from leastcontrol.papers.registry import (
    DEEP_TABLE,
    FASHION_TABLE,
    FEEDFORWARD_TABLE,
    RECURRENT_TABLE,
    Experiment,
)
from leastcontrol.runs.config import RunConfig

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"
PAGES = (Path("README.md"), Path("docs/results.md"))
# The page that also prints the commands.
COMMANDS_PAGE = Path("docs/results.md")
DEPTH_PAGE = Path("docs/depth-and-space.md")


class TablesError(ValueError):
    """A summary or a page cannot be used; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """A row of the table and what the paper reports for it.

    **Arguments:**

    * `name`: of the file, without its suffix.
    * `system`, `rule`: as the reader sees them.
    * `words`: the options that the run must have had.
    * `percent`, `deviation`: test accuracy in %: over three seeds in arXiv 2207.01332, table 1; the
      authors of arXiv 2204.07249 report no deviation, and of some rules nothing.
    """

    name: str
    system: str
    rule: str
    words: dict[str, Any]
    percent: float | None
    deviation: float | None

    def published(self) -> str:
        """Returns what the paper reports, for the reader."""
        if self.percent is None:
            return "–"
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return f"{self.percent:.2f}{spread}"


SYSTEMS = ((FEEDFORWARD_TABLE, "feedforward 2×256"), (RECURRENT_TABLE, "RNN 256"))
RULES = {
    "backpropagation": "backpropagation",
    "recurrent-backpropagation": "recurrent backpropagation",
    "dynamic-inversion": "least control, dynamic inversion",
    "automatic": "least control, automatic",
    "energy": "least control, energy",
    "kolen-pollack": "least control, Kolen–Pollack feedback",
    "linear-feedback": "least control, linear feedback",
}


def _row(experiment: Experiment, system: str, row: registry.Row) -> Expected:
    (published,) = row.expectations
    assert isinstance(published, Published)
    assert published.spread is not None
    config = row.config.as_json()
    words = {name: config[name] for name in ("data", "system", "hidden", "rule")}
    if config["controller"] != RunConfig.controller:
        words["controller"] = config["controller"]
    return Expected(
        f"{experiment.name}-{row.name}",
        system,
        RULES[row.name],
        words,
        published.value,
        published.spread,
    )


# So small a leak brings targets to a probability of 0.97 on average at rest under first weights.
STRONG = Expected(
    "mnist-feedforward-strong-control",
    "feedforward 2×256",
    "least control, strong",
    {
        "data": "mnist",
        "system": "feedforward",
        "hidden": [256, 256],
        "rule": "least-control",
        "controller": "automatic",
        "alpha": 1e-4,
        "alpha_convention": "batch-mean",
    },
    None,
    None,
)
ROWS = (
    *(_row(experiment, system, row) for experiment, system in SYSTEMS for row in experiment.rows),
    STRONG,
)


DATA = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
CONTROL = {"rule": "deep-feedback-control"}
# By the end of the file's name: rule, what the run must have had, and the registry's row with what
# the authors report, if they do.
FEEDBACK_RULES = (
    ("dfc-backpropagation", "backpropagation", {"rule": "backpropagation"}, "backpropagation"),
    (
        "dfc-nudged",
        "deep feedback control, nudged",
        {**CONTROL, "teaching": "nudged", "phase": "steady-state"},
        "nudged",
    ),
    (
        "dfc-strong",
        "strong feedback that learns",
        {**CONTROL, "teaching": "strong", "phase": "steady-state"},
        "strong-two-phases",
    ),
    (
        "single-phase",
        "strong feedback, simulated single phase",
        {**CONTROL, "teaching": "strong", "feedback_learning": "single-phase"},
        "strong-single-phase",
    ),
    (
        "dfc-direct-feedback-alignment",
        "direct feedback alignment",
        {"rule": "direct-feedback-alignment"},
        None,
    ),
)


def _feedback_row(
    experiment: Experiment, data: str, end: str, rule: str, words: dict[str, Any], row: str | None
) -> Expected:
    percent = None
    if row is not None:
        (published,) = next(own for own in experiment.rows if own.name == row).expectations
        assert isinstance(published, Published)
        percent = published.value
    words = {"data": data, "system": "feedforward", "hidden": [256, 256, 256], **words}
    return Expected(f"{data}-{end}", DATA[data], rule, words, percent, None)


FEEDBACK_ROWS = tuple(
    _feedback_row(experiment, data, *own)
    for experiment, data in ((DEEP_TABLE, "mnist"), (FASHION_TABLE, "fashion-mnist"))
    for own in FEEDBACK_RULES
)


def _depth_row(system: str, name: str, rule: str) -> Expected:
    words = {"data": "fashion-mnist", "system": system}
    if rule in ("automatic", "dynamic-inversion"):
        words |= {"rule": "least-control", "controller": rule}
    else:
        words["rule"] = rule
    if system == "deep-equilibrium":
        words["cell"] = "swapped"
    return Expected(f"fashion-mnist-{system}-{rule}", name, RULES[rule], words, None, None)


DEPTH_ROWS = tuple(
    _depth_row(system, name, rule)
    for system, name, rules in (
        ("convolutional", "convolutional", ("backpropagation", "dynamic-inversion")),
        ("residual", "residual", ("backpropagation", "automatic")),
        (
            "deep-equilibrium",
            "deep equilibrium, swapped cell",
            ("recurrent-backpropagation", "dynamic-inversion"),
        ),
    )
    for rule in rules
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What a run of several seeds has shown; shares lie between 0 and 1.

    `error_ratio` and the condition of learned and of `random` feedback are known of runs that
    diagnosed themselves, and the loss on the training samples, in nats, with its deviation of those
    that measured it.
    """

    expected: Expected
    seeds: int
    test_accuracy: float
    deviation: float
    solved: float
    steps: float
    step_ms: float
    command: str
    epochs: int
    error_ratio: float | None
    condition: float | None
    random: float | None
    train_nll: tuple[float, float] | None


def read(results: Path, rows: Sequence[Expected] = ROWS) -> list[Row]:
    """Returns the rows whose files exist, in the order of `rows`.

    **Raises:** `TablesError` for a folder that is none, and for a file that is damaged or of
    another run.
    """
    if not results.is_dir():
        raise TablesError(
            f"{results} is not a folder, but the summaries of the runs are read from one: make it "
            "with `leastcontrol train --results FILE`, or name another with --results DIR."
        )
    files = [(expected, results / f"{expected.name}.json") for expected in rows]
    return [_read_row(expected, path) for expected, path in files if path.exists()]


def read_result(path: Path) -> Any:
    """Returns what a command has written as JSON.

    **Raises:** `TablesError`.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TablesError(
            f"{path} cannot be read as JSON ({error}): run its command again."
        ) from error


def _read_row(expected: Expected, path: Path) -> Row:
    summary = read_result(path)

    def entry(*names: str) -> Any:
        value = summary
        for name in names:
            if not isinstance(value, dict) or name not in value:
                raise TablesError(
                    f"{path} has no {'.'.join(names)}, which the summary of several seeds has: "
                    "give a file that `leastcontrol train --seeds 0 1 2 --results FILE` wrote."
                )
            value = value[name]
        return value

    def number(*names: str) -> float:
        value = entry(*names)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise TablesError(
                f"{path} has {'.'.join(names)} = {value!r}, but it is a finite number: run its "
                "command again."
            )
        return float(value)

    def diagnosed(name: str, place: str) -> float | None:
        known = summary.get("diagnostics")
        if known is None or name not in known:
            return None
        return number("diagnostics", name, place)

    for word, value in expected.words.items():
        if entry("config", word) != value:
            raise TablesError(
                f"{path} is of a run with {word} = {entry('config', word)!r}, but its name stands "
                f"for {value!r}: name the file after its run."
            )
    per_seed, command = entry("per_seed"), entry("command")
    if not isinstance(per_seed, list) or not isinstance(command, str):
        raise TablesError(
            f"{path} does not say in `per_seed` and `command` which seeds were run by which "
            "command: run it again with `leastcontrol train`."
        )
    return Row(
        expected,
        len(per_seed),
        number("mean", "test_accuracy"),
        number("std", "test_accuracy"),
        number("solve", "converged_fraction"),
        number("solve", "steps_mean"),
        number("mean", "step_ms_median"),
        command,
        int(number("epochs")),
        diagnosed("error_ratio", "all"),
        diagnosed("condition", "all"),
        diagnosed("condition", "random"),
        (number("mean", "train_nll"), number("std", "train_nll"))
        if "train_nll" in entry("mean")
        else None,
    )


def _accuracy(row: Row) -> str:
    return f"{100 * row.test_accuracy:.2f} ± {100 * row.deviation:.2f}"


def table(rows: Sequence[Row]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| system | rule | test accuracy, % | seeds | the paper, % | solved, % | steps a solve "
        "| ms a step |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        expected = row.expected
        cells = (
            expected.system,
            expected.rule,
            _accuracy(row),
            f"{row.seeds}",
            expected.published(),
            share(row.solved),
            f"{row.steps:.1f}",
            f"{row.step_ms:.2f}",
        )
        lines.append(table_row(cells))
    return "\n".join(lines)


def feedback_table(rows: Sequence[Row]) -> str:
    """Returns the rows of the second table as a Markdown table."""
    lines = [
        "| data | rule | test accuracy, % | seeds | epochs | the authors, % | ‖e_end‖/‖e_0‖ "
        "| condition (at random) | solved, % | ms a step |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        expected = row.expected
        condition = "–"
        if row.condition is not None and row.random is not None:
            condition = f"{row.condition:.2f} ({row.random:.2f})"
        cells = (
            expected.system,
            expected.rule,
            _accuracy(row),
            f"{row.seeds}",
            f"{row.epochs}",
            expected.published(),
            "–" if row.error_ratio is None else f"{row.error_ratio:.3f}",
            condition,
            share(row.solved),
            f"{row.step_ms:.2f}",
        )
        lines.append(table_row(cells))
    return "\n".join(lines)


def depth_table(rows: Sequence[Row]) -> str:
    """Returns the rows of the page of depth and space as a Markdown table."""
    lines = [
        "| system | rule | test accuracy, % | training loss, nats | seeds | epochs | solved, % "
        "| steps a solve | ms a step |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = (
            row.expected.system,
            row.expected.rule,
            _accuracy(row),
            "–" if row.train_nll is None else "{:.3f} ± {:.3f}".format(*row.train_nll),
            f"{row.seeds}",
            f"{row.epochs}",
            share(row.solved),
            f"{row.steps:.1f}",
            f"{row.step_ms:.2f}",
        )
        lines.append(table_row(cells))
    return "\n".join(lines)


def share(solved: float) -> str:
    """Returns a share in %; one that is not whole never reads 100."""
    text = f"{100 * solved:.2f}"
    return f"{math.floor(1e4 * solved) / 100:.2f}" if text == "100.00" and solved < 1 else text


def with_commands(lines: Sequence[str], commands: Iterable[str]) -> str:
    """Returns the lines of a table with the commands that made it in a Markdown block below."""
    return "\n".join([*lines, "", "```bash", *dict.fromkeys(commands), "```"])


def table_row(cells: Iterable[str]) -> str:
    """Returns a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def rewritten(page: str, content: str, name: str, part: str) -> str:
    """Returns a page with the part between its markers replaced.

    **Raises:** `TablesError` unless both markers stand in the page, once and in order.
    """
    begin_mark, end_mark = (mark.replace("results", part) for mark in (BEGIN, END))
    before, begin, rest = page.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end or begin_mark in after or end_mark in before + after:
        raise TablesError(
            f"{name} does not have the two markers once each and in order: write {begin_mark} and "
            f"{end_mark} on lines of their own where the table belongs."
        )
    return f"{before}{begin_mark}\n\n{content}\n\n{end_mark}{after}"


def update(root: Path, results: Path, *, check: bool = False) -> list[Path]:
    """Rewrites the tables in every page under `root` and returns the pages that changed.

    With `check` nothing is written: the pages that would change are returned.

    **Raises:** `TablesError`. Nothing is written unless every file could be read.
    """
    rows = read(results)
    if not rows:
        names = ", ".join(f"{expected.name}.json" for expected in ROWS)
        raise TablesError(
            f"{results} holds none of {names}: make one with `leastcontrol train --results FILE`."
        )
    content = {page: table(rows) for page in PAGES}
    content[COMMANDS_PAGE] = _of_rows(table, rows)
    parts = [(page, "results", own) for page, own in content.items()]
    controlled = read(results, FEEDBACK_ROWS)
    if controlled:
        parts.append((COMMANDS_PAGE, "feedback-control", _of_rows(feedback_table, controlled)))
    deep = read(results, DEPTH_ROWS)
    if deep:
        parts.append((DEPTH_PAGE, "depth", _of_rows(depth_table, deep)))
    return rewrite(root, parts, check=check)


def _of_rows(table: Callable[[Sequence[Row]], str], rows: Sequence[Row]) -> str:
    return with_commands([table(rows)], (row.command for row in rows))


def rewrite(root: Path, parts: Sequence[tuple[Path, str, str]], *, check: bool) -> list[Path]:
    """Puts (page, part, content) into the pages under `root`; returns the pages that changed.

    With `check` nothing is written: the pages that would change are returned.

    **Raises:** `TablesError`. Nothing is written unless every page could be read.
    """
    before: dict[Path, str] = {}
    after: dict[Path, str] = {}
    for page, part, content in parts:
        path = root / page
        if path not in before:
            try:
                before[path] = after[path] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise TablesError(
                    f"{path} cannot be read ({error}): run this in a checkout of the project, or "
                    "name one with --root DIR."
                ) from error
        after[path] = rewritten(after[path], content, str(path), part)
    changed = {path: text for path, text in after.items() if text != before[path]}
    if not check:
        for path, text in changed.items():
            write_page(path, text)
    return list(changed)


def write_page(path: Path, text: str) -> None:
    """Writes a page whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise TablesError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _update_and_show(root: Path, results: Path, *, check: bool) -> list[Path]:
    changed = update(root, results, check=check)
    print(table(read(results)))
    return changed


def script(
    arguments: Sequence[str] | None,
    update: Callable[..., list[Path]],
    name: str,
    description: str,
) -> int:
    """Runs an update of pages as a script and returns its exit status.

    It is 1 for a stale page and 2 for a mistake.

    **Arguments:** `arguments` of the command line; `update(root, results, check=…)`; the module's
    `name` and its `description` in the help.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tables.{name}", description=description)
    parser.add_argument("--root", type=Path, default=Path(), help="checkout of the project")
    parser.add_argument("--results", type=Path, help="folder of the results (ROOT/results)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    options = parser.parse_args(arguments)
    results = options.root / "results" if options.results is None else options.results
    try:
        changed = update(options.root, results, check=options.check)
    except TablesError as error:
        print(f"leastcontrol: {error}", file=sys.stderr)
        return 2
    for path in changed:
        print(f"{path} {'is stale' if options.check else 'was rewritten'}.", file=sys.stderr)
    return 1 if options.check and changed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status: 1 for a stale table, 2 for a mistake."""
    description = "Make the table of results from the summaries of the runs."
    return script(arguments, _update_and_show, "accuracy", description)


if __name__ == "__main__":
    sys.exit(main())

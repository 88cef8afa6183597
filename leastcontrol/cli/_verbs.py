"""What each verb does, and how it looks in a terminal."""

import contextlib
import dataclasses
import functools
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from .. import report
from ..data import DataError
from ..files import FileError, as_csv, write_json, write_whole
from ..papers import registry
from ..papers.reproduction import Judged, Metrics, reproduce, verdicts
from ..runs import running
from ..runs.config import ConfigError, RunConfig
from ..runs.measures import Measure, measure_of, summary_measures
from ..runs.meta_config import is_meta
from ..runs.sweep_config import read_sweep
from ..training import (
    DevicesError,
    EpochMetrics,
    MetaMetrics,
    MetaTrainingError,
    ProcessError,
    TensorBoard,
    TrackingError,
    TrainingError,
    connect,
    device_mesh,
    is_first,
)
from ._arguments import arms, data_config, meta_config, recorded, represent_config, run_config
from ._console import complain, say, tell
from ._display import Table, progress, show_progress, tell_above
from ._options import (
    Bench,
    Compare,
    Data,
    Evaluate,
    Export,
    Meta,
    Predict,
    Report,
    Represent,
    Reproduce,
    Sweep,
    Train,
    Verify,
)


@functools.singledispatch
def _perform(verb: Any, arguments: list[str]) -> int:
    raise TypeError(f"{type(verb).__name__} is no verb.")


def perform(verb: Any, arguments: list[str]) -> int:
    """Runs a verb and returns its exit status."""
    from ..runs.represent import RepresentError
    from ..verify.vectors import VectorError

    mistakes = (
        *(ConfigError, DataError, DevicesError, FileError),
        *(report.ReportError, VectorError),
    )
    try:
        return _perform(verb, arguments)
    except mistakes as error:
        complain(error)
        return 2
    except (TrainingError, MetaTrainingError, ProcessError, RepresentError, TrackingError) as error:
        complain(error)
        return 1
    except _Terminated as error:
        complain(error)
        return 128 + signal.SIGTERM


class _Terminated(Exception):
    """The process was asked to end; what it did is saved."""


@contextlib.contextmanager
def _termination() -> Iterator[list[int]]:
    """Collects the signals to end instead of ending, so that what is begun can be saved."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


@_perform.register
def _(verb: Train, arguments: list[str]) -> int:
    config = run_config(verb)
    assert verb.out is not None
    if verb.coordinator is not None:
        assert verb.processes is not None
        assert verb.process is not None
        connect(verb.coordinator, verb.processes, verb.process)
    mesh = device_mesh(None if verb.devices == "all" else verb.devices)
    seeds, measure = config.all_seeds(), measure_of(config)
    unit = "" if config.regression else " nats"
    shown = progress(
        *(BarColumn(), MofNCompleteColumn(), TextColumn("epochs")),
        after=(TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False)),
        total=config.epochs * len(seeds),
    )
    with shown, _termination() as received:

        def report(seed: int, metrics: EpochMetrics) -> None:
            own = metrics.validation
            line = (
                f"seed {seed}  epoch {metrics.epoch:>3}  loss {metrics.loss:.4f}{unit}  "
                f"validation {measure.shown(getattr(own, measure.name))}  solved "
                f"{100 * metrics.converged_fraction:.2f} %  {metrics.steps_mean:.1f} steps a solve"
                f"  {metrics.step_ms:.2f} ms a step"
            )
            tell_above(shown, line)
            done = seeds.index(seed) * config.epochs + metrics.epoch
            show_progress(shown, f"seed {seed}", completed=done)
            if received:
                raise _Terminated(
                    f"Terminated after epoch {metrics.epoch} of seed {seed}, which is saved: the "
                    "same command with --resume goes on."
                )

        summary = running.run(
            config,
            verb.out,
            command=recorded(arguments),
            resume=verb.resume,
            keep_last=verb.keep_last,
            # One device needs no copies of what it has.
            mesh=mesh if mesh.size > 1 else None,
            track=(lambda folder, _: TensorBoard(folder)) if verb.tensorboard else None,
            report=report,
        )
    if is_first():
        _print_summary(summary, summary_measures(config))
        _write(verb.results, summary)
    return 0


def _print_summary(summary: dict[str, Any], measures: dict[str, tuple[str, Measure]]) -> None:
    spread = summary.get("std", {})

    def figure(name: str, scale: float, form: str, unit: str) -> str:
        text = f"{scale * summary[name]:{form}}"
        if name in spread:
            text += f" ± {scale * spread[name]:{form}}"
        return f"{text} {unit}".rstrip()

    table = Table()
    for name, (part, own) in measures.items():
        table.add_row(f"{part} {own.title}", figure(name, own.scale, own.form, own.unit))
    table.add_row("step (median)", figure("step_ms_median", 1.0, ".2f", "ms"))
    solve = summary["solve"]
    table.add_row("solved", f"{100 * solve['converged_fraction']:.3f} %")
    table.add_row("largest residual of a solved sample", f"{solve['residual_max']:.1e} relative")
    table.add_row("steps a solve", f"{solve['steps_mean']:.1f} mean, {solve['steps_max']} at most")
    table.show()


@_perform.register
def _(verb: Meta, arguments: list[str]) -> int:
    from ..runs.meta import run_meta

    config = meta_config(verb)
    assert verb.out is not None
    with _termination() as received:

        def report(seed: int, metrics: MetaMetrics) -> None:
            own = metrics.validation
            accuracy = "" if own.accuracy is None else f"  {100 * own.accuracy:.2f} %"
            line = (
                f"seed {seed}  step {metrics.step:>6} of {config.steps()}  loss {metrics.loss:.4f}"
                f"  validation {own.loss:.4f}{accuracy}  residual {metrics.residual_median:.1e} of "
                f"the allowed  {metrics.step_ms:.2f} ms a step"
            )
            tell(line)
            if received:
                raise _Terminated(
                    f"Terminated after step {metrics.step} of seed {seed}, which is saved: the "
                    "same command with --resume goes on."
                )

        summary = run_meta(
            config,
            verb.out,
            command=recorded(arguments),
            resume=verb.resume,
            keep_last=verb.keep_last,
            report=report,
        )
    _print_meta(summary)
    _write(verb.results, summary)
    return 0


def _print_meta(summary: dict[str, Any]) -> None:
    table = Table()
    if "per_seed" in summary:
        seeds = f" over {len(summary['seed'])} seeds, of {summary['test_tasks']} tasks each"
        for name, scale, unit in (("accuracy", 100, " %"), ("loss", 1, "")):
            if f"test_{name}" in summary:
                own, spread = (scale * summary[part][f"test_{name}"] for part in ("mean", "std"))
                table.add_row(f"test {name}{seeds}", f"{own:.4g} ± {spread:.2g}{unit}")
    else:
        test = summary["test"]
        if test["accuracy"] is not None:
            table.add_row("test accuracy", _with_interval(test, "accuracy", 100.0, 2) + " %")
        table.add_row("test loss", _with_interval(test, "loss", 1.0, 4))
        table.add_row("test tasks, for the 95 % intervals", f"{test['tasks']}")
    table.add_row("step (median)", f"{summary['step_ms_median']:.2f} ms")
    table.add_row("working memory of a step", f"{summary['step_bytes'] / 2**20:.2f} MiB")
    table.add_row("residual (median)", f"{summary['residual_median']:.1e} of the allowed")
    table.show()


def _with_interval(test: dict[str, Any], name: str, scale: float, digits: int) -> str:
    return f"{scale * test[name]:.{digits}f} ± {scale * test[f'{name}_interval']:.{digits}f}"


@_perform.register
def _(verb: Represent, arguments: list[str]) -> int:
    from ..runs.represent import Look, run_representations

    config = represent_config(verb)
    assert verb.out is not None

    def report(seed: int, look: Look) -> None:
        line = (
            f"seed {seed}  {look.image}  step {look.step:>5} of {config.steps}  "
            f"{look.psnr_test:.2f} dB  trained pixels {look.psnr_train:.2f} dB  "
            f"solved {100 * look.converged_fraction:.2f} %  "
            f"{look.solve_steps:.1f} steps a solve  {look.step_ms:.1f} ms a step"
        )
        tell(line)

    command = recorded(arguments)
    summary = run_representations(config, verb.out, command=command, report=report)
    _print_representations(summary)
    _write(verb.results, summary)
    return 0


def _print_representations(summary: dict[str, Any]) -> None:
    several = "per_seed" in summary
    over = f"the seeds {' '.join(map(str, summary['seed']))}" if several else "the pictures"
    table = Table("pictures", "PSNR of pixels not trained on", "count", title=f"± over {over}")
    first = summary["per_seed"][0] if several else summary
    for name, own in first["psnr_test"].items():
        value, deviation = own["mean"], own["std"]
        if several:
            value, deviation = (summary[part][f"psnr_test_{name}"] for part in ("mean", "std"))
        spread = "" if deviation is None else f" ± {deviation:.2f}"
        table.add_row(name, f"{value:.2f}{spread} dB", str(own["count"]))
    table.show()


@_perform.register
def _(verb: Evaluate, arguments: list[str]) -> int:
    del arguments
    if is_meta(running.read_json(verb.folder / "config.json")):
        return _evaluate_meta(verb)
    figures = running.evaluate_run(verb.folder, data_dir=verb.data_dir)
    measures = summary_measures(running.read_config(verb.folder))
    # Of the training samples nothing is measured.
    shown = {name: own for name, own in measures.items() if own[0] != "train"}
    headings = [f"{part} {measure.title}" for part, measure in shown.values()]
    table = Table("seed", *headings, "test solved")
    for row in figures["seeds"]:
        table.add_row(
            str(row["seed"]),
            *(measure.shown(row[name]) for name, (_, measure) in shown.items()),
            f"{100 * row['test_converged_fraction']:.2f} %",
        )
    table.show()
    _write(verb.json, figures)
    return 0


def _evaluate_meta(verb: Evaluate) -> int:
    from ..runs.meta import evaluate_meta

    figures = evaluate_meta(verb.folder, data_dir=verb.data_dir)
    table = Table("seed", "tasks", "test loss", "test accuracy", "residual (median)")
    for row in figures["seeds"]:
        own = row["test"]
        accuracy = (
            "–" if own["accuracy"] is None else f"{_with_interval(own, 'accuracy', 100, 2)} %"
        )
        table.add_row(
            str(row["seed"]),
            str(own["tasks"]),
            _with_interval(own, "loss", 1.0, 4),
            accuracy,
            f"{own['residual_median']:.1e} of the allowed",
        )
    table.show()
    _write(verb.json, figures)
    return 0


@_perform.register
def _(verb: Compare, arguments: list[str]) -> int:
    from ..runs.comparison import Arm, compare

    assert verb.out is not None
    with _termination() as received:
        measure = measure_of(verb)

        def report(arm: Arm, seed: int, metrics: EpochMetrics) -> None:
            if metrics.epoch == arm.config.epochs:
                tell(
                    f"{arm.system}, {arm.rule}, seed {seed}: validation "
                    f"{measure.shown(getattr(metrics.validation, measure.name))} after "
                    f"{metrics.epoch} epochs"
                )
            if received:
                raise _Terminated(
                    f"Terminated after epoch {metrics.epoch} of {arm.rule}, seed {seed}, which is "
                    "saved: the same command with --resume goes on."
                )

        comparison = compare(
            [Arm(*words) for words in arms(verb)],
            verb.out,
            target=verb.target,
            command=recorded(arguments),
            resume=verb.resume,
            report=report,
        )
    _print_comparison(comparison)
    return 0


# Heading, figure, scale and form of a comparison's columns, if it has the figure.
_COLUMNS = (
    ("test, %", "test_accuracy", 100.0, ".2f"),
    ("NLL, nats", "test_nll", 1.0, ".3f"),
    ("test squared error", "test_mean_squared_error", 1.0, ".4g"),
    ("‖(ψ, u)‖", "control_norm", 1.0, ".3f"),
    ("solved, %", "converged_fraction", 100.0, ".2f"),
    ("ms/step", "step_ms_median", 1.0, ".2f"),
    ("MiB", "step_bytes", 2.0**-20, ".2f"),
    ("epochs to target", "epochs_to_target", 1.0, ".1f"),
    ("s to target", "seconds_to_target", 1.0, ".1f"),
)


def _print_comparison(comparison: dict[str, Any]) -> None:
    known = comparison["arms"][0]["mean"]
    columns = [
        own
        for own in _COLUMNS
        if own[1] in known and (comparison["target"] is not None or "target" not in own[0])
    ]

    def figure(mean: float | None, error: float | None, scale: float, form: str) -> str:
        if mean is None:
            return "–"
        spread = "" if error is None else f" ± {scale * error:{form}}"
        return f"{scale * mean:{form}}{spread}"

    headings = ("system", "rule", *(own[0] for own in columns))
    means = Table(*headings, title="mean ± standard error over the seeds")
    differences = Table(*headings, title="less the first rule, seed by seed: mean ± standard error")
    for row in comparison["arms"]:
        own = [figure(row["mean"][n], row["standard_error"][n], s, d) for _, n, s, d in columns]
        means.add_row(row["system"], row["rule"], *own)
    for row in comparison["differences"]:
        own = [figure(row[n]["mean"], row[n]["standard_error"], s, d) for _, n, s, d in columns]
        differences.add_row(row["system"], row["rule"], *own)
    means.show()
    if comparison["differences"]:
        differences.show()


@_perform.register
def _(verb: Sweep, arguments: list[str]) -> int:
    import optuna

    from ..runs.sweep import sweep

    assert verb.out is not None
    # What it would say of a trial is said below, in this library's words.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _termination() as received:

        def report(trial: int, seed: int, metrics: EpochMetrics) -> None:
            if received:
                raise _Terminated(
                    f"Terminated after epoch {metrics.epoch} of trial {trial}, seed {seed}, which "
                    "is saved: the same command goes on."
                )

        searched = read_sweep(verb.config)
        measure = measure_of(RunConfig(**searched.train))
        result = sweep(
            searched,
            verb.out,
            trials=verb.trials,
            store=verb.store,
            command=recorded(arguments),
            report=report,
            done=lambda row: tell(_trial_line(row, measure)),
        )
    return _print_sweep(result, verb.out, measure)


def _trial_line(row: dict[str, Any], measure: Measure) -> str:
    options = "  ".join(f"{name} = {_shown(value)}" for name, value in row["options"].items())
    if row["complete"]:
        figure = f"validation {measure.shown(row[f'validation_{measure.name}'])}"
    else:
        reason = row["error"] or "others were better there"
        figure = f"stopped after {row['epochs']} epochs: {reason}"
    return f"trial {row['number']:>3}  {options}  {figure}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _print_sweep(result: dict[str, Any], out: Path, measure: Measure) -> int:
    if result["best"] is None:
        complain("No trial was completed, so there is no best one.")
        return 1
    complete = [row for row in result["trials"] if row["complete"]]
    name = f"validation_{measure.name}"
    complete.sort(key=lambda row: row[name], reverse=measure.rising)
    heading = f"validation {measure.title}"
    table = Table("trial", "options", heading, title=f"{len(complete)} completed")
    for row in complete[:5]:
        options = "\n".join(f"{own} = {_shown(value)}" for own, value in row["options"].items())
        table.add_row(str(row["number"]), options, measure.shown(row[name]))
    table.show()
    say(f"Train with the best by: leastcontrol train --config {out / 'best.toml'} --out DIR")
    return 0


@_perform.register
def _(verb: Reproduce, arguments: list[str]) -> int:
    if verb.list:
        say(registry.listing(registry.EXPERIMENTS))
        return 0
    # Each once, in the order of the list.
    chosen = [
        own
        for own in registry.EXPERIMENTS
        if own.name in verb.names or (verb.all and not own.missing)
    ]
    command = recorded(arguments)
    origin = {"command": command, "commit": running.commit(), "versions": running.versions()}
    failed, told = 0, []
    for experiment in chosen:
        began = time.perf_counter()
        tell(f"{experiment.name}: {_announced(experiment, verb.quick)}")
        with _row_report() as report:
            judged = reproduce(
                experiment,
                verb.out,
                quick=verb.quick,
                data_dir=verb.data_dir,
                command=command,
                report=report,
            )
        seconds = time.perf_counter() - began
        _print_judged(experiment, verb.quick, judged)
        failed += sum(own.failed for own in judged)
        told.append(verdicts(experiment, judged, quick=verb.quick, seconds=seconds))
        total = sum(own["seconds"] for own in told)
        _write(verb.results, {"seconds": total, "experiments": told, **origin})
    for own in registry.EXPERIMENTS if verb.all else ():
        if own.missing:
            tell(f"{own.name} is not run by this command: {own.missing}")
    return 1 if failed else 0


def _announced(experiment: registry.Experiment, quick: bool) -> str:
    if not quick or experiment.reduction is None:
        return f"{len(experiment.rows)} rows, {registry.duration(experiment.minutes)}"
    reduction = experiment.reduction
    return (
        f"{len(experiment.rows)} rows, {registry.duration(reduction.minutes)}; {reduction.sentence}"
    )


@contextlib.contextmanager
def _row_report() -> Iterator[Callable[[registry.Row, int, Any], None]]:
    """Shows how far a row is, and ends the process where it was asked to."""
    shown = progress()
    with shown, _termination() as received:

        def report(row: registry.Row, seed: int, metrics: Metrics) -> None:
            if isinstance(metrics, EpochMetrics):
                place = f"epoch {metrics.epoch}"
            elif isinstance(metrics, MetaMetrics):
                place = f"step {metrics.step}"
            else:
                place = metrics.image
            show_progress(shown, f"{row.name}, seed {seed}, {place}")
            if received:
                raise _Terminated(
                    f"Terminated after {place} of {row.name}, seed {seed}, which is saved: the "
                    "same command goes on."
                )

        yield report


def _print_judged(experiment: registry.Experiment, quick: bool, judged: Sequence[Judged]) -> None:
    reduced = (
        f"; reduced: {experiment.reduction.sentence}" if quick and experiment.reduction else ""
    )
    headings = ("row", "figure", "measured", "the paper", "verdict")
    table = Table(*headings, title=f"{experiment.title} ({experiment.source}){reduced}")
    for own in judged:
        table.add_row(own.row, own.quantity, own.measured, own.expected, own.verdict)
    table.show()


@_perform.register
def _(verb: Export, arguments: list[str]) -> int:
    del arguments
    from ..runs import models

    header = models.export(verb.folder, verb.out, weights=verb.weights, data_dir=verb.data_dir)
    shape = " x ".join(map(str, header["shape"]))
    classes = "classes" in header
    told = f"one of {header['classes']} classes" if classes else f"{header['outputs']} numbers"
    say(f"{verb.out} takes samples of {shape} to {told}.")
    return 0


@_perform.register
def _(verb: Predict, arguments: list[str]) -> int:
    del arguments
    from ..runs import models

    model = models.load_model(verb.model)
    # All files are read before one of them is answered.
    pixels = model.config.data != "student-teacher"
    samples = [
        (path, models.read_samples(path, model.shape, verb.full, pixels=pixels))
        for path in verb.samples
    ]
    rows = [
        {"file": str(path), "sample": number, **dataclasses.asdict(own)}
        for path, inputs in samples
        for number, own in enumerate(models.predict(model, inputs))
    ]
    regression = model.config.regression
    numbers = "outputs" if regression else "probabilities"
    columns = ("outputs",) if regression else ("class", "probability")
    table = Table("file", "sample", *columns, "solved")
    for row in rows:
        if regression:
            told = (_few(row["outputs"]),)
        else:
            told = (str(row["label"]), f"{100 * max(row['probabilities']):.1f} %")
        found = "yes" if row["solved"] else "no"
        table.add_row(row["file"], str(row["sample"]), *told, found)
    table.show()
    _write(verb.json, rows)
    if verb.csv is not None:
        flat = [{n: own for n, own in row.items() if n != numbers} for row in rows]
        single = "output" if regression else "probability"
        for one, row in zip(flat, rows, strict=True):
            one |= {f"{single}_{n}": own for n, own in enumerate(row[numbers])}
        write_whole(verb.csv, as_csv(flat))
    return 0


def _few(numbers: Sequence[float]) -> str:
    """Returns the first of several numbers."""
    shown = " ".join(f"{own:.4g}" for own in numbers[:6])
    return shown if len(numbers) <= 6 else f"{shown} …"


@_perform.register
def _(verb: Report, arguments: list[str]) -> int:
    del arguments
    runs, comparisons = report.read(verb.folders)
    if verb.sample is not None:
        from ..runs.inspection import inspect_sample

        for run in runs:
            inspect_sample(run.folder, verb.sample, data_dir=verb.data_dir)
        runs, comparisons = report.read(verb.folders)
    text = report.page(runs, comparisons, report.figures(runs))
    write_whole(verb.out, text)
    say(f"{verb.out} shows {len(runs)} run{'' if len(runs) == 1 else 's'}.")
    if verb.figures is not None:
        count = _write_figures(verb.figures, runs)
        say(f"{verb.figures} holds {count} figures, each as SVG and PNG.")
    return 0


def _write_figures(folder: Path, runs: list[report.Run]) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--figures is {folder}, which cannot be made ({error.strerror}): name a folder."
        ) from error
    count = 0
    for name, content in report.figure_files(runs):
        write_whole(folder / name, content)
        count += 1
    return count // 2


@_perform.register
def _(verb: Verify, arguments: list[str]) -> int:
    del arguments
    from ..verify.properties import verify

    def report(row: dict[str, Any]) -> None:
        if row["error"] is None:
            say(f"{row['status']:<12}{row['name']}: {row['detail']}")
        else:
            say(
                f"{row['status']:<12}{row['name']}: {row['error']:.1e}, at most "
                f"{row['tolerance']:.1e}"
            )

    rows = verify(verb.vectors, report=report)
    _write(verb.json, rows)
    failed = sum(row["ok"] is False for row in rows)
    unsupported = sum(row["ok"] is None for row in rows)
    say(f"{len(rows) - failed - unsupported} passed, {failed} failed, {unsupported} unsupported")
    return 1 if failed else 0


@_perform.register
def _(verb: Bench, arguments: list[str]) -> int:
    from ..bench.growth import plot_growth
    from ..bench.measuring import bench

    def report(row: dict[str, Any]) -> None:
        # As soon as a case is measured, for a table shows nothing before its last row.
        say(_bench_line(row))

    command = recorded(arguments)
    rows = bench(verb, command=command, report=report, note=tell)
    _write(verb.json, rows)
    if verb.plot is not None:
        plot_growth(rows, verb.plot)
    return 0


def _bench_line(row: dict[str, Any]) -> str:
    lower, upper = row["ms_quartiles"]
    place = f"{row['grown']} {row['size']}" if "grown" in row else row["weights"]
    strength = "" if row["strength"] is None else f"β = {row['strength']:.3g}"
    memory = "" if row["peak_mb"] is None else f"  {row['peak_mb']:.1f} MB"
    line = (
        f"{row['case']:<19} {place:<14} {row['rule']:<26} {strength:<12} {row['ms']:8.2f} ms a "
        f"step [{lower:.2f}, {upper:.2f}]  {row['ratio']:6.2f} × {row['ratio_to']}  solved "
        f"{100 * row['converged_fraction']:.2f} %  {row['steps']:.1f} steps a solve{memory}"
    )
    return f"{line}  time ∝ {row['grown']}^{row['exponent']:.2f}" if "grown" in row else line


@_perform.register
def _(verb: Data, arguments: list[str]) -> int:
    del arguments
    from .. import data

    description = data.describe(running.load_splits(data_config(verb)))
    say(json.dumps(description, indent=2))
    _write(verb.json, description)
    return 0


def _write(path: Path | None, value: Any) -> None:
    if path is not None:
        write_json(path, value)

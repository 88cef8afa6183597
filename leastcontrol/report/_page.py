"""The report as one self-contained HTML page."""

import html
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from .._names import printable
from ._figures import Figure
from ._palette import DARK, LIGHT, properties
from ._runs import Comparison, Run, Trial

STYLE = (
    f"""
:root {{ color-scheme: light dark; {properties(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {properties(DARK)} }} }}
@media print {{ :root {{ {properties(LIGHT)} }} nav {{ display: none; }} }}
"""
    + """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 4rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main, .inner { max-width: 80rem; margin: 0 auto; padding: 0 1rem; }
main { padding-bottom: 4rem; }
header { padding: 2rem 0 1rem; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 1.35rem; margin: 2.5rem 0 0.75rem; padding-bottom: 0.3rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 0.75rem; }
p { margin: 0.5rem 0; }
a { color: var(--focus); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: 0.5rem; z-index: 2; }
nav { position: sticky; top: 0; z-index: 1; background: var(--paper);
  border-bottom: 1px solid var(--line); }
nav ul { display: flex; gap: 0.25rem 1.25rem; margin: 0; padding: 0; list-style: none;
  overflow-x: auto; }
nav a { display: block; padding: 0.7rem 0; text-decoration: none; white-space: nowrap; }
nav a:hover, nav a:focus-visible { text-decoration: underline; }
.tiles { display: grid; gap: 0.75rem; margin: 1.25rem 0 0; padding: 0;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tiles div { padding: 0.85rem 1rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: 0.6rem; }
.tiles dt { color: var(--muted); font-size: 0.85rem; }
.tiles dd { margin: 0; overflow-wrap: anywhere; }
.tiles .value { font-size: 1.5rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.figures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; padding: 0.9rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: 0.6rem; display: flex; flex-direction: column; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: inherit; }
figcaption, .muted { color: var(--muted); font-size: 0.9rem; }
figcaption { margin-top: 0.5rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 0.75rem 0; border: 1px solid var(--line);
  border-radius: 0.6rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
caption { text-align: left; padding: 0.6rem 0.7rem; }
thead th { background: var(--panel); font-size: 0.9rem; }
th, td { padding: 0.4rem 0.7rem; border-top: 1px solid var(--line); text-align: right;
  white-space: nowrap; font-weight: normal; }
thead th { font-weight: 600; }
tbody tr:hover { background: var(--panel); }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--panel); border: 1px solid var(--line); padding: 0.9rem;
  border-radius: 0.6rem; overflow-x: auto; font-size: 0.9rem; }
summary { cursor: pointer; padding: 0.35rem 0; }
"""
)

# Heading, name in the summary, scale and digits. A table shows the columns for labels, for target
# vectors, or both, depending on the data of its runs.
FIGURES = (
    ("test accuracy, %", "test_accuracy", 100.0, 2),
    ("test NLL, nats", "test_nll", 1.0, 4),
    ("train accuracy, %", "train_accuracy", 100.0, 2),
    ("train NLL, nats", "train_nll", 1.0, 4),
    ("validation accuracy, %", "validation_accuracy", 100.0, 2),
    ("test squared error", "test_mean_squared_error", 1.0, 5),
    ("train squared error", "train_mean_squared_error", 1.0, 5),
    ("validation squared error", "validation_mean_squared_error", 1.0, 5),
    ("loss removed, %", "strength.removed_mean", 100.0, 1),
    ("at the end, %", "strength.removed_end", 100.0, 1),
    ("ms a step", "step_ms_median", 1.0, 2),
    ("seconds", "seconds", 1.0, 1),
)
DIFFERENCES = (
    ("test accuracy, %", "test_accuracy", 100.0, 2),
    ("test NLL, nats", "test_nll", 1.0, 4),
    ("test squared error", "test_mean_squared_error", 1.0, 5),
    ("‖(ψ, u)‖", "control_norm", 1.0, 4),
    ("solved, %", "converged_fraction", 100.0, 2),
    ("ms a step", "step_ms_median", 1.0, 2),
    ("epochs to target", "epochs_to_target", 1.0, 1),
    ("seconds to target", "seconds_to_target", 1.0, 1),
)
EPOCH_COLUMNS = (
    ("epoch", "epoch", 1.0, 0),
    ("loss, nats", "loss", 1.0, 4),
    ("validation accuracy, %", "accuracy", 100.0, 2),
    ("validation squared error", "mean_squared_error", 1.0, 5),
    ("‖(ψ, u)‖²", "control_energy", 1.0, 4),
    ("loss removed, %", "removed", 100.0, 1),
    ("solved, %", "converged_fraction", 100.0, 3),
    ("residual / tolerance", "residual_max", 1.0, 3),
    ("steps a solve", "steps_mean", 1.0, 2),
    ("seconds", "seconds", 1.0, 2),
)
# Title, name in the summary, function that selects the best, unit, scale and digits.
TILES = (
    ("best test accuracy", "test_accuracy", max, "%", 100.0, 2),
    ("best test NLL", "test_nll", min, "nats", 1.0, 4),
    ("least test squared error", "test_mean_squared_error", min, "", 1.0, 5),
    ("shortest step", "step_ms_median", min, "ms", 1.0, 2),
)
# Title and introduction of each section of figures.
SECTIONS = {
    "curves": ("Curves", "A line is the mean over a run's seeds, the band their range."),
    "layers": (
        "Inside the system",
        "What runs with --diagnose measured of themselves after every epoch; means over the seeds.",
    ),
    "sample": (
        "One sample on its way to rest",
        "From the kept weights of a run's first seed, in continuous time: the free dynamics, and "
        "dynamic inversion, which adds the control.",
    ),
}


def page(runs: Sequence[Run], comparisons: Sequence[Comparison], drawn: Sequence[Figure]) -> str:
    """Makes the HTML text of a report.

    The page loads nothing, which a security policy in its head enforces. It follows the light or
    dark theme of the reader and is accessible by keyboard.

    **Arguments:**

    * `runs`, `comparisons`: as returned by `read`.
    * `drawn`: as returned by `figures`.
    """
    sections = [("results", "Results", _results(runs))]
    if comparisons:
        sections.append(("differences", "Differences", "".join(map(_differences, comparisons))))
    for name, (title, note) in SECTIONS.items():
        in_section = [figure for figure in drawn if figure.section == name]
        if in_section:
            sections.append((name, title, _figures(in_section, note)))
    sections.append(("runs", "Runs", _changed(runs) + "".join(map(_run, runs))))
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-heading">'
        f'<h2 id="{name}-heading">{title}</h2>{content}</section>\n'
        for name, title, content in sections
    )
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">\n"
        # An empty icon keeps the browser from requesting one.
        '<link rel="icon" href="data:,">\n'
        f"<title>leastcontrol: {count}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">To the results</a>\n'
        f'<header><div class="inner"><h1>leastcontrol: {count}</h1>{_tiles(runs)}</div></header>\n'
        f'<nav aria-label="Sections"><div class="inner"><ul>{links}</ul></div></nav>\n'
        f'<main id="main">\n{body}</main>\n</body>\n</html>\n'
    )


def _words(words: object) -> str:
    """Escapes untrusted text for the page."""
    return html.escape(printable(words, keep="\n"))


def _table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Makes a table, which scrolls if it is wide, also by keyboard."""
    head = "".join(f'<th scope="col">{_words(heading)}</th>' for heading in headings)
    lines = "".join(
        f'<tr><th scope="row">{_words(first)}</th>'
        + "".join(f"<td>{_words(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_words(caption)}"><table>'
        f'<caption class="muted">{_words(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _figure(mean: Any, spread: Any, scale: float, digits: int) -> str:
    if not isinstance(mean, int | float) or not math.isfinite(mean):
        return "–"
    text = f"{scale * mean:.{digits}f}"
    if isinstance(spread, int | float) and math.isfinite(spread):
        text += f" ± {scale * spread:.{digits}f}"
    return text


def _results(runs: Sequence[Run]) -> str:
    every = {name for run in runs for trial in run.trials for name in trial.summary or ()}
    columns = _known(FIGURES, every)
    rows = []
    for run in runs:
        finished = [trial.summary for trial in run.trials if trial.summary is not None]
        cells = []
        for _, name, scale, digits in columns:
            values = [_figure_named(summary, name) for summary in finished]
            known = [value for value in values if isinstance(value, int | float)]
            complete = bool(known) and len(known) == len(values)
            mean = statistics.fmean(known) if complete else None
            spread = statistics.stdev(known) if complete and len(known) > 1 else None
            cells.append(_figure(mean, spread, scale, digits))
        rows.append([run.name, f"{len(finished)} of {_seeds(run)}", *cells])
    headings = ["run", "seeds finished", *(column[0] for column in columns)]
    return _table("Mean ± standard deviation over the finished seeds", headings, rows)


def _figure_named(summary: dict[str, Any], name: str) -> Any:
    """Returns a figure of a summary, or of a part of it, named PART.FIGURE."""
    part, _, figure = name.rpartition(".")
    within = summary.get(part) if part else summary
    return within.get(figure) if isinstance(within, dict) else None


def _known(columns: Sequence[Any], names: Iterable[str]) -> list[Any]:
    """Drops the columns of labels or of target vectors if no run has such targets."""
    names = set(names)
    vectors = any("squared_error" in name for name in names)
    labels = not vectors or any("accuracy" in name for name in names)

    def shown(name: str) -> bool:
        if "squared_error" in name:
            return vectors
        if name.startswith("strength."):
            return "strength" in names
        return labels or not name.endswith(("accuracy", "nll"))

    return [column for column in columns if shown(column[1])]


def _seeds(run: Run) -> int:
    return len(run.config.get("seeds") or [0])


def _differences(comparison: Comparison) -> str:
    names = {name for difference in comparison.differences for name in difference}
    columns = _known(DIFFERENCES, names)
    rows = []
    for difference in comparison.differences:
        figures = [difference.get(name) or {} for _, name, _, _ in columns]
        cells = [
            _figure(figure.get("mean"), figure.get("standard_error"), scale, digits)
            for figure, (_, _, scale, digits) in zip(figures, columns, strict=True)
        ]
        system, rule, less = (difference.get(name) for name in ("system", "rule", "less"))
        rows.append([f"{system}: {rule} less {less}", *cells])
    caption = f"{comparison.name}: differences seed by seed, mean ± standard error"
    return _table(caption, ["difference", *(column[0] for column in columns)], rows)


def _figures(drawn: Sequence[Figure], note: str) -> str:
    parts = []
    for run, figures in itertools.groupby(drawn, key=lambda figure: figure.run):
        heading = "" if run is None else f"<h3>{_words(run)}</h3>"
        each = "".join(
            f"<figure>{figure.svg}<figcaption>{_words(figure.caption)}</figcaption></figure>\n"
            for figure in figures
        )
        parts.append(f'{heading}<div class="figures">{each}</div>')
    return f'<p class="muted">{note}</p>{"".join(parts)}'


def _tiles(runs: Sequence[Run]) -> str:
    """Makes the tiles with the main results that are known."""
    trials = [trial for run in runs for trial in run.trials]
    finished = sum(trial.summary is not None for trial in trials)
    tiles = [("seeds finished", f"{finished} of {sum(map(_seeds, runs))}", "")]
    for title, name, best, unit, scale, digits in TILES:
        means = []
        for run in runs:
            values = [trial.summary.get(name) for trial in run.trials if trial.summary is not None]
            known = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
            if known:
                means.append((statistics.fmean(known), run.name))
        if means:
            value, run_name = best(means, key=lambda entry: entry[0])
            tiles.append((title, f"{scale * value:.{digits}f} {unit}".rstrip(), run_name))
    solved = [trial.epochs["converged_fraction"][-1] for trial in trials]
    if solved:
        tiles.append(("fewest solved in a last epoch", f"{100 * min(solved):.2f} %", ""))
    return (
        '<dl class="tiles">'
        + "".join(
            f'<div><dt>{title}</dt><dd class="value">{_words(value)}</dd>'
            f'<dd class="muted">{_words(whose)}</dd></div>'
            for title, value, whose in tiles
        )
        + "</dl>"
    )


def _changed(runs: Sequence[Run]) -> str:
    """Makes a table of the options in which the runs differ, if there are any."""
    if len(runs) < 2:
        return ""
    names = dict.fromkeys(name for run in runs for name in run.config)
    rows = []
    for name in names:
        values = [_shown(run.config.get(name, "")) for run in runs]
        if len(set(values)) > 1:
            rows.append([name, *values])
    caption = "Options in which the runs differ"
    return _table(caption, ["option", *(run.name for run in runs)], rows) if rows else ""


def _run(run: Run) -> str:
    if run.command is None:
        command = '<p class="muted">The command is known once the run is finished.</p>'
    else:
        command = f'<pre tabindex="0"><code>{_words(run.command)}</code></pre>'
    values = [[name, _shown(value)] for name, value in run.config.items()]
    origin = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    commit = f"commit {run.commit}" if run.commit else "no commit known"
    return (
        f"<h3>{_words(run.name)}</h3><p>To reproduce it:</p>{command}"
        f'<p class="muted">{_words(commit)}{"; " if origin else ""}{_words(origin)}</p>'
        "<details><summary>Configuration</summary>"
        f"{_table(f'Configuration of {run.name}', ['option', 'value'], values)}</details>"
        + "".join(_certificate(run, trial) + _epochs(run, trial) for trial in run.trials)
    )


def _certificate(run: Run, trial: Trial) -> str:
    """Makes a table of what the certificate of a device counts, with its faults; or nothing."""
    summary = trial.summary or {}
    certificate = summary.get("certificate")
    if not isinstance(certificate, dict) or not isinstance(certificate.get("counts"), dict):
        return ""
    rows = [[str(name), _shown(count)] for name, count in certificate["counts"].items()]
    for title, value in (
        ("noise floor of an output", certificate.get("noise_floor")),
        ("error left under control", summary.get("remaining_error")),
    ):
        rows.append([title, _figure(value, None, 1.0, 3)])
    caption = f"What was measured of the device of {run.name}, seed {trial.seed}"
    faults = summary.get("faults")
    listed = faults if isinstance(faults, list) else []
    sentences = "".join(f"<li>{_words(fault)}</li>" for fault in listed)
    table = _table(caption, ["test samples", "value"], rows)
    return table + (f"<p>Faults that were measured:</p><ul>{sentences}</ul>" if sentences else "")


def _epochs(run: Run, trial: Trial) -> str:
    """Makes a table of the numbers in the curves, for readers who cannot see the curves."""
    known = [column for column in EPOCH_COLUMNS if column[1] in trial.epochs]
    columns = [trial.epochs[name] for _, name, _, _ in known]
    rows = [
        [
            f"{value:.0f}" if name == "epoch" else _figure(value, None, scale, digits)
            for value, (_, name, scale, digits) in zip(row, known, strict=True)
        ]
        for row in zip(*columns, strict=True)
    ]
    caption = f"Epochs of {run.name}, seed {trial.seed}"
    headings = [column[0] for column in known]
    if "mean_squared_error" in trial.epochs:
        # The squared error is in units of the targets.
        headings = ["loss" if heading == "loss, nats" else heading for heading in headings]
    table = _table(caption, headings, rows)
    return f"<details><summary>Epochs of seed {trial.seed}</summary>{table}</details>"


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "–"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

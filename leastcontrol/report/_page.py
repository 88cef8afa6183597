"""One HTML page that needs nothing besides itself."""

import math
import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from ._figures import Figure
from ._runs import Comparison, Run

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f4f5f7; --ink: #1b1f24; --muted: #57606a; --grid: #d8dee4;
  --focus: #0550ae;
  --series-1: #0550ae; --series-2: #bc4c00; --series-3: #116329; --series-4: #8250df;
  --series-5: #a40e26; --series-6: #6f5300;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0d1117; --panel: #161b22; --ink: #e6edf3; --muted: #9da7b3; --grid: #30363d;
    --focus: #79c0ff;
    --series-1: #79c0ff; --series-2: #ffa657; --series-3: #7ee787; --series-4: #d2a8ff;
    --series-5: #ff7b72; --series-6: #e3b341;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 1rem/1.5 system-ui, sans-serif; }
main, header, nav { max-width: 72rem; margin: 0 auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
a { color: var(--focus); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: 0.5rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; padding: 0; list-style: none; }
.figures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; padding: 0.75rem; background: var(--panel); border-radius: 0.5rem; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figcaption, .muted { color: var(--muted); font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.75rem; border-bottom: 1px solid var(--grid); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--panel); padding: 0.75rem; border-radius: 0.5rem; overflow-x: auto; }
summary { cursor: pointer; }
"""

# Heading, name in the summary, scale and digits.
FIGURES = (
    ("test accuracy, %", "test_accuracy", 100.0, 2),
    ("test NLL, nats", "test_nll", 1.0, 4),
    ("train accuracy, %", "train_accuracy", 100.0, 2),
    ("validation accuracy, %", "validation_accuracy", 100.0, 2),
    ("ms a step", "step_ms_median", 1.0, 2),
    ("seconds", "seconds", 1.0, 1),
)
DIFFERENCES = (
    ("test accuracy, %", "test_accuracy", 100.0, 2),
    ("test NLL, nats", "test_nll", 1.0, 4),
    ("‖(ψ, u)‖", "control_norm", 1.0, 4),
    ("solved, %", "converged_fraction", 100.0, 2),
    ("ms a step", "step_ms_median", 1.0, 2),
    ("epochs to target", "epochs_to_target", 1.0, 1),
    ("seconds to target", "seconds_to_target", 1.0, 1),
)


def page(runs: Sequence[Run], comparisons: Sequence[Comparison], drawn: Sequence[Figure]) -> str:
    """Returns the report as HTML.

    The page loads nothing: a policy in its head forbids it. It follows the reader's light or dark
    theme, and everything in it can be reached by keyboard.

    **Arguments:**

    * `runs`, `comparisons`: what `read` returned.
    * `drawn`: what `figures` returned.
    """
    sections = [("results", "Results", _results(runs))]
    if comparisons:
        sections.append(("differences", "Differences", "".join(map(_differences, comparisons))))
    sections.append(("curves", "Curves", _curves(drawn)))
    sections.append(("runs", "Runs", "".join(map(_run, runs))))
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
        # Without an icon of its own a browser asks for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>leastcontrol: {count}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">To the results</a>\n'
        f"<header><h1>leastcontrol: {count}</h1></header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        f'<main id="main">\n{body}</main>\n</body>\n</html>\n'
    )


def _table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table; a wide one scrolls by itself, also by keyboard."""
    head = "".join(f'<th scope="col">{escape(own)}</th>' for own in headings)
    lines = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(own)}</td>" for own in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f'<caption class="muted">{escape(caption)}</caption>'
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
    rows = []
    for run in runs:
        finished = [own.summary for own in run.trials if own.summary is not None]
        cells = []
        for _, name, scale, digits in FIGURES:
            values = [own.get(name) for own in finished]
            known = [own for own in values if isinstance(own, int | float)]
            complete = bool(known) and len(known) == len(values)
            mean = statistics.fmean(known) if complete else None
            spread = statistics.stdev(known) if complete and len(known) > 1 else None
            cells.append(_figure(mean, spread, scale, digits))
        rows.append([run.name, f"{len(finished)} of {_seeds(run)}", *cells])
    headings = ["run", "seeds finished", *(own[0] for own in FIGURES)]
    return _table("Mean ± standard deviation over the finished seeds", headings, rows)


def _seeds(run: Run) -> int:
    return len(run.config.get("seeds") or [0])


def _differences(comparison: Comparison) -> str:
    rows = []
    for own in comparison.differences:
        figures = [own.get(name) or {} for _, name, _, _ in DIFFERENCES]
        cells = [
            _figure(figure.get("mean"), figure.get("standard_error"), scale, digits)
            for figure, (_, _, scale, digits) in zip(figures, DIFFERENCES, strict=True)
        ]
        rows.append([f"{own.get('system')}: {own.get('rule')} less {own.get('less')}", *cells])
    caption = f"{comparison.name}: differences seed by seed, mean ± standard error"
    return _table(caption, ["difference", *(own[0] for own in DIFFERENCES)], rows)


def _curves(drawn: Sequence[Figure]) -> str:
    each = "".join(
        f"<figure>{own.svg}<figcaption>{escape(own.caption)}</figcaption></figure>\n"
        for own in drawn
    )
    return (
        '<p class="muted">A line is the mean over a run\'s seeds, the band their range.</p>'
        f'<div class="figures">{each}</div>'
    )


def _run(run: Run) -> str:
    if run.command is None:
        command = '<p class="muted">The command is known once the run is finished.</p>'
    else:
        command = f'<pre tabindex="0"><code>{escape(run.command)}</code></pre>'
    values = [[name, _shown(value)] for name, value in run.config.items()]
    origin = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    commit = f"commit {run.commit}" if run.commit else "no commit known"
    return (
        f"<h3>{escape(run.name)}</h3><p>To reproduce it:</p>{command}"
        f'<p class="muted">{escape(commit)}{"; " if origin else ""}{escape(origin)}</p>'
        "<details><summary>Configuration</summary>"
        f"{_table(f'Configuration of {run.name}', ['option', 'value'], values)}</details>"
    )


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

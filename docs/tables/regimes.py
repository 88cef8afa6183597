"""The tables of the regimes: of `leastcontrol reproduce regimes`.

One table counts the verdicts on every arm in every regime; one for each regime holds its arms under
every setting, with their paired differences to backpropagation.
"""

from collections.abc import Callable, Mapping, Sequence

from .description import DASH, Column, File, Row, Table, share, under, words

PAGE = "docs/regimes.md"
WRITER = "leastcontrol reproduce regimes --results FILE"
FILES = [File("regimes.json", {"experiments.0.experiment": "regimes"})]
NAMES = (
    "online",
    "few-data",
    "drift",
    "forgetting",
    "noise",
    "narrow-and-deep",
    "fast-learning",
)
VERDICTS = ("helps", "does not", "cannot be told")
BASELINES = ("backpropagation, Adam", "backpropagation, SGD")


def _regimes(rows: list[Row]) -> list[Row]:
    (experiment,) = rows
    return [experiment.plus(**regime) for regime in experiment["regimes"]]


def _counted(counts: Mapping[str, int]) -> str:
    """Says how often each verdict was passed; only the verdict where it is the same everywhere."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{verdict}: {counts[verdict]}" for verdict in VERDICTS if verdict in counts)


def _verdicts(rows: list[Row]) -> list[Row]:
    regimes = _regimes(rows)
    return [
        regimes[0].plus(
            arm=arm,
            **{regime["name"]: _counted(regime["verdicts"][arm]) for regime in regimes},
        )
        for arm in regimes[0]["verdicts"]
    ]


def _signed(difference: Sequence[float], digits: int) -> str:
    mean, error = difference
    return f"{mean:+.{digits}f} ± {error:.{digits}f}"


def _arms(name: str) -> Callable[[list[Row]], list[Row]]:
    def arrange(rows: list[Row]) -> list[Row]:
        (regime,) = (candidate for candidate in _regimes(rows) if candidate["name"] == name)
        shown = []
        for setting in regime["settings"]:
            digits = setting["digits"]
            for arm in setting["arms"]:
                better = arm["arm"] == setting["better_baseline"]
                differences = {
                    baseline: _signed(arm["differences"][baseline], digits)
                    for baseline in BASELINES
                    if baseline != arm["arm"]
                }
                shown.append(
                    regime.plus(
                        setting=setting["setting"],
                        arm=f"**{arm['arm']}**" if better else arm["arm"],
                        measured=f"{arm['mean']:.{digits}f} ± {arm['deviation']:.{digits}f}",
                        figure=f"{setting['figure']} {setting['unit']}".rstrip(),
                        adam=differences.get(BASELINES[0]),
                        sgd=differences.get(BASELINES[1]),
                        verdict=arm["verdict"],
                        removed=arm["removed"],
                        solved=arm["solved"],
                        rate=f"{arm['rate']:g}" + (" (edge)" if arm["rate_at_edge"] else ""),
                    )
                )
        return shown

    return arrange


TABLES = (
    Table(
        PAGE,
        "regimes",
        WRITER,
        FILES,
        [words("arm", "arm"), *(words(name, name) for name in NAMES)],
        under("experiments"),
        _verdicts,
    ),
    *(
        Table(
            PAGE,
            f"regimes-{name}",
            WRITER,
            FILES,
            [
                words("setting", "setting"),
                words("arm", "arm"),
                words("figure", "figure"),
                words("mean ± deviation", "measured"),
                Column("better than Adam by", "adam", absent=DASH),
                Column("better than SGD by", "sgd", absent=DASH),
                Column("verdict", "verdict", absent=DASH, left=True),
                Column("loss removed, %", "removed", "{:.1f}".format, 100, absent=DASH),
                Column("solved, %", "solved", share),
                words("learning rate", "rate"),
            ],
            under("experiments"),
            _arms(name),
            above=lambda row: f"{row['protocol'][0].upper()}{row['protocol'][1:]}.",
            commands=False,
        )
        for name in NAMES
    ),
)

"""Short labels of runs, for legends and tables; the full names are shown on hover."""

import itertools
import re
from collections.abc import Sequence

LONGEST = 22


def short_labels(names: Sequence[str]) -> list[str]:
    """Shortens names to at most `LONGEST` characters, all of them different.

    Of the long names is left out what all of them begin or end with, up to a separator; what is
    still too long loses its middle. Names that would then be equal are numbered.
    """
    long = [name for name in names if len(name) > LONGEST]
    if not long:
        return list(names)
    rests = _without_shared(long)
    rests = [rest[::-1] for rest in _without_shared([rest[::-1] for rest in rests])]
    short = dict(zip(long, rests, strict=True))
    taken = {name for name in names if name not in short}
    labels = []
    for name in names:
        label = name if name not in short else _without_middle(short[name], LONGEST)
        if name in short:
            label = _unlike(label, taken)
        taken.add(label)
        labels.append(label)
    return labels


def _unlike(label: str, taken: set[str]) -> str:
    endings = ("", *(f" {number}" for number in range(2, len(taken) + 3)))
    each = (_without_middle(label, LONGEST - len(ending)) + ending for ending in endings)
    return next(candidate for candidate in each if candidate not in taken)


def _without_shared(names: Sequence[str]) -> list[str]:
    """Leaves out what all of several names begin with, up to its last separator."""
    first, last = min(names), max(names)
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    ends = [match.end() for match in re.finditer("[-_/ .]+", "".join(one for one, _ in pairs))]
    if len(names) < 2 or not ends:
        return list(names)
    return [name[ends[-1] :] or name for name in names]


def _without_middle(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    end = longest // 3
    return f"{name[: longest - end - 1]}…{name[-end:]}"

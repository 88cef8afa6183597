"""4 × 4 Sudoku: its 288 grids, their symmetries, and puzzles with one solution.

A grid is a vector of 16 digits, row by row, and a puzzle is one with 0 for the cells that are
blank. Symmetries turn grids into grids. The `relabellings` permute the four digits; the 128
`rearrangements` swap rows within a band, columns within a stack, the two bands and the two stacks,
and transpose. All grids together are small, so every property is found by trying all of them.

Under all symmetries there are two classes of grids, of 192 and 96. They are not alike: most puzzles
of the first need 4 givens, most of the second 5, so that one class is no fair validation of the
other, and two classes make no three parts. The split therefore uses a subgroup, the relabellings,
whose 12 orbits have 24 grids each: 8 of them make up the larger class, 4 the smaller one. Whole
orbits are drawn for each part, of both classes in the ratio of their sizes. So no grid of the test
is a grid of the training with other digits; some are rearrangements of one.
"""

from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

SIDE, BOX = 4, 2
CELLS = SIDE * SIDE
# Orbits of the larger and of the smaller class that are kept from the training, for each part.
HELD_ORBITS = (2, 1)

Grids = Int[np.ndarray, "grids 16"]


class Split(NamedTuple):
    """The grids of each part."""

    train: Grids
    validation: Grids
    test: Grids


class Puzzles(NamedTuple):
    """Puzzles, with 0 for a blank, and their solutions."""

    given: Int[np.ndarray, "puzzles 16"]
    solution: Int[np.ndarray, "puzzles 16"]


def all_grids() -> Grids:
    """Finds all grids, in lexicographic order."""
    rows = np.array(list(permutations(range(1, SIDE + 1))))
    bands = [
        (above, below)
        for above, below in product(rows, rows)
        if all(len({*above[s : s + BOX], *below[s : s + BOX]}) == SIDE for s in range(0, SIDE, BOX))
    ]
    grids = [np.stack([*upper, *lower]) for upper, lower in product(bands, bands)]
    every = np.array([g.ravel() for g in grids if all(len({*column}) == SIDE for column in g.T)])
    return every[np.lexsort(every.T[::-1])]


def relabelled(grids: Grids) -> Grids:
    """Permutes the digits of each grid so that its first row is 1, 2, 3, 4."""
    names = np.argsort(grids[:, :SIDE], axis=1) + 1
    return np.take_along_axis(names, grids - 1, axis=1)


def rearrangements() -> Int[np.ndarray, "128 16"]:
    """Makes the rearrangements; `grid[rearrangement]` is the grid that one makes."""
    cells = np.arange(CELLS).reshape(SIDE, SIDE)
    lines = [
        np.array([*first, *second])
        for pair in permutations([(0, 1), (2, 3)])
        for first, second in product(permutations(pair[0]), permutations(pair[1]))
    ]
    return np.stack(
        [
            turned[rows][:, columns].ravel()
            for turned in (cells, cells.T)
            for rows, columns in product(lines, lines)
        ]
    )


def classes(grids: Grids) -> tuple[Int[np.ndarray, " grids"], Int[np.ndarray, " grids"]]:
    """Numbers the class of each grid under all symmetries, and its orbit under relabellings."""
    images = np.stack([relabelled(grids[:, turn]) for turn in rearrangements()])
    codes = images @ (SIDE + 1) ** np.arange(CELLS)
    _, under_all = np.unique(codes.min(axis=0), return_inverse=True)
    _, orbits = np.unique(relabelled(grids), axis=0, return_inverse=True)
    return under_all, orbits


def split(grids: Grids, rng: np.random.Generator) -> Split:
    """Splits all grids as this module says; `rng` draws the orbits."""
    under_all, orbits = classes(grids)
    by_size = np.argsort(-np.bincount(under_all))
    drawn = [rng.permutation(np.unique(orbits[under_all == number])) for number in by_size]

    def part(first: int, last: int | None) -> Grids:
        chosen = [
            permuted[first * held : None if last is None else last * held]
            for permuted, held in zip(drawn, HELD_ORBITS, strict=True)
        ]
        return grids[np.isin(orbits, np.concatenate(chosen))]

    return Split(train=part(2, None), validation=part(0, 1), test=part(1, 2))


def has_one_solution(
    givens: Bool[np.ndarray, "puzzles 16"], solutions: Grids, every: Grids
) -> Bool[np.ndarray, " puzzles"]:
    """Tells which cells, if they alone are given, determine the solution among all grids."""
    differs = solutions[:, None] != every[None]
    return np.sum(~np.any(differs & givens[:, None], axis=2), axis=1) == 1


def draw_puzzles(solutions: Grids, every: Grids, a_grid: int, rng: np.random.Generator) -> Puzzles:
    """Draws puzzles of which no given can be removed without a second solution; no two are equal.

    Blanks the cells of a grid in random order, each unless the solution would no longer be unique.
    The puzzles are in random order too.

    **Arguments:**

    * `solutions`: the grids to make puzzles of.
    * `every`: all grids.
    * `a_grid`: how many are drawn of each, before equal ones are taken together.
    * `rng`: draws the orders of cells and puzzles.
    """
    solutions = np.repeat(solutions, a_grid, axis=0)
    orders = rng.permuted(np.tile(np.arange(CELLS), (len(solutions), 1)), axis=1)
    givens = np.ones(solutions.shape, bool)
    for cells in orders.T:
        fewer = givens.copy()
        fewer[np.arange(len(cells)), cells] = False
        givens = np.where(has_one_solution(fewer, solutions, every)[:, None], fewer, givens)
    _, first = np.unique(solutions * givens, axis=0, return_index=True)
    first = rng.permutation(first)
    return Puzzles((solutions * givens)[first], solutions[first])

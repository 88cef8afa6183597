"""A study: six gradients of a recursive reasoner on 4 × 4 Sudoku.

`sudoku` makes the puzzles, `model` is the reasoner, `arms` are the gradients that are compared, and
`measures` is what they are compared by. `study` trains all of them and writes what came out:

    PYTHONPATH=examples python -m reasoner.study --out runs/reasoner
"""

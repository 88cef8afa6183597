"""The command line: the verbs of the library, and its words.

Options are frozen dataclasses that tyro turns into flags; nothing heavy is imported before they
are parsed and checked. A mistake of the user ends with one sentence and exit status 2, a check or
a training that fails with exit status 1.
"""

from ._main import main as main

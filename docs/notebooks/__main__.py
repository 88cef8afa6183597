"""Runs examples and stores what they print: `make notebooks`.

`PYTHONPATH=docs python -m notebooks NAME ...` runs only some of them.
"""

import argparse
from pathlib import Path

from .outputs import store
from .script import scripts

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Runs the script."""
    examples = {script.name: script for script in scripts(ROOT)}
    parser = argparse.ArgumentParser(
        prog="python -m notebooks", description="Run examples and store what they print."
    )
    parser.add_argument("names", nargs="*", choices=[*examples, []], metavar="NAME")
    names = parser.parse_args().names or list(examples)
    store(ROOT, [examples[name] for name in names])


if __name__ == "__main__":
    main()

"""`python -m leastcontrol.cli`, the same as `leastcontrol`."""

from ._main import main

main()

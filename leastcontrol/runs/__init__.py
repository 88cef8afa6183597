"""Runs: configurations in the words of the command line, run folders, and what trains into them."""

"""What writes the tables of the README and the documentation from `results/`."""

"""The words of `leastcontrol meta`."""

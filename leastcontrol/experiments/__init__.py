"""Experiments by name, and what is checked before one trusts them."""

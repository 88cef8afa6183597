"""Verification of the method on random systems and against reference vectors."""

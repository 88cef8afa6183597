"""The method's properties on random systems, and reference vectors."""

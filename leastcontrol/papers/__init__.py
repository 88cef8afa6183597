"""The papers' tables and figures: the published numbers, and the runs that reproduce them."""

"""The papers' tables and figures: what they report, and the runs that reproduce them."""

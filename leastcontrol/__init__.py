"""Train systems that settle by the least-control principle."""

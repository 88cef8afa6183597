"""Measurements that a run takes of itself during training."""

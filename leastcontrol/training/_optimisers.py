"""The optimisers of a configuration."""

import jax
import optax
from jaxtyping import PyTree

from ._config import TrainingConfig


def make_optimiser(config: TrainingConfig, total_steps: int) -> optax.GradientTransformation:
    """Builds Adam with the cosine schedule of a configuration, after clipping."""
    adam = _adam(config, config.learning_rate, total_steps)
    if config.gradient_clip is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)


def make_feedback_optimiser(
    config: TrainingConfig, total_steps: int
) -> optax.GradientTransformation:
    """Builds Adam with the schedule of the feedback weights, without clipping."""
    rate = config.feedback_learning_rate
    return _adam(config, config.learning_rate if rate is None else rate, total_steps)


def _adam(config: TrainingConfig, rate: float, total_steps: int) -> optax.GradientTransformation:
    last = config.final_learning_rate / config.learning_rate
    return optax.adam(optax.cosine_decay_schedule(rate, total_steps, alpha=last))


def updated_weights(weights: PyTree, updates: PyTree, decay: float) -> PyTree:
    """Applies an optimiser's updates to weights, which also decay by a share of what they were."""
    moved = optax.apply_updates(weights, updates)
    if decay == 0:
        return moved
    return jax.tree.map(
        lambda after, before: after - decay * before if before.ndim >= 2 else after, moved, weights
    )

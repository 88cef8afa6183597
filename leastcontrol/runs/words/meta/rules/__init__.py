"""The words of meta-training's `--rule`."""

from ....options import words_in
from ._rule import AbstractMetaRuleWord as AbstractMetaRuleWord

META_RULES: tuple[type[AbstractMetaRuleWord], ...] = words_in(
    __name__,
    "least_control",
    "first_order_maml",
    "maml",
    "reptile",
    "t1_t2",
    "implicit_maml",
    "contrastive",
)

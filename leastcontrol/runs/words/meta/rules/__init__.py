"""The words of meta-training's `--rule`."""

from ._rule import AbstractMetaRuleWord as AbstractMetaRuleWord
from .contrastive import Contrastive
from .first_order_maml import FirstOrderMAML
from .implicit_maml import ImplicitMAML
from .least_control import LeastControl
from .maml import MAML
from .reptile import Reptile
from .t1_t2 import T1T2

META_RULES: tuple[type[AbstractMetaRuleWord], ...] = (
    LeastControl,
    FirstOrderMAML,
    MAML,
    Reptile,
    T1T2,
    ImplicitMAML,
    Contrastive,
)

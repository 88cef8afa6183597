"""The word `implicit-maml`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ....options import at_least, option
from ..controls._control import AbstractMomentum
from ._rule import AbstractProximalRule

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule


@dataclasses.dataclass(frozen=True)
class ImplicitMAML(AbstractProximalRule, AbstractMomentum):
    """Implicit differentiation by conjugate gradients."""

    word: ClassVar[str] = "implicit-maml"

    products: int = option(5, "Products of the Hessian with a vector", range=at_least(1))

    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule."""
        from .....meta import ImplicitMAML

        return ImplicitMAML(self.relaxation(config, self.momentum), products=self.products)

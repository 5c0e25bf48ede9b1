"""What single methods need beside delta: a first layer, a critic, averaged weights; and what options add to a step."""

from .adaptive import AdaptiveAttack
from .base import Extension, get_extension, register_extension
from .exchange import TokenExchange
from .infobert import AnchoredInformation
from .smart import ProximalTerm
from .yopo import FirstLayerAscents

__all__ = [
    "AdaptiveAttack",
    "AnchoredInformation",
    "Extension",
    "FirstLayerAscents",
    "ProximalTerm",
    "TokenExchange",
    "get_extension",
    "register_extension",
]

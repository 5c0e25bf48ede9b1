"""How the input is attacked: perturbations of embeddings and pixels, one method per file."""

from .base import Adversary
from .fgm import FGM
from .freelb import FreeLB
from .freelb_plus_plus import FreeLBPlusPlus
from .injection import Injector, perturbation_mask
from .pgd import PGD
from .pixel_pgd import PixelBox, PixelInjector, PixelPGD
from .registry import get_adversary, list_adversaries, register_adversary

__all__ = [
    "FGM",
    "PGD",
    "Adversary",
    "FreeLB",
    "FreeLBPlusPlus",
    "Injector",
    "PixelBox",
    "PixelInjector",
    "PixelPGD",
    "get_adversary",
    "list_adversaries",
    "perturbation_mask",
    "register_adversary",
]

"""How the input is attacked: perturbations of embeddings and pixels, one method per file."""

from .alum import ALUM
from .base import Adversary, Memory
from .divergence import kl_divergence, symmetric_kl
from .fgm import FGM
from .fgsm import FGSM
from .free_at import FreeAT
from .freelb import FreeLB
from .freelb_plus_plus import FreeLBPlusPlus
from .infobert import InfoBERT
from .injection import Injector, perturbation_mask
from .mart import MART
from .pgd import PGD
from .pixel_box import PixelBox, PixelInjector
from .pixel_fast import PixelFast
from .pixel_free import PixelFree
from .pixel_mart import PixelMART
from .pixel_pgd import PixelPGD
from .pixel_space import PixelSpace
from .pixel_trades import PixelTRADES
from .r_drop import RDrop
from .random_noise import RandomNoise
from .registry import get_adversary, list_adversaries, register_adversary
from .regularizer import Regularizer
from .smart import SMART
from .ta_vat import TAVAT
from .trades import TRADES
from .vat import VAT
from .yopo import YOPO

__all__ = [
    "ALUM",
    "FGM",
    "FGSM",
    "MART",
    "PGD",
    "SMART",
    "TAVAT",
    "TRADES",
    "VAT",
    "YOPO",
    "Adversary",
    "FreeAT",
    "FreeLB",
    "FreeLBPlusPlus",
    "InfoBERT",
    "Injector",
    "Memory",
    "PixelBox",
    "PixelFast",
    "PixelFree",
    "PixelInjector",
    "PixelMART",
    "PixelPGD",
    "PixelSpace",
    "PixelTRADES",
    "RDrop",
    "RandomNoise",
    "Regularizer",
    "get_adversary",
    "kl_divergence",
    "list_adversaries",
    "perturbation_mask",
    "register_adversary",
    "symmetric_kl",
]

"""How the input is attacked: perturbations of embeddings and pixels, one method per file."""

from .base import Adversary, AdversaryState
from .divergence import kl_divergence, symmetric_kl
from .hooks import PerturbationHook, perturbation_mask
from .pixels.box import PixelBox, PixelHook
from .pixels.fast import PixelFast
from .pixels.free import PixelFree
from .pixels.mart import PixelMART
from .pixels.pgd import PixelPGD
from .pixels.space import PixelSpace
from .pixels.trades import PixelTRADES
from .registry import get_adversary, list_adversaries, register_adversary
from .regularizer import Regularizer
from .text.alum import ALUM
from .text.fgm import FGM
from .text.fgsm import FGSM
from .text.free_at import FreeAT
from .text.freelb import FreeLB
from .text.freelb_plus_plus import FreeLBPlusPlus
from .text.hotflip import HotFlip
from .text.infobert import InfoBERT
from .text.mart import MART
from .text.pgd import PGD
from .text.r_drop import RDrop
from .text.random_noise import RandomNoise
from .text.smart import SMART
from .text.ta_vat import TAVAT
from .text.trades import TRADES
from .text.vat import VAT
from .text.yopo import YOPO
from .units import norm_at

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
    "AdversaryState",
    "FreeAT",
    "FreeLB",
    "FreeLBPlusPlus",
    "HotFlip",
    "InfoBERT",
    "PerturbationHook",
    "PixelBox",
    "PixelFast",
    "PixelFree",
    "PixelHook",
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
    "norm_at",
    "perturbation_mask",
    "register_adversary",
    "symmetric_kl",
]

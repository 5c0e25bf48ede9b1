"""What natural noise is made of: neighbours on a keyboard, and letters that scanners mistake for one another."""

from __future__ import annotations

_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
"""A US keyboard; each row stands half a key further to the right than the one above."""


def _neighbours() -> dict[str, str]:
    found: dict[str, str] = {}
    for y, row in enumerate(_ROWS):
        for x, key in enumerate(row):
            near = [(y, x - 1), (y, x + 1), (y - 1, x), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x)]
            found[key] = "".join(_ROWS[j][i] for j, i in near if 0 <= j < len(_ROWS) and 0 <= i < len(_ROWS[j]))
    return found


KEYBOARD = _neighbours()
"""Key -> the keys that touch it."""

OCR = {
    "0": ("O", "o"),
    "1": ("l", "I"),
    "2": ("Z", "z"),
    "5": ("S", "s"),
    "6": ("b", "G"),
    "8": ("B",),
    "9": ("g", "q"),
    "B": ("8",),
    "D": ("O", "0"),
    "G": ("6", "C"),
    "I": ("l", "1"),
    "O": ("0", "Q"),
    "S": ("5",),
    "Z": ("2",),
    "a": ("o",),
    "b": ("6", "h"),
    "c": ("e", "o"),
    "cl": ("d",),
    "d": ("cl",),
    "e": ("c",),
    "f": ("t",),
    "g": ("9", "q"),
    "h": ("b", "li"),
    "i": ("l", "1"),
    "l": ("1", "I"),
    "li": ("h",),
    "m": ("rn", "nn"),
    "n": ("ri", "u"),
    "nn": ("m",),
    "o": ("0", "c"),
    "q": ("g", "9"),
    "rn": ("m",),
    "s": ("5",),
    "t": ("f",),
    "u": ("n", "ii"),
    "v": ("y",),
    "vv": ("w",),
    "w": ("vv",),
    "y": ("v",),
    "z": ("2",),
}
"""What is printed -> what is read: shapes of one letter or two that text recognition confuses."""

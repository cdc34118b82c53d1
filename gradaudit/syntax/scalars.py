"""What a scalar's text means, by who loads it.

PyYAML follows YAML 1.1: a float needs a dot in its mantissa, so `1e-4` is text. OmegaConf,
ruamel.yaml and JSON read it as a number. Measured differences: `docs/yaml.md`. In JSON and TOML
the spelling decides; their readers put the type into the node's tag, so that nobody who asks for
a value need know from what file it comes.
"""

from __future__ import annotations

import re
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.tree import Scalar

BOOL, INT, FLOAT, NULL, TIME = TYPES = ("bool", "int", "float", "null", "time")
"""The tags of plain values in JSON and TOML. A `time` (a date, too) is read as its text."""

Value = bool | int | float | str | None
Number = int | float
"""What is whole stays so, in a compiled module too: `float` alone would make `8` an `8.0` there."""

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_TRUE_11 = _TRUE | {"yes", "Yes", "YES", "on", "On", "ON"}
_FALSE_11 = _FALSE | {"no", "No", "NO", "off", "Off", "OFF"}

_LONGEST = 250
"""Characters beyond which a number stays text: 250 hexadecimal digits still fit a float."""

_KEPT = 4096
"""Texts whose meaning is kept: the configs of a directory have most of their values in common."""

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_INT_ODD = r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+)\Z"
_FLOAT_11 = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?)\Z"
)
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = {
    ".inf": float("inf"),
    "+.inf": float("inf"),
    "-.inf": float("-inf"),
    ".nan": float("nan"),
}
_BOTCHED = r"[-+]?[0-9.][0-9.,_eE+-]*[eE.,_+-][0-9.,_eE+-]*\Z"


def read_scalar(node: Scalar, yaml11: bool = True) -> Value:
    """The value as a YAML loader gives it: 1.1 (PyYAML) or 1.2 (ruamel.yaml, OmegaConf).

    In a JSON or TOML file it is what `json` or `tomllib` gives, whatever `yaml11` says.
    """
    text = node.value
    tag = node.tag
    if tag is not None:
        if tag in TYPES and not node.style:
            return _typed(text, tag)
        if tag.endswith(":str") or not tag.startswith("tag:yaml.org,2002:"):
            return text
        if tag.endswith(":float"):
            number = to_number(text)
            return text if number is None else float(number)
    return text if node.style or len(text) > _LONGEST else _plain(text, yaml11)


def read_plain(text: str, yaml11: bool = True) -> Value:
    """What stands bare in a YAML file, without a tag."""
    return text if len(text) > _LONGEST else _plain(text, yaml11)


@lru_cache(_KEPT)
def _plain(text: str, yaml11: bool) -> Value:
    if text in _NULL:
        return None
    if text in (_TRUE_11 if yaml11 else _TRUE):
        return True
    if text in (_FALSE_11 if yaml11 else _FALSE):
        return False
    if text[0] not in "0123456789+-.":
        return text
    if _INT.match(text):
        return int(text.replace("_", ""))
    if (_FLOAT_11 if yaml11 else _FLOAT).match(text):
        return float(text.replace("_", ""))
    if text.lstrip("+-")[:1] == "0" and re.match(_INT_ODD, text):
        return _odd_integer(text, yaml11)
    special = _SPECIAL.get(text.lower())
    return text if special is None else special


def _typed(text: str, tag: str) -> Value:
    """A plain value of JSON or TOML; its text where it is too long for a number.

    A YAML file can bear such a tag too (`!<int> x`): then anything may stand here.
    """
    if tag == BOOL:
        return text == "true"
    if tag == NULL:
        return None
    if tag == TIME or len(text) > _LONGEST:
        return text
    try:
        return int(text, 0) if tag == INT else float(text)
    except ValueError:
        return text


def _odd_integer(text: str, yaml11: bool) -> int | str:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-").replace("_", "")
    if digits.startswith("0b"):
        return sign * int(digits[2:], 2) if yaml11 else text
    if digits.startswith("0x"):
        return sign * int(digits[2:], 16)
    if digits.startswith("0o"):
        return text if yaml11 else sign * int(digits[2:], 8)
    return sign * int(digits, 8 if yaml11 else 10)


def to_number(text: str) -> Number | None:
    """The number that a person means by `text`, whatever a loader makes of it."""
    text = text.strip()
    return None if len(text) > _LONGEST else _number(text)


@lru_cache(_KEPT)
def _number(text: str) -> Number | None:
    if _INT.match(text):
        return int(text.replace("_", ""))
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    return _SPECIAL.get(text.lower())


def looks_botched(text: str) -> bool:
    """`1.0e_8`, `1,5`, `1.0.5`: meant as a number, but no loader reads one."""
    if text.strip("0123456789.,_eE+-") or to_number(text) is not None:
        return False  # most texts, which need no pattern
    return bool(re.match(_BOTCHED, text)) and text.count("-") < 2


def yaml_float(value: Number) -> str:
    """Spell a number so that every loader reads a number: `1.0e-05`, never `1e-05`."""
    if isinstance(value, int):
        return str(value)
    text = repr(value)
    if "e" in text and "." not in text.split("e")[0]:
        text = text.replace("e", ".0e")
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)

"""How a value is written: the text that every loader reads back as that value."""

from __future__ import annotations

import re

from gradaudit.syntax.scalars import Value, yaml_float

_PLAIN = re.compile(r"(?:[^\W\d]|/)[\w./+@\\-]*(?: [\w./+@][\w./+@-]*)*\Z")
"""Text that needs no quotes in a block or flow collection, under YAML 1.1 and 1.2. Anything that
starts with a digit, a sign or a dot is quoted: it may be a number or a date to some loader."""

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

_JSON_LIKE_PYTHON = {".inf": "Infinity", "-.inf": "-Infinity", ".nan": "NaN"}

_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"))


def spell(value: Value, *, json_file: bool = False, style: str = "") -> str:
    """Write `value` as a scalar on one line.

    `style` is the quote that text keeps (`'` or `"`); other values are never quoted. A JSON file
    has no spelling for infinity and NaN: they come out as Python's `json` writes them, and an
    edit that uses one is refused because it does not read back.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = yaml_float(value)
        return _JSON_LIKE_PYTHON.get(text, text) if json_file else text
    if json_file:
        return _double_quoted(value, json_file=True)
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style != '"' and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return _double_quoted(value, json_file=False)


def _double_quoted(value: str, *, json_file: bool) -> str:
    """JSON's quoting, which YAML shares; unprintable characters are escaped in either's way."""
    return '"' + "".join(_escaped(char, json_file=json_file) for char in value) + '"'


def _escaped(char: str, *, json_file: bool) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if char.isprintable():
        return char
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    # Beyond 16 bits JSON needs two surrogates, which libyaml rejects.
    return char if json_file else f"\\U{code:08x}"

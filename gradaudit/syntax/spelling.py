"""How a value is written: the text that every loader of its format reads back as that value."""

from __future__ import annotations

import re

from gradaudit.syntax.scalars import Value, yaml_float

_PLAIN = r"(?:[^\W\d]|/)[\w./+@\\-]*(?: [\w./+@][\w./+@-]*)*\Z"
"""Text that needs no quotes in a block or flow collection, under YAML 1.1 and 1.2. Anything that
starts with a digit, a sign or a dot is quoted: it may be a number or a date to some loader."""

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

_NOT_FINITE = {
    "json": {".inf": "Infinity", "-.inf": "-Infinity", ".nan": "NaN"},
    "toml": {".inf": "inf", "-.inf": "-inf", ".nan": "nan"},
}

_BARE_KEY = r"[A-Za-z0-9_-]+\Z"

_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"))


def spell(value: Value, format: str = "yaml", style: str = "") -> str:
    """Write `value` as a scalar on one line, as a file of this `format` has it.

    `style` is the quote that text keeps (`'` or `"`); other values are never quoted. What a
    format has no word for (null in TOML; infinity and NaN in JSON) is refused by `fix.splice`.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = yaml_float(value)
        return _NOT_FINITE[format].get(text, text) if format in _NOT_FINITE else text
    if format == "json":
        return _double_quoted(value, format)
    if format == "toml":
        if style == "'" and value.isprintable() and "'" not in value:
            return f"'{value}'"
        return _double_quoted(value, format)
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style != '"' and re.match(_PLAIN, value) and value.lower() not in _WORDS:
        return value
    return _double_quoted(value, format)


def spell_key(name: str, format: str = "yaml", style: str = "") -> str:
    """Write a key, in the quotes (`style`) that the keys beside it have."""
    if format == "toml" and not style and re.match(_BARE_KEY, name):
        return name
    return spell(name, format, style)


def keeps_quotes(value: Value, format: str, style: str) -> bool:
    """Text that is spelt by its quotes: whatever spelling is asked for, `spell` decides."""
    return isinstance(value, str) and (style in ("'", '"') or format != "yaml")


def _double_quoted(value: str, format: str) -> str:
    """JSON's quoting, which YAML and TOML share; unprintable characters are escaped as each can."""
    return '"' + "".join(_escaped(char, format) for char in value) + '"'


def _escaped(char: str, format: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if char.isprintable():
        return char
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    if format == "json":  # beyond 16 bits JSON takes two escapes
        first, second = divmod(code - 0x10000, 0x400)
        return f"\\u{0xD800 + first:04x}\\u{0xDC00 + second:04x}"
    return f"\\U{code:08x}"

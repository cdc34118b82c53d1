"""The scalars of TOML: strings, numbers, dates. What they may look like, `tomllib` judges."""

from __future__ import annotations

import re

from gradaudit.syntax.scalars import BOOL, FLOAT, INT, TIME
from gradaudit.syntax.tree import Scalar

_STRINGS = {
    '"""': re.compile(r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+"""("{0,2})'),
    "'''": re.compile(r"'''[\s\S]*?'''('{0,2})"),
    '"': re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"()'),
    "'": re.compile(r"'[^'\n]*+'()"),
}
_PLAIN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9:.+Zz-]+|[^\s,\[\]{}#\"']+")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-|[0-9]{2}:")
_INT = re.compile(r"[-+]?[0-9_]+\Z|0[xob]")

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DOT = re.compile(r"[ \t]*+\.[ \t]*+")

_ESCAPE = re.compile(
    r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})"
    r"|([btnfre\"\\])|[ \t]*+\r?\n[ \t\r\n]*+)"
)
_SHORT = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}


class Unclear(Exception):
    """Not TOML, as far as our own reader can tell; `at` is where it gave up."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def read_scalar_at(text: str, at: int) -> Scalar:
    """The value that begins at `at`, its parent not set.

    Raises:
        Unclear: there is none.
    """
    if text[at : at + 1] in ('"', "'"):
        return _string(text, at, multiline=True)
    match = _PLAIN.match(text, at)
    if match is None:
        raise Unclear(at)
    value = match.group()
    node = scalar(value, "", at, match.end())
    if value in ("true", "false"):
        node.tag = BOOL
    elif _TIME.match(value):
        node.tag = TIME
    else:
        node.tag = INT if _INT.match(value) else FLOAT
    return node


def read_key_at(text: str, at: int) -> list[Scalar]:
    """The parts of the dotted key that begins at `at`, their parents not set.

    Raises:
        Unclear: there is none.
    """
    parts: list[Scalar] = []
    while True:
        if text[at : at + 1] in ('"', "'"):
            parts.append(_string(text, at, multiline=False))
        else:
            match = _BARE.match(text, at)
            if match is None:
                raise Unclear(at)
            parts.append(scalar(match.group(), "", at, match.end()))
        dot = _DOT.match(text, parts[-1].end)
        if dot is None:
            return parts
        at = dot.end()


def scalar(value: str, style: str, start: int, end: int) -> Scalar:
    """A node of these, without tag and parent."""
    node = Scalar()
    node.value = value
    node.style = style
    node.tag = node.anchor = None
    node.start = start
    node.end = end
    node.parent = None
    return node


def _string(text: str, at: int, multiline: bool) -> Scalar:
    style = text[at]
    if multiline and text.startswith(style * 3, at):
        style *= 3
    match = _STRINGS[style].match(text, at)
    if match is None:
        raise Unclear(at)
    value = text[at + len(style) : match.end() - len(style)]
    if len(style) == 3:
        value = value.replace("\r\n", "\n").removeprefix("\n")
    if style[0] == '"' and "\\" in value:
        try:
            value = _ESCAPE.sub(_character, value)
        except (ValueError, OverflowError):  # beyond Unicode
            raise Unclear(at) from None
    return scalar(value, style, at, match.end())


def _character(match: re.Match[str]) -> str:
    short: str | None = match.group(4)
    if short is not None:
        return _SHORT[short]
    code = match.group(1) or match.group(2) or match.group(3)
    return chr(int(code, 16)) if code else ""

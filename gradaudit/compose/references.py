"""How references are written in texts: OmegaConf's `${...}`, with what is nested and escaped."""

from __future__ import annotations

import re

_OPEN = re.compile(r"(\\*)\$\{")
_RESOLVER = re.compile(r"\s*[A-Za-z_][\w.]*:")

_DEEPEST = 50
"""References inside of references."""

LONGEST = 10_000
"""Characters of a text that refers to others: `${a}${a}` doubles with every step."""


class Unknown(Exception):
    """Why a value cannot be known."""


def split(text: str) -> list[tuple[bool, str]]:
    """The plain texts and the insides of `${...}` in a text: (whether it refers, text).

    Raises:
        Unknown: too long, too deep, or a brace is missing.
    """
    if len(text) > LONGEST:
        raise Unknown(f"a text of more than {LONGEST} characters")
    parts: list[tuple[bool, str]] = []
    plain: list[str] = []
    at = 0
    while True:
        match = _OPEN.search(text, at)
        if match is None:
            break
        plain.append(text[at : match.start()])
        slashes = len(match[1])
        plain.append("\\" * (slashes // 2))
        if slashes % 2:  # `\${` is the text `${`
            plain.append("${")
            at = match.end()
            continue
        end = _closing(text, match.end())
        if "".join(plain):
            parts.append((False, "".join(plain)))
        plain = []
        parts.append((True, text[match.end() : end]))
        at = end + 1
    plain.append(text[at:])
    if "".join(plain) or not parts:
        parts.append((False, "".join(plain)))
    return parts


def _closing(text: str, at: int) -> int:
    """Where the brace stands that closes the one before `at`."""
    depth = 1
    for index in range(at, len(text)):
        if text[index] == "{":
            depth += 1
            if depth > _DEEPEST:
                raise Unknown(f"`{brief(text)}` is nested more than {_DEEPEST} deep")
        elif text[index] == "}":
            depth -= 1
            if not depth:
                return index
    raise Unknown(f"`{brief(text)}` is not closed")


def is_resolver(inner: str) -> bool:
    return _RESOLVER.match(inner) is not None


def arguments(text: str) -> list[str]:
    """What stands between the commas that are in no bracket and no quotes."""
    found: list[str] = []
    start, depth, quote = 0, 0, ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "[{(":
            depth += 1
        elif char in "]})":
            depth -= 1
        elif char == "," and not depth:
            found.append(text[start:index].strip())
            start = index + 1
    found.append(text[start:].strip())
    return found


def brief(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."

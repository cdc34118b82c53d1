"""Why a text is not JSON, and the mend. Asked only once it is known that it is not."""

from __future__ import annotations

import re

from gradaudit.syntax.tree import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.source import Source

_WORD = re.compile(r"[^\s,:{}\[\]\"'/#]+")
_KEY_AHEAD = re.compile(r"""[ \t]*(?:"[^"\n]*"|'[^'\n]*'|[\w.$-]+)[ \t]*:""")
_NUMBER_LIKE = re.compile(r"[-+]?\.?[0-9]")
_GOOD_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+')

_PYTHON = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false",
    "None": "null", "Null": "null", "NULL": "null", "nan": "NaN", "inf": "Infinity",
}  # fmt: skip

_CHARACTERS = {
    "'": "single quotes are none of JSON's; write double quotes",
    "#": "`#` begins no comment in JSON; write `//`, or delete the comment for a plain `json.load`",
    "=": "`=` stands where JSON has a colon",
    ";": "`;` stands where JSON has a comma",
    "\ufeff": "a byte-order mark stands inside the text; delete it",
}


def explain(
    source: Source, at: int, wanted: str, parent: Mapping | Sequence | None
) -> tuple[int, str]:
    """The place and the words for what cannot be read at offset `at`.

    `wanted` is what should stand there: a `key`, a `value`, a `colon`, a `comma`, or the `end`.
    """
    text = source.text
    if at >= len(text):
        return at, _ends_early(source, wanted, parent)
    char = text[at]
    if char == '"':
        bad = _bad_string(text, at)
        if bad is not None:
            return bad
    if text.startswith("/*", at) and "*/" not in text[at + 2 :]:
        return at, "a comment `/*` is not closed; write `*/` where it ends"
    if text.startswith(("{{", "{%"), at) or _templated(source, at):
        return at, "the line looks like a template: check the file that it renders to"
    if char in _CHARACTERS:
        return at, _CHARACTERS[char]
    if char in "}]":
        return at, _wrong_bracket(source, char, wanted, parent)
    if wanted == "end":
        return at, "there is more behind the end of the document; a JSON file holds one value"
    if char == ",":
        return at, "there is a comma too many" if wanted != "colon" else _no_value(parent)
    word = _WORD.match(text, at)
    if wanted == "comma":
        return _missing_comma(text, at, word)
    if wanted == "colon":
        return at, "a colon is missing between the key and its value"
    if wanted == "key":
        if char in '{[:"':
            return at, 'a key is missing: write `"key": value`'
        shown = _shown(word.group() if word else char)
        return at, f'a key stands in double quotes: write `"{shown}"`'
    if word is None:
        return at, f"`{_shown(char)}` stands where a value belongs"
    return at, _bad_word(word.group())


def _templated(source: Source, at: int) -> bool:
    line = source.line(source.position(at)[0])
    return "{{" in line or "{%" in line


def _ends_early(source: Source, wanted: str, parent: Mapping | Sequence | None) -> str:
    if parent is None:
        return "there is no value in the file; the smallest JSON is `{}`"
    opening = "{" if type(parent) is Mapping else "["
    closing = "}" if type(parent) is Mapping else "]"
    line = source.position(parent.start)[0]
    last = f"; a {wanted} is missing too" if wanted in ("colon", "value") and opening == "{" else ""
    return f"the file ends before the `{opening}` of line {line} is closed; write `{closing}`{last}"


def _wrong_bracket(
    source: Source, char: str, wanted: str, parent: Mapping | Sequence | None
) -> str:
    if parent is None:
        return f"`{char}` closes nothing; delete it"
    opening = source.text[parent.start]
    closing = "}" if opening == "{" else "]"
    if char != closing:
        line = source.position(parent.start)[0]
        return f"`{char}` stands where the `{opening}` of line {line} wants its `{closing}`"
    return _no_value(parent) if wanted in ("colon", "value") else "there is a comma too many"


def _no_value(parent: Mapping | Sequence | None) -> str:
    what = "its value" if type(parent) is Mapping else "a value"
    return f"{what} is missing; write `null` for none"


def _missing_comma(text: str, at: int, word: re.Match[str] | None) -> tuple[int, str]:
    """What stands right behind a value; the place is then the end of that value."""
    before = len(text[:at].rstrip(" \t\r\n"))
    if before == at and word is not None:  # `1_000`, `0x10`, `nullx`: it is one word with it
        start = at
        while start > 0 and not text[start - 1].isspace() and text[start - 1] not in ',:{}[]"/':
            start -= 1
        if start < at:
            return start, _bad_word(text[start : word.end()])
    if _KEY_AHEAD.match(text, at) or text[at] in '"{[' or word is not None:
        return before, "a comma is missing here, between two entries"
    return at, f"`{_shown(text[at])}` stands where a comma or a closing bracket belongs"


def _bad_word(word: str) -> str:
    if word in _PYTHON:
        return f"`{word}` is none of JSON's words; write `{_PYTHON[word]}`"
    shown = _shown(word)
    if not _NUMBER_LIKE.match(word):
        return f'text stands in double quotes: write `"{shown}"`'
    if word.startswith("+"):
        return f"`{shown}` is no number to JSON; write it without `+`"
    digits = word.lstrip("-")
    if digits[:1] == "0" and digits[1:2].isdigit():
        return f"`{shown}` is no number to JSON; write it without the leading 0"
    if digits.startswith(".") or ".e" in digits.lower() or digits.endswith("."):
        return f"`{shown}` is no number to JSON; write a digit on either side of the dot"
    return f"`{shown}` is no number to JSON; text stands in double quotes"


def _bad_string(text: str, at: int) -> tuple[int, str] | None:
    """What is wrong with the string that begins at `at`; None if nothing is."""
    match = _GOOD_STRING.match(text, at)
    assert match is not None
    end = match.end()
    char = text[end : end + 1]
    if char == '"':
        return None
    if char in ("", "\n", "\r"):
        return at, "the text in double quotes does not end on its line; close it"
    if char == "\\":
        shown = _shown(text[end : end + 2])
        return end, f"`{shown}` is no escape of JSON; write `\\\\` for a backslash"
    return end, f"the character U+{ord(char):04X} must be escaped; write `\\u{ord(char):04x}`"


def _shown(text: str) -> str:
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 40 else text[:40] + "..."

"""What `json` and `tomllib` read in a text, as events for `second_opinion`."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Event = tuple[str, str, str, str]
"""`second_opinion.Seen`'s fields; the kind is also `end` (of a collection)."""

_TAG = "tag:yaml.org,2002:"


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON as its pairs, duplicates included."""


class _Number(str):
    """A number of JSON, by its text. `kind` is `int` or `float`."""

    kind = "float"


class _Integer(_Number):
    kind = "int"


def json_events(text: str) -> Iterator[Event]:
    """Strict JSON as it stands; comments and trailing commas are blanked out before.

    Raises:
        ValueError, RecursionError: as `json.loads`.
    """
    return _events(
        json.loads(
            without_comments(text),
            object_pairs_hook=_Pairs,
            parse_int=_Integer,
            parse_float=_Number,
            parse_constant=_Number,
        )
    )


def toml_events(text: str) -> Iterator[Event]:
    """Values in Python's own spelling; `toml_value` says how a token's is compared with them.

    Raises:
        ValueError, RecursionError: as `tomllib.loads`.
    """
    return _events(tomllib.loads(text), plain=repr)


def toml_value(raw: str) -> str:
    """What `tomllib` makes of one token, spelt as in `toml_events`."""
    return repr(tomllib.loads(f"x = {raw}")["x"])


def _events(root: Any, plain: Any = str) -> Iterator[Event]:
    waiting: list[Any] = [iter((root,))]
    while waiting:
        for value in waiting[-1]:
            if type(value) is _Key:
                yield "scalar", str(value), _TAG + "str", ""
            elif isinstance(value, dict | _Pairs):
                yield "mapping", "", "", ""
                waiting.append(_keys_and_values(value))
                break
            elif isinstance(value, list):
                yield "sequence", "", "", ""
                waiting.append(iter(value))
                break
            else:
                yield _scalar(value, plain)
        else:
            waiting.pop()
            if waiting:
                yield "end", "", "", ""


class _Key(str):
    pass


def _keys_and_values(mapping: dict[str, Any] | _Pairs) -> Iterator[Any]:
    for key, value in mapping.items() if isinstance(mapping, dict) else mapping:
        yield _Key(key)
        yield value


def _scalar(value: Any, plain: Any) -> Event:
    if isinstance(value, _Number):
        return "scalar", str(value), _TAG + value.kind, ""
    if value is None:
        return "scalar", "null", _TAG + "null", ""
    kind = type(value).__name__
    if isinstance(value, bool) and plain is str:
        return "scalar", str(value).lower(), _TAG + kind, ""
    return "scalar", plain(value), _TAG + kind, ""


def without_comments(text: str) -> str:
    """JSON text with its comments and trailing commas blanked, all else at its place.

    Goes from character to character: nothing of `json_reader` is used, which it is to judge.
    """
    out = list(text)
    at, comma = 0, -1
    while at < len(text):
        char = text[at]
        end = at + 1
        if char == '"':
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            end += 1
            comma = -1
        elif char == "/" and text[at + 1 : at + 2] in ("/", "*"):
            end = _comment_end(text, at)
            out[at:end] = [c if c in "\r\n" else " " for c in text[at:end]]
        elif char == ",":
            comma = at
        elif char in "}]":
            if comma >= 0:
                out[comma] = " "
            comma = -1
        elif char not in " \t\r\n":
            comma = -1
        at = end
    return "".join(out)


def _comment_end(text: str, at: int) -> int:
    if text[at + 1] == "*":
        end = text.find("*/", at + 2)
        return len(text) if end < 0 else end + 2
    ends = [end for sign in "\r\n" if (end := text.find(sign, at)) >= 0]
    return min(ends, default=len(text))

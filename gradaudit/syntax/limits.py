"""How deep and how large a file may be; the same for every format."""

from __future__ import annotations

MAX_DEPTH = 200
"""Deepest nesting that is read. Real configs stay under 20; the bound also keeps the recursive
second parsers, which verify a fix, away from Python's recursion limit."""

MAX_NODES = 500_000


def nested_too_deep() -> str:
    return f"nested deeper than {MAX_DEPTH} levels"


def too_many_nodes() -> str:
    return f"more than {MAX_NODES:,} keys and values"

"""Regular expressions that are made when they are first asked for something.

Making one takes up to a millisecond, as long as judging a file, and most checks need few of them.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Later:
    """A regular expression that is made when it is asked for something, and kept then."""

    __slots__ = ("_flags", "_made", "_pattern")

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._pattern = pattern
        self._flags = flags
        self._made: re.Pattern[str] | None = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = re.compile(self._pattern, self._flags)
        return getattr(self._made, name)


def later(pattern: str) -> re.Pattern[str]:
    """What `re.compile` gives, made later: for patterns that few files need. In a long loop ask for
    its method (`match`) once, before."""
    return Later(pattern)  # type: ignore[return-value]  # it answers to all of a pattern's names

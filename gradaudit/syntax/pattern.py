"""Regular expressions that are made when they are first asked for something.

Making one takes up to a millisecond, as long as judging a file, and most checks need few of them.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Later:
    """A regular expression that is made when it is asked for something; `re` keeps it then."""

    __slots__ = ("_flags", "_pattern")

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._pattern = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        return getattr(re.compile(self._pattern, self._flags), name)


def later(pattern: str) -> re.Pattern[str]:
    """What `re.compile` gives, made later: for patterns that few files need, and not for those
    that are asked in a loop."""
    return Later(pattern)  # type: ignore[return-value]  # it answers to all of a pattern's names

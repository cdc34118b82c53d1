"""Which dialect a file is of: by its own markers, else by what it is built on."""

from __future__ import annotations

from gradaudit.dialects import load
from gradaudit.dialects.recognise import Recognised, recognise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.opener import Opener
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Tree


def identify(
    tree: Tree, opener: Opener | None, chosen: str | None = None
) -> tuple[Dialect, Recognised]:
    """The dialect of a file, and why. `chosen` is what the settings say."""
    if chosen is not None:
        return load(chosen), Recognised(chosen, 100, ["the settings name it"])
    found = recognise(tree)
    return load(found.name), found

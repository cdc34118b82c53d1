"""From one file to what its framework reads: base files, groups, linked files, interpolation.

Files are opened through the `Opener` that the audit hands in, and nothing outside the documented
chain of the file is asked for.
"""

from __future__ import annotations

from gradaudit.compose.model import Composed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.opener import Opener
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Tree


def compose(tree: Tree, dialect: Dialect, opener: Opener | None) -> Composed:
    """Put a file together with what its dialect says that it is built on.

    Without an opener (text that has no place on a disk) nothing is opened, and every base is
    missing.
    """
    composed = Composed(tree, dialect)
    if dialect.get("compose"):
        from gradaudit.compose.bases import add_bases

        add_bases(composed, opener)
    return composed

"""From one file to what its framework reads: base files, groups, linked files, interpolation.

Files are opened through the `Opener` that the audit hands in, and nothing outside the documented
chain of the file is asked for.
"""

from __future__ import annotations

from gradaudit.compose.model import Composed
from gradaudit.syntax.tree import Mapping, Scalar

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
    if dialect.get("converts_where") and _is_converted(composed):
        composed.dialect = {**dialect, "loader": "coerced"}
    return composed


def _is_converted(composed: Composed) -> bool:
    """Whether the file has the keys of a script that converts what this dialect's loader does not.

    One set of `converts_where` must be met: `present` and `absent` keys at the top.
    """
    root = composed.roots[0] if composed.roots else None
    if type(root) is not Mapping:
        return False
    keys = {key.value for key, _ in root.pairs if type(key) is Scalar}
    return any(
        all((key in keys) == (there == "present") for key, there in where.items())
        for where in composed.dialect["converts_where"]
    )

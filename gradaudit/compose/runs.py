"""Several files that one launcher reads as one config: GPT-NeoX takes its settings from as many
files as are named together."""

from __future__ import annotations

from gradaudit.compose.merge import empty_like, in_force
from gradaudit.compose.model import Composed
from gradaudit.syntax.tree import Mapping, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.tree import Node


def merge_run(files: list[Composed]) -> Composed:
    """Files of one dialect as one config, in the order in which they were named.

    The result is that of the first file (`tree`, `dialect`); what stands in another is inherited.
    The launcher refuses a key that two files have at the top. Here both entries stay, so that a
    rule can see them, and the later one is in force.

    Raises:
        ValueError: there is no file.
    """
    if not files:
        raise ValueError("a run has at least one file")
    if len(files) == 1:
        return files[0]
    first = files[0]
    run = Composed(first.tree, first.dialect)
    run.roots = []
    pairs: list[tuple[Node, Node]] = []
    like: Mapping | None = None
    for composed in files:
        for tree in composed.trees:
            run.add(tree, composed.mounts.get(id(tree), ()))
        run.missing += composed.missing
        run.under.update(composed.under)
        for root in composed.roots:
            top = resolve(root)
            if type(top) is Mapping:
                like = like or top
                pairs += in_force(top)
    if like is not None:
        whole = empty_like(like)
        whole.pairs = pairs
        run.roots = [whole]
    return run

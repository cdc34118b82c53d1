"""A config as its framework sees it: one root whose leaves may stand in several files."""

from __future__ import annotations

from gradaudit.syntax.tree import Alias, Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Node, Tree

    Path = tuple[str, ...]


LOST = "there is no `", "` in what the file is made of"
"""What stands around the path to which a reference leads in vain, where its value is not known."""


class Missing:
    """A file that the config is built on and that was not read.

    node      where it is named, in `tree`. path: as written.
    reason    in words. severity: `info` where a launcher could supply it or it lies outside what
              may be opened, `error` where it cannot exist or leads back to itself.
    kind      `base`, `primary` (what a hydra option is added to; `path` are words) or `cycle`.
    """

    __slots__ = ("kind", "node", "path", "reason", "severity", "tree")

    def __init__(
        self, tree: Tree, node: Node, path: str, reason: str, severity: str, kind: str = "base"
    ) -> None:
        self.tree = tree
        self.node = node
        self.path = path
        self.reason = reason
        self.severity = severity
        self.kind = kind


class Composed:
    """One file, its dialect, and what it is built on.

    tree     the file itself. trees: it and what was composed, in the order of the chain.
    roots    one node a document; the file's own where nothing was composed, else merged mappings
             (`parent` None) whose keys and leaves are nodes of the files they came from.
    missing  what could not be read: whatever depends on it is unknown, not absent.
    under    id of a tree -> what its bases make together, before the file itself has its say.
    parents  id of a tree -> the file that names it.
    mounts   id of each tree -> the keys under which the root of that file stands below `roots`.
    known    what `value_of` was asked: id of a node -> the node, and the answer.
    is_run   whether the files are read side by side (`compose.runs`), none being another's base.
    index    id of a mapping below `roots` -> its values in force, by key.
    """

    __slots__ = (
        "_owners", "dialect", "index", "is_run", "known", "missing", "mounts", "parents", "roots",
        "tree", "trees", "under",
    )  # fmt: skip

    def __init__(self, tree: Tree, dialect: Dialect) -> None:
        self.tree = tree
        self.dialect = dialect
        self.trees = [tree]
        self.roots: list[Node] = tree.roots
        self.missing: list[Missing] = []
        self.under: dict[int, Node] = {}
        self.parents: dict[int, Tree] = {}
        self.mounts: dict[int, Path] = {}
        self.known: dict[int, tuple[Node, Node | None, str]] = {}
        self.index: dict[int, dict[str, Node]] = {}
        self.is_run = False
        self._owners: dict[int, Tree] = {}

    def add(self, tree: Tree, mount: Path = ()) -> None:
        """Say that nodes of another file may stand below the roots, mounted under some keys."""
        if tree not in self.trees:
            self.trees.append(tree)
            self._owners = {}
        if id(tree) not in self.mounts:
            self.mounts[id(tree)] = mount

    def lineage(self, tree: Tree) -> list[Tree]:
        """The files from the config down to one of those that it is built on, each naming the
        next."""
        found = [tree]
        while found[0] is not self.tree and len(found) < len(self.trees):
            found.insert(0, self.parents.get(id(found[0]), self.tree))
        return found

    def tree_of(self, node: Node) -> Tree:
        """The file in which a node stands."""
        if len(self.trees) == 1:
            return self.tree
        if not self._owners:
            self._owners = {id(root): tree for tree in self.trees for root in tree.roots}
        while node.parent is not None:
            node = node.parent
        return self._owners.get(id(node), self.tree)

    def value_of(self, node: Node) -> tuple[Node | None, str]:
        """What a value stands for, and how that is known (empty for the node itself).

        Follows aliases and, by the dialect's rules, interpolations (`${a.b}`, `!ref <a>`). The
        node is None where the value is known at run time only; the text then says why.
        """
        through = ""
        if type(node) is Alias:
            node = resolve(node)
            through = "through an anchor"
        if type(node) is Scalar:
            text, tag = node.value, node.tag
            if "${" in text or text == "???" or "{{" in text or (tag and tag[0] == "!"):
                from gradaudit.compose.interpolation import value_of

                found, note = value_of(self, node)
                return found, note or through
        return node, through

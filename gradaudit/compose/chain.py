"""What is put together of one file and of those that it names, and what bounds the chain."""

from __future__ import annotations

import os

from gradaudit.compose.model import Missing
from gradaudit.compose.opener import MAX_DEPTH, MAX_FILES, NotOpened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.model import Path
    from gradaudit.compose.opener import Opener
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Node, Tree


class Part:
    """One file put together with what it is built on.

    roots     a node a document.
    trees     each file, in the order of the chain, with the keys that it is mounted under.
    under     id of a tree -> what its bases make together, before the file itself has its say.
    complete  nothing was left out because of where in a longer chain the file stood, so that it is
              the same for every file built on it.
    """

    __slots__ = ("complete", "missing", "roots", "trees", "under")

    def __init__(self, tree: Tree) -> None:
        self.roots: list[Node] = list(tree.roots)
        self.under: dict[int, Node] = {}
        self.trees: list[tuple[Tree, Path]] = [(tree, ())]
        self.missing: list[Missing] = []
        self.complete = True

    @property
    def root(self) -> Node | None:
        """What a file that is built on this one gets: frameworks read one document."""
        return self.roots[0] if self.roots else None

    def add(self, other: Part, mount: Path = ()) -> None:
        """Take over the files and the faults of another part, mounted at a path of keys."""
        self.trees += [(tree, mount + path) for tree, path in other.trees]
        self.missing += other.missing
        self.under.update(other.under)
        self.complete = self.complete and other.complete

    def miss(self, tree: Tree, node: Node, path: str, why: NotOpened, kind: str = "base") -> None:
        self.missing.append(Missing(tree, node, path, why.reason, why.severity, kind))


class Chain:
    """The files that lead to the one being composed: real path and path as shown.

    left  how many more may be opened. opener: None where the text has no place on a disk.
    """

    __slots__ = ("dialect", "files", "left", "opener", "real")

    def __init__(self, dialect: Dialect, opener: Opener | None, path: str) -> None:
        self.dialect = dialect
        self.opener = opener
        self.real = os.path.realpath if opener is None else opener.real
        self.files = [(self.real(path), path)]
        self.left = MAX_FILES

    def enter(self, path: str) -> str:
        """Go down to a file that `Opener.find` found; returns its real path.

        Raises:
            Bounded: too deep, or too many files. Cycle: the file is above itself.
        """
        real = self.real(path)
        for index, (known, _) in enumerate(self.files):
            if known == real:
                circle = [shown for _, shown in self.files[index:]]
                raise Cycle(circle)
        if len(self.files) > MAX_DEPTH:
            raise Bounded(f"more than {MAX_DEPTH} files are built on one another")
        if not self.left:
            raise Bounded(f"more than {MAX_FILES} files in one chain")
        self.left -= 1
        self.files.append((real, path))
        return real

    def leave(self) -> None:
        self.files.pop()


class Bounded(NotOpened):
    """A bound of ours is reached: what is below is unknown."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; it is not read", "info")


class Cycle(NotOpened):
    """A file is built on itself; `circle` are the paths from it on."""

    def __init__(self, circle: list[str]) -> None:
        names = " -> ".join([*circle, circle[0]])
        super().__init__(f"the files are built on each other: {names}", "error")

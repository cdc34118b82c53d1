"""What is put together of one file and of those that it names, and what bounds the chain."""

from __future__ import annotations

import os

from gradaudit.compose.model import Missing
from gradaudit.compose.opener import MAX_DEPTH, MAX_FILES, MOST_BYTES, NotOpened

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
    parents   id of a tree -> the file that names it.
    under     id of a tree -> what its bases make together, before the file itself has its say.
    complete  nothing was left out because of where in a longer chain the file stood, so that it is
              the same for every file built on it.
    """

    __slots__ = ("complete", "missing", "parents", "roots", "trees", "under")

    def __init__(self, tree: Tree) -> None:
        self.roots: list[Node] = list(tree.roots)
        self.under: dict[int, Node] = {}
        self.trees: list[tuple[Tree, Path]] = [(tree, ())]
        self.parents: dict[int, Tree] = {}
        self.missing: list[Missing] = []
        self.complete = True

    @property
    def root(self) -> Node | None:
        """What a file that is built on this one gets: frameworks read one document."""
        return self.roots[0] if self.roots else None

    def add(self, other: Part, mount: Path = ()) -> None:
        """Take over the files and the faults of another part, mounted at a path of keys."""
        self.trees += [(tree, mount + path) for tree, path in other.trees]
        self.parents.setdefault(id(other.trees[0][0]), self.trees[0][0])
        for known, parent in other.parents.items():
            self.parents.setdefault(known, parent)
        self.missing += other.missing
        self.under.update(other.under)
        self.complete = self.complete and other.complete

    def miss(self, tree: Tree, node: Node, path: str, why: NotOpened, kind: str = "base") -> None:
        self.missing.append(Missing(tree, node, path, why.reason, why.severity, kind))


class Chain:
    """The files that lead to the one being composed: real path and path as shown.

    left  how many more may be opened, and `bytes` how much more. opener: None where the text has
          no place on a disk. said: the bounds that were reached; one is said once.
    """

    __slots__ = ("bytes", "dialect", "files", "left", "opener", "real", "said")

    def __init__(self, dialect: Dialect, opener: Opener | None, path: str) -> None:
        self.dialect = dialect
        self.opener = opener
        self.real = os.path.realpath if opener is None else opener.real
        self.files = [(self.real(path), path)]
        self.left = MAX_FILES
        self.bytes = MOST_BYTES
        self.said: set[str] = set()

    def enter(self, path: str) -> str:
        """Go down to a file that `Opener.find` found; returns its real path.

        Raises:
            Bounded: too deep, too many files or too much text. Cycle: the file is above itself.
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
        if self.opener is not None:
            self.spend(self.opener.size(path))
        self.left -= 1
        self.files.append((real, path))
        return real

    def spend(self, size: int) -> None:
        """Take the bytes of files out of what is left.

        Raises:
            Bounded: there are too many.
        """
        if size > self.bytes:
            raise Bounded(f"more than {MOST_BYTES // 2**20} MiB in one chain")
        self.bytes -= size

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

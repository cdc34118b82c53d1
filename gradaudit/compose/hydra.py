"""Hydra's defaults lists: which files a config is put together of, in which order and where.

A subset of our own does this without importing Hydra, whose import takes about twice as long as
a whole `check`. It is exact but for options whose name refers to other choices
(`- db: ${server}_db`); only for these Hydra is asked, where it is installed
(`compose.hydra_native`).
"""

from __future__ import annotations

import os

from gradaudit.compose.chain import Bounded, Cycle
from gradaudit.compose.hydra_items import MAX_ITEMS, header_of, items_of
from gradaudit.compose.merge import Merger, at, without
from gradaudit.compose.model import Missing
from gradaudit.compose.opener import MAX_DEPTH, MAX_FILES, MOST_BYTES, NotOpened, is_inside
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.chain import Part
    from gradaudit.compose.hydra_items import Item
    from gradaudit.compose.opener import Opener
    from gradaudit.syntax.tree import Node, Tree

    Placed = tuple[str, str, Tree]
    """Config path, package, file."""

PRIMARY = "the primary config that this is added to"
"""What is missing of an option that was named alone."""


class Library:
    """The files that a primary config may be put together of.

    roots    directories, as shown: the config root, then those of `hydra.searchpath`.
    group    the group of the primary config below the config root.
    elsewhere  search path entries that are not followed.
    bytes    how much more may be read.
    """

    def __init__(self, tree: Tree, opener: Opener | None) -> None:
        self.tree = tree
        self.opener = opener
        self.path = tree.source.path
        self.items = items_of(tree)
        self.roots = [os.path.dirname(self.path)]
        self.group = ""
        self.elsewhere: list[str] = []
        self.bytes = MOST_BYTES
        self._loaded: set[str] = set()
        if opener is not None:
            self._find_root(opener)
            self._add_search_path(opener)

    def _find_root(self, opener: Opener) -> None:
        """The nearest directory, from that of the file upwards, in which a group or config that
        the list names absolutely (`/model: x`) exists; without one, the file's own."""
        wanted = [item for item in self.items if item.absolute and not _is_hydras(item)]
        if not wanted:
            return
        directory = os.path.dirname(self.path)
        boundary = opener.boundary_of(self.path)
        real = here = os.path.realpath(directory or ".")
        while is_inside(real, boundary):
            for item in wanted:
                name = item.group or f"{item.value}.yaml"
                if opener.is_there(os.path.join(directory, name), self.path):
                    self.roots = [opener.shown(directory or ".", real)]
                    self.group = "" if real == here else os.path.relpath(here, real)
                    self.group = self.group.replace(os.sep, "/")
                    return
            directory = os.path.join(directory, os.pardir)
            above = os.path.dirname(real)
            if above == real:
                return
            real = above

    def _add_search_path(self, opener: Opener) -> None:
        root = resolve(self.tree.roots[0]) if self.tree.roots else None
        section = resolve(_get(root, "hydra") or root) if root is not None else None
        paths = _get(section, "searchpath")
        paths = resolve(paths) if paths is not None else None
        for item in paths.items if type(paths) is Sequence else ():
            item = resolve(item)
            if type(item) is not Scalar:
                continue
            scheme, colon, rest = item.value.partition("://")
            found = None
            if not colon or scheme == "file":
                try:
                    found = opener.find_directory(rest if colon else scheme, self.path)
                except NotOpened:
                    found = None
            if found is None:
                self.elsewhere.append(item.value)
            else:
                self.roots.append(found)

    def load(self, config_path: str) -> Tree | None:
        """The file of an option; None where there is none.

        Raises:
            NotOpened: it cannot be read, or lies outside.
        """
        if self.opener is None:
            raise NotOpened("the text has no place on a disk to look from", "info")
        names = [config_path]
        if not config_path.endswith((".yaml", ".yml")):
            names = [f"{config_path}.yaml", f"{config_path}.yml"]
        outside = True
        for root in self.roots:
            for name in names:
                path = os.path.join(root, name)
                real = self.opener.real(path)
                if not is_inside(real, self.opener.boundary_of(self.path)):
                    continue
                outside = False
                if self.opener.exists(path, self.path):
                    self._spend(self.opener, path, real)
                    return self.opener.open(self.opener.shown(path, real))
        if outside:
            raise NotOpened("it lies outside of what was named, so it is not opened", "info")
        return None

    def _spend(self, opener: Opener, path: str, real: str) -> None:
        if real not in self._loaded:
            size = opener.size(path)
            if size > self.bytes:
                raise Bounded(f"more than {MOST_BYTES // 2**20} MiB in one config")
            self.bytes -= size
            self._loaded.add(real)


def _get(node: Node | None, key: str) -> Node | None:
    found = None
    if type(node) is Mapping:
        for name, value in node.pairs:
            if type(name) is Scalar and name.value == key:
                found = value
    return found


def _is_hydras(item: Item) -> bool:
    """`override hydra/launcher: x` says how to launch, not how to train."""
    return item.is_group and (f"{item.group_path}/").startswith("hydra/")


class Lists:
    """The defaults lists of a primary config and of all that it names, put into one.

    missing      options that were not found, and why.
    parents      id of a tree -> the file whose list names it first.
    refers       some option's name refers to other choices; Hydra itself can tell which it is.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self.missing: list[Missing] = []
        self.parents: dict[int, Tree] = {}
        self.refers = False
        self._overrides: dict[str, Item] = {}
        self._used: set[str] = set()
        self._files: list[tuple[str, str]] = []
        self._met = 0

    def all(self) -> list[Placed]:
        """Every file in the order in which they are merged: the last wins."""
        library = self.library
        placed = self._of_file(library.tree, library.group, "", library.path, library.items)
        # Overrides of a list that is not here: this file is an option of some other config
        # (`experiment/x.yaml`). What they choose is under it, the rest is not known.
        apart = [item for key, item in self._overrides.items() if key not in self._used]
        first: list[Placed] = []
        if apart:
            own = os.path.realpath(library.tree.source.path)
            chosen = [placed for item in apart for placed in self._of_item(item)]
            # One that chooses this very file adds nothing to it.
            first = [one for one in chosen if os.path.realpath(one[2].source.path) != own]
        if apart:
            self._miss(apart[0], PRIMARY, NotOpened("it was not named", "info"), "primary")
        self.missing.reverse()
        return first + placed

    def _of_file(
        self, tree: Tree, group: str, package: str, name: str, items: list[Item]
    ) -> list[Placed]:
        real = os.path.realpath(tree.source.path)
        if any(real == above for above, _ in self._files):
            at = next(i for i, (above, _) in enumerate(self._files) if above == real)
            raise Cycle([shown for _, shown in self._files[at:]])
        if len(self._files) > MAX_DEPTH:
            raise Bounded(f"more than {MAX_DEPTH} files name one another")
        self._files.append((real, tree.source.path))
        try:
            own = (name, package, tree)
            if not any(item.is_self for item in items):
                # By default a file's own content comes last, so that it wins.
                return [*self._of_items(items, group, package, own), own]
            return self._of_items(items, group, package, own)
        finally:
            self._files.pop()

    def _of_items(self, items: list[Item], group: str, package: str, own: Placed) -> list[Placed]:
        for item in items:
            item.put_into(group, package)
            if item.override and not _is_hydras(item):
                self._overrides.setdefault(item.key, item)
        parts: list[list[Placed]] = []
        # From the last to the first, as Hydra does: what a later one overrides in the list of an
        # earlier one is known when that is met.
        for item in reversed(items):
            if item.is_self:
                parts.append([own])
            elif not item.override and not _is_hydras(item):
                if item.is_group and item.key in self._overrides:
                    self._used.add(item.key)
                    item.value = self._overrides[item.key].value
                parts.append(self._of_item(item))
        return [placed for part in reversed(parts) for placed in part]

    def _of_item(self, item: Item) -> list[Placed]:
        self._met += 1
        if item.value is None:
            return []
        if isinstance(item.value, list):
            options = [self._of_item(item.option(name)) for name in item.value]
            return [placed for option in options for placed in option]
        name = item.config_path
        try:
            if self._met > MAX_ITEMS:
                raise Bounded(f"more than {MAX_ITEMS} entries in the lists of one config")
            if item.value == "???":
                raise NotOpened("which one it is, is given at launch", "info")
            if "${" in name:
                self.refers = self.refers or ":" not in name
                raise NotOpened("which one it is depends on other choices", "info")
            tree = self.library.load(name)
            if tree is None:
                if item.optional:
                    return []
                raise NotOpened(self.nowhere(), "info")
            item.header = header_of(tree)
            self.parents.setdefault(id(tree), item.tree)
            return self._of_file(tree, item.group_path, item.final_package(), name, items_of(tree))
        except Cycle as cycle:
            self._miss(item, name, cycle, "cycle")
        except NotOpened as why:
            self._miss(item, name, why)
        return []

    def nowhere(self) -> str:
        """Where an option was looked for, and where else it may be."""
        places = " or ".join(root or "." for root in self.library.roots)
        other = ", ".join(["registered in Python", *self.library.elsewhere])
        return f"there is none in {places}; it may be elsewhere ({other})"

    def _miss(self, item: Item, name: str, why: NotOpened, kind: str = "base") -> None:
        if isinstance(why, Bounded) and any(why.reason == known.reason for known in self.missing):
            return  # one is enough
        if len(self.missing) < MAX_FILES:
            self.missing.append(Missing(item.tree, item.node, name, why.reason, why.severity, kind))


def add_defaults(part: Part, opener: Opener | None, sure: bool = True) -> None:
    """Put a file together with what its defaults list names.

    `sure`: the file is one of Hydra's; else it is where anything that the list names is there.
    """
    tree = part.trees[0][0]
    library = Library(tree, opener)
    if not library.items or not part.roots:
        return
    lists = Lists(library)
    placed = lists.all()
    if lists.refers:
        from gradaudit.compose.hydra_native import ask_hydra

        answer = ask_hydra(library)
        if answer is not None:
            placed, lists = answer
    if not sure and all(source is tree for _, _, source in placed):
        return
    part.missing += lists.missing
    part.parents.update(lists.parents)
    if len(placed) > MAX_FILES:
        placed = [entry for entry in placed if entry[2] is tree]
        bound = Bounded(f"more than {MAX_FILES} files in one config")
        part.miss(tree, library.items[0].node, "defaults", bound)
    if len(placed) < 2:
        return
    merger = Merger()
    own = part.roots[0]
    whole: Node | None = None
    for _, package, source in placed:
        root = resolve(own if source is tree else source.roots[0]) if source.roots else None
        if type(root) is not Mapping:
            continue
        mount = tuple(package.split(".")) if package else ()
        if source is not tree:
            root = without(root, "defaults")
            part.trees.append((source, mount))
        piece = at(root, mount)
        whole = piece if whole is None else merger.merge(whole, piece)
    if type(whole) is Mapping and whole is not own:
        if whole.parent is None and all(whole is not root for s in placed for root in s[2].roots):
            whole.start, whole.end = own.start, own.end
        part.roots[0] = whole

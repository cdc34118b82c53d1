"""The entries of Hydra's defaults lists, and where each one's config is and goes.

The rules are those of Hydra 1.3 (`hydra.core.default_element`), with `# @package _group_` as
Hydra 1.0 had it: nobody means a section of that name.
"""

from __future__ import annotations

from gradaudit.syntax.pattern import later
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.tree import Node, Tree

MAX_ITEMS = 500
"""Entries that are met while the lists of all files are put together."""

_HEADER_LENGTH = 512
_HEADER = later(r"#+\s*@package[ \t]+(\S+)[ \t]*\Z")
_GLOBAL = "_global_"
_NULL = ("", "~", "null", "Null", "NULL")


class Item:
    """One entry of a defaults list.

    group     the config group as written, without `/` before it (`absolute`).
    value     the option; None for none, a list for several; `_self_` for the file itself.
    package   as written after `@`. header: what the option's own file says.
    is_group  `- model: resnet` can be overridden, `- base` cannot.
    base      the group of the file with the list. outer: the package of that file.
    node      where it is written, in `tree`.
    """

    __slots__ = (
        "absolute", "base", "group", "header", "is_group", "node", "optional", "outer", "override",
        "package", "tree", "value",
    )  # fmt: skip

    def __init__(
        self, tree: Tree, node: Node, group: str, value: str | list[str] | None, package: str | None
    ) -> None:
        self.tree = tree
        self.node = node
        self.absolute = group.startswith("/")
        self.group = group[1:] if self.absolute else group
        self.value = value
        self.package = "" if package == "_here_" else package
        self.header: str | None = None
        self.is_group = False
        self.optional = False
        self.override = False
        self.base = ""
        self.outer = ""

    @property
    def is_self(self) -> bool:
        return self.value == "_self_"

    @property
    def group_path(self) -> str:
        """The group from the config root on: the directory of the option."""
        if self.absolute or not self.base:
            return self.group
        return f"{self.base}/{self.group}" if self.group else self.base

    @property
    def config_path(self) -> str:
        """The option's file from the config root on, without suffix."""
        assert isinstance(self.value, str)
        group = self.group_path
        return f"{group}/{self.value}" if group else self.value

    @property
    def key(self) -> str:
        """What an override names the choice by."""
        package = self.final_package(False)
        default = self.group_path.replace("/", ".")
        return self.group_path if package == default else f"{self.group_path}@{package or _GLOBAL}"

    def put_into(self, base: str, outer: str) -> None:
        """Say in which group and package the file with the list is."""
        self.base = base
        self.outer = outer
        if self.package is not None and "_group_" in self.package:
            default = self.group_path.replace("/", ".")
            self.package = f"{_GLOBAL}.{self.package.replace('_group_', default)}"

    def final_package(self, with_header: bool = True) -> str:
        """Where the option's content goes: dotted keys from the root on."""
        package = self.package
        if package is None and with_header:
            package = self.header
        if package is None:
            package = self.group.replace("/", ".")
        joined = ".".join(part for part in (self.outer, package) if part)
        at = joined.rfind(_GLOBAL)
        return joined if at < 0 else joined[at + len(_GLOBAL) + 1 :]

    def option(self, name: str) -> Item:
        """One of several options, as an item of its own."""
        group, _, last = f"{self.group}/{name}".rpartition("/")
        made = Item(
            self.tree, self.node, ("/" if self.absolute else "") + group, last, self.package
        )
        made.optional = self.optional
        made.put_into(self.base, self.outer)
        return made


def items_of(tree: Tree) -> list[Item]:
    """The defaults list of a file; empty where it has none."""
    root = resolve(tree.roots[0]) if tree.roots else None
    found: list[Item] = []
    if type(root) is Mapping:
        for key, value in root.pairs:
            if type(key) is Scalar and key.value == "defaults":
                target = resolve(value)
                if type(target) is Sequence:
                    found = [
                        item
                        for node in target.items[: MAX_ITEMS + 1]
                        if (item := _item(tree, node)) is not None
                    ]
    return found


def _item(tree: Tree, node: Node) -> Item | None:
    node = resolve(node)
    if type(node) is Scalar:
        if not node.style and node.value in _NULL:
            return None
        path, package = _split(node.value)
        group, slash, name = path.rpartition("/")
        return Item(tree, node, group or slash, name, package)
    if type(node) is not Mapping:
        return None
    made: Item | None = None
    optional = False
    for key, value in node.pairs:
        if type(key) is not Scalar:
            continue
        if key.value == "optional" and len(node.pairs) > 1:  # of Hydra 1.0
            target = resolve(value)
            optional = type(target) is Scalar and target.value.lower() == "true"
            continue
        *keywords, group = key.value.split(" ")
        group, package = _split(group)
        if not group:
            continue
        made = Item(tree, key, group, _value(value), package)
        made.is_group = True
        made.optional = "optional" in keywords
        made.override = "override" in keywords
    if made is not None:
        made.optional = made.optional or optional
    return made


def _value(node: Node) -> str | list[str] | None:
    node = resolve(node)
    if type(node) is Scalar:
        return None if not node.style and node.value in _NULL else node.value
    if type(node) is Sequence:
        options = [resolve(item) for item in node.items[: MAX_ITEMS + 1]]
        return [option.value for option in options if type(option) is Scalar]
    return None


def _split(text: str) -> tuple[str, str | None]:
    """`db@backup` -> (`db`, `backup`)."""
    group, at, package = text.partition("@")
    return group, package.partition(":")[0] if at else None


def header_of(tree: Tree) -> str | None:
    """The package that a file's first lines give: `# @package model.encoder`; always absolute."""
    for line in tree.source.text[:_HEADER_LENGTH].splitlines():
        line = line.strip()
        if not line:
            continue
        if not line.startswith("#") or not line.lstrip("#").lstrip().startswith("@"):
            break
        match = _HEADER.match(line)
        if match is None:
            continue
        package = match[1]
        if package == "_group_":
            return None
        if package == _GLOBAL or package.startswith(f"{_GLOBAL}."):
            return package
        return f"{_GLOBAL}.{package}"
    return None

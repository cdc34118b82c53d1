"""What the tests of composition share: writing files, composing one, and reading what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradaudit.compose import compose
from gradaudit.compose.model import Composed
from gradaudit.compose.opener import Opener
from gradaudit.source import Source, read
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain
from gradaudit.syntax.tree import Node, Tree, entries, resolve, walk

BASES: dict[str, Any] = {
    "compose": {"bases": [{"key": "_BASE_", "relative_to": "file"}]},
    "interpolation": "",
}
SEARCH: dict[str, Any] = {
    "compose": {"bases": [{"key": "_BASE_", "relative_to": "search"}]},
    "interpolation": "",
}
HYDRA: dict[str, Any] = {"compose": {"hydra": True}, "interpolation": "omegaconf"}


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def composed_at(
    path: Path | str, dialect: dict[str, Any], opener: Opener | None = None
) -> Composed:
    return compose(parse(read(str(path))), dialect, opener or Opener())


def composed_of(text: str, style: str) -> Composed:
    """A text alone, whose interpolations are of a style."""
    return compose(parse(Source("c.yaml", text)), {"compose": {}, "interpolation": style}, None)


def data(composed: Composed) -> Any:
    """The composed config as plain data."""
    return plain(composed.roots[0])


def at(composed: Composed, dotted: str) -> Node:
    """The value in force at a dotted key, as it is written."""
    node = composed.roots[0]
    for key in dotted.split("."):
        found = [value for name, value, _ in entries(resolve(node)) if name.value == key]  # type: ignore[arg-type]
        node = found[-1]
    return node


def said(composed: Composed, dotted: str) -> tuple[str | None, str]:
    """The text of what the value at a key stands for (None: unknown), and how that is known."""
    node, note = composed.value_of(at(composed, dotted))
    return (getattr(node, "value", type(node).__name__) if node is not None else None), note


def shape(tree: Tree) -> list[tuple[Any, ...]]:
    """Everything that composing could spoil in a tree."""
    return [
        (id(node), id(node.parent), node.start, node.end, node.tag, getattr(node, "value", None),
         [id(part) for pair in getattr(node, "pairs", ()) for part in pair],
         [id(item) for item in getattr(node, "items", ())])
        for root in tree.roots for node in walk(root)
    ]  # fmt: skip

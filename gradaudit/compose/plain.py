"""A composed config as the plain mapping that its framework's loader would hand to a script."""

from __future__ import annotations

from gradaudit.syntax.scalars import read_scalar
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compose.model import Composed
    from gradaudit.syntax.tree import Node

MOST_NODES = 200_000
"""Nodes of one config, aliases followed: a file of a few lines can stand for billions."""

DEEPEST = 200


class TooLarge(ValueError):
    """A config whose aliases stand for more than anyone can hold."""


def plain_config(composed: Composed, section: Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole config, bases and interpolations included, as dicts, lists and values; and what
    of it stands in one of its sections (the whole where that is not found).

    Numbers are read as the dialect's loader reads them; where that is not known, as OmegaConf,
    ruamel.yaml and JSON do, which take `1e-4` for a number. What is known at run time only stays
    the text that is written. Of several documents the first is taken.

    Raises: TooLarge.
    """
    left = MOST_NODES
    found: dict[str, Any] | None = None
    yaml11 = composed.dialect["loader"] == "yaml11"

    def value(node: Node, depth: int) -> Any:
        nonlocal found, left
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise TooLarge("its aliases stand for too much to be loaded")
        target = composed.value_of(node)[0]
        if target is None:
            target = node
        if type(target) is Scalar:
            of_yaml = composed.tree_of(node).format == "yaml"
            return read_scalar(target, yaml11 and of_yaml)
        if type(target) is Mapping:
            made = {key.value: value(item, depth + 1) for key, item, _ in entries(target)}
            if target is section:
                found = made
            return made
        if type(target) is Sequence:
            return [value(item, depth + 1) for item in target.items]
        return None

    whole = value(composed.roots[0], 0) if composed.roots else {}
    if not isinstance(whole, dict):
        whole = {"": whole}
    return whole, whole if found is None else found

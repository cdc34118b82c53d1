"""Text to tree. The only room that imports `yaml` (and, to verify a fix, `ruamel.yaml`)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.source import Source
    from gradaudit.syntax.tree import Tree

SUFFIXES = (".yaml", ".yml", ".json")
"""What is looked for in a directory. A file that is named is read whatever its suffix."""


def parse(source: Source) -> Tree:
    """Parse a file by its suffix; YAML where the suffix says nothing else.

    JSON goes through the YAML reader too: it is a subset but for escaped surrogate pairs.

    Raises:
        Unreadable: a syntax error, an undefined alias, nested too deep, or too many nodes.
    """
    from gradaudit.syntax.yaml_reader import parse_yaml

    return parse_yaml(source, "json" if source.path.endswith(".json") else "yaml")

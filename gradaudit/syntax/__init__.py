"""Text to tree. The only room that imports `yaml` (and, to verify a fix, `ruamel.yaml`)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.source import Source
    from gradaudit.syntax.tree import Tree

SUFFIXES = (".yaml", ".yml", ".json", ".jsonc", ".toml")
"""What is looked for in a directory. A file that is named is read whatever its suffix."""


def parse(source: Source) -> Tree:
    """Parse a file by its suffix; YAML where the suffix says nothing else.

    Raises:
        Unreadable: a syntax error, an undefined alias, nested too deep, or too many nodes.
    """
    suffix = source.path[source.path.rfind(".") :].lower()
    if suffix in (".json", ".jsonc", ".json5"):
        from gradaudit.syntax.json_reader import parse_json

        return parse_json(source)
    if suffix == ".toml":
        from gradaudit.syntax.toml_reader import parse_toml

        return parse_toml(source)
    if suffix == ".py":
        from gradaudit.syntax.python_reader import parse_python

        return parse_python(source)
    from gradaudit.syntax.yaml_reader import parse_yaml

    return parse_yaml(source)

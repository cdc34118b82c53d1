"""gradaudit: finds, repairs and measures what in a training config spoils the gradients."""

__version__ = "0.1.0"


def version_line() -> str:
    """`gradaudit 0.1.0`; ` (compiled)` behind it where a check runs as machine code, and
    ` (compiled, libyaml)` where YAML is read without PyYAML's objects between, too."""
    from importlib.machinery import EXTENSION_SUFFIXES
    from os.path import dirname, exists, join

    parts = {"compiled": "audit", "libyaml": join("syntax", "flat_events")}
    there = [
        part
        for part, module in parts.items()
        if any(exists(join(dirname(__file__), module + suffix)) for suffix in EXTENSION_SUFFIXES)
    ]
    behind = f" ({', '.join(there)})" if there else ""
    return f"gradaudit {__version__}{behind}"

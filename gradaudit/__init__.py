"""gradaudit: finds, repairs and measures what in a training config spoils the gradients."""

__version__ = "0.1.0"


def version_line() -> str:
    """`gradaudit 0.1.0`; ` (compiled)` behind it where a check runs as machine code, and
    ` (compiled, libyaml)` where YAML is read without PyYAML's objects between, too."""
    from importlib import import_module
    from importlib.machinery import EXTENSION_SUFFIXES
    from os.path import dirname, exists, join

    here = dirname(__file__)

    def has(*module: str) -> bool:
        return any(exists(join(here, *module) + suffix) for suffix in EXTENSION_SUFFIXES)

    parts = ["compiled"] if has("audit") else []
    if has("syntax", "flat_events"):
        try:  # it refuses an old libyaml, and cannot be loaded where there is none
            import_module("gradaudit.syntax.flat_events")
        except ImportError:
            pass
        else:
            parts.append("libyaml")
    behind = f" ({', '.join(parts)})" if parts else ""
    return f"gradaudit {__version__}{behind}"

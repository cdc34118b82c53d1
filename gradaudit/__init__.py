"""gradaudit: finds, repairs and measures what in a training config spoils the gradients."""

__version__ = "0.1.0"


def version_line() -> str:
    """`gradaudit 0.1.0`; ` (compiled)` behind it where a check runs as machine code."""
    from importlib.machinery import EXTENSION_SUFFIXES
    from os.path import dirname, exists, join

    audit = join(dirname(__file__), "audit")
    compiled = any(exists(audit + suffix) for suffix in EXTENSION_SUFFIXES)
    return f"gradaudit {__version__}{' (compiled)' if compiled else ''}"

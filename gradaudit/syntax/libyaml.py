"""PyYAML's libyaml parser and its events, imported without the regular expressions of PyYAML.

Importing `yaml` makes a dozen of them, among them a class of all printable characters. The libyaml
parser uses none, and making them takes a quarter of the time of checking one file. So they are made
when somebody asks them for something (Bazaar did so with all of its own): `yaml.safe_load` in the
same process works as ever.
"""

from __future__ import annotations

import re
import sys

from gradaudit.syntax.pattern import Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _import_yaml() -> None:
    """Import `yaml`; meanwhile its modules, and no others, get `Later` from `re.compile`."""
    make = re.compile

    def later(pattern: Any, flags: Any = 0) -> Any:
        if sys._getframe(1).f_globals.get("__name__", "").startswith("yaml."):
            return Later(pattern, flags)
        return make(pattern, flags)

    re.compile = later
    try:
        import yaml  # noqa: F401
    finally:
        re.compile = make


_import_yaml()

from yaml.error import MarkedYAMLError, YAMLError  # noqa: E402
from yaml.events import (  # noqa: E402
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError  # noqa: E402

try:
    from yaml._yaml import CParser as Parser
except ImportError:  # a PyYAML built without libyaml: the same events, about twenty times slower
    from yaml import SafeLoader as Parser  # type: ignore[assignment]

__all__ = [
    "AliasEvent", "MappingEndEvent", "MappingStartEvent", "MarkedYAMLError", "Parser",
    "ReaderError", "ScalarEvent", "SequenceEndEvent", "SequenceStartEvent", "StreamEndEvent",
    "YAMLError",
]  # fmt: skip

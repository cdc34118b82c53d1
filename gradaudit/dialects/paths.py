"""Key paths as dialect files write them, turned into a tree of steps.

`optimizer.params.lr`; `*` for any key; `process[].lr` for every item of a list, `lr[0]` for one;
`@.lr` relative to the unit. A dot inside a key is written `\\.`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UP_TO_ZERO = "<=0"
"""A spelling of off: zero and all that is less."""


def steps(path: str) -> list[str]:
    """`a.b[].c` -> `a`, `b`, `[]`, `c`."""
    found = []
    for part in path.replace("\\.", "\0").split("."):
        part = part.replace("\0", ".")
        name, *indices = part.split("[")
        if name:
            found.append(name)
        found.extend(f"[{index}" for index in indices)
    return found


def last_name(path: str) -> str:
    """The last key of a path: `a.b[].c` -> `c`, `a.b[0]` -> `b`."""
    return path.rpartition(".")[2].partition("[")[0]


def add(tree: dict[str, Any], path: str, leaf: Any) -> None:
    """Put a leaf under a path; the entry `""` of a level holds what ends there."""
    level = tree
    for step in steps(path):
        level = level.setdefault(step, {})
    level[""] = leaf

"""GA7: keys written twice and numbers that are text."""

from __future__ import annotations

from gradaudit.edits import delete_entry
from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    RECOMMENDED,
    SAFE,
    Finding,
    Fix,
    Place,
    Related,
)  # fmt: skip
from gradaudit.rules import rule
from gradaudit.syntax.tree import Scalar, dotted, last_leaf, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.rules import Limits
    from gradaudit.syntax.tree import Node


@rule(
    "GA701",
    "duplicate-key",
    scope="file",
    severities=(ERROR, INFO),
    confidence=HIGH,
    references=(
        "https://yaml.org/spec/1.2.2/#3213-node-comparison",
        "https://github.com/yaml/pyyaml/issues/165 (PyYAML keeps the last)",
    ),
)
def duplicate_key(composed: Composed, limits: Limits) -> Iterator[Finding]:
    """The same key stands twice in one mapping.

    Why:
        PyYAML keeps the last one and says nothing; ruamel.yaml and OmegaConf refuse the file. Who
        reads the first line sees another run than the one that trains. Published configs have it:
        SlowFast trains with the second of two learning rates. Where the file's framework is known
        to load it with OmegaConf or ruamel.yaml, it is an error whatever the values.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 32
        learning_rate: 3.0e-4

    Good:
        optimizer: adamw
        batch_size: 32
        learning_rate: 3.0e-4

    Tell:
        `python -c "import sys, yaml; print(yaml.safe_load(open(sys.argv[1])))" FILE` shows the
        value that is used.

    Symptoms:
        training ends with an error, or never starts
        loads other values than the file seems to say

    Fix:
        Safe where both values are equal, recommended where they differ: delete the entry that
        loses (none where the loader refuses the file and the values differ). A run that PyYAML
        loads stays as it is in both cases; where the values differ, the label asks you to look
        which one is meant, because after the fix nothing recalls the other.

    False positives:
        None known. A key that overrides one from a merge (`<<`) is not a duplicate, and `_comment`
        and `//`, which stand in JSON for comments, may be written as often as one likes.
    """
    tree = composed.tree
    for node in tree.doubled:
        seen: dict[str, tuple[Node, Node]] = {}
        for key, value in node.pairs:
            if type(key) is not Scalar or (key.value == "<<" and not key.style):
                continue
            earlier = seen.get(key.value)
            seen[key.value] = (key, value)
            if earlier is not None and not _is_comment(key.value):
                yield _duplicate(composed, key, value, *earlier)


def _is_comment(key: str) -> bool:
    """`_comment` and `//`: JSON has no comments, so they stand as keys, often more than once."""
    return key in ("//", "#", "_") or key.lower().strip("_/# ") in ("comment", "comments")


_REFUSES = frozenset(("omegaconf", "yaml12"))
"""Loaders that end with an error at a key that stands twice."""


def _duplicate(composed: Composed, key: Scalar, value: Node, first: Node, lost: Node) -> Finding:
    tree = composed.tree
    text = tree.source.text

    def raw(node: Node) -> str:
        return text[node.start : last_leaf(node).end]

    equal = raw(value) == raw(lost)
    place = Place(tree.source, key.start, key.end)
    path = dotted(path_of(value, tree))
    edit = delete_entry(tree, first)
    dialect = composed.dialect
    if tree.format == "yaml" and dialect["loader"] in _REFUSES:
        return Finding(
            place,
            f"`{key.value}` is written twice; the loader of {dialect['title']} refuses the file",
            severity=ERROR,
            confidence=HIGH,
            key=path,
            label="the second time",
            related=[Related(Place(tree.source, first.start, first.end), "the first time")],
            why=["OmegaConf and ruamel.yaml end with an error at a key that stands twice."],
            next="" if equal else "Decide which of the two values is meant, and delete the other.",
            fix=Fix(SAFE, f"delete the first `{key.value}`", [edit], ["both values are equal"])
            if equal
            else None,
            no_fix="" if equal else "which of the two values is meant is not known",
        )
    reader = {"json": "Python's json", "python": "Python"}.get(tree.format, "PyYAML")
    others = "; ruamel.yaml and OmegaConf refuse the file" if reader == "PyYAML" else ""
    if equal:
        fix = Fix(SAFE, f"delete the first `{key.value}`", [edit], ["both values are equal"])
    else:
        fix = Fix(
            RECOMMENDED,
            f"delete the first `{key.value}`, which loses",
            [edit],
            [
                (
                    f"a run that {reader} loads stays as it is; look which of the two is meant, "
                    "because nothing recalls the other afterwards"
                )
            ],
        )
    return Finding(
        place,
        f"`{key.value}` is written twice; "
        + ("both say the same" if equal else f"{reader} silently keeps this one"),
        severity=INFO if equal else ERROR,
        confidence=HIGH,
        key=path,
        label="this one is used",
        related=[Related(Place(tree.source, first.start, first.end), "this one is lost")],
        why=[f"{reader} keeps the last of two equal keys{others}."],
        next="" if equal else "Decide which of the two values is meant, and delete the other.",
        fix=fix,
    )

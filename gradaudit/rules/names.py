"""GA7: keys written twice and numbers that are text."""

from __future__ import annotations

import re

from gradaudit.dialects import GENERIC, normalised
from gradaudit.edits import delete_entry, replace_value
from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    MEDIUM,
    RECOMMENDED,
    SAFE,
    WARNING,
    Finding,
    Fix,
    Place,
    Related,
)  # fmt: skip
from gradaudit.rules import rule
from gradaudit.syntax.scalars import read_scalar, to_number
from gradaudit.syntax.tree import Scalar, dotted, last_leaf, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.rules import Limits
    from gradaudit.syntax.tree import Node, Tree


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
        SlowFast trains with the second of two learning rates.

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

    Fix:
        Safe where both values are equal, recommended where they differ: delete the entry that
        loses. A run that PyYAML loads stays as it is in both cases; where the values differ, the
        label asks you to look which one is meant, because after the fix nothing recalls the other.

    False positives:
        None known. A key that overrides one from a merge (`<<`) is not a duplicate.
    """
    tree = composed.tree
    for node in tree.mappings:
        names = [key.value for key, _ in node.pairs if type(key) is Scalar]
        if len(set(names)) == len(names):
            continue
        seen: dict[str, tuple[Node, Node]] = {}
        for key, value in node.pairs:
            if type(key) is not Scalar or (key.value == "<<" and not key.style):
                continue
            earlier = seen.get(key.value)
            seen[key.value] = (key, value)
            if earlier is not None:
                yield _duplicate(tree, key, value, *earlier)


def _duplicate(tree: Tree, key: Scalar, value: Node, first: Node, lost: Node) -> Finding:
    text = tree.source.text

    def raw(node: Node) -> str:
        return text[node.start : last_leaf(node).end]

    equal = raw(value) == raw(lost)
    place = Place(tree.source, key.start, key.end)
    path = dotted(path_of(value, tree))
    edit = delete_entry(tree, first)
    if equal:
        fix = Fix(SAFE, f"delete the first `{key.value}`", [edit], ["both values are equal"])
    else:
        fix = Fix(
            RECOMMENDED,
            f"delete the first `{key.value}`, which loses",
            [edit],
            [
                (
                    "a run that PyYAML loads stays as it is; look which of the two is meant, "
                    "because nothing recalls the other afterwards"
                )
            ],
        )
    return Finding(
        place,
        f"`{key.value}` is written twice; "
        + ("both say the same" if equal else "PyYAML silently keeps this one"),
        severity=INFO if equal else ERROR,
        confidence=HIGH,
        key=path,
        label="this one is used",
        related=[Related(Place(tree.source, first.start, first.end), "this one is lost")],
        why=["PyYAML keeps the last of two equal keys; ruamel.yaml and OmegaConf refuse the file."],
        next="" if equal else "Decide which of the two values is meant, and delete the other.",
        fix=fix,
    )


_EXPONENT = re.compile(
    r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+\Z|[-+]?\.[0-9]+[eE][0-9]+\Z"
)
_NUMERIC = frozenset("0123456789.+-")
_OMEGACONF = ("${", "_target_:", "_component_:", "!ref", "!new:", "class_path:", "defaults:")
"""Marks of OmegaConf, hydra, HyperPyYAML and jsonargparse, which all read `1e-4` as a number."""


@rule(
    "GA702",
    "number-as-text",
    scope="file",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        "https://github.com/yaml/pyyaml/issues/173 (PyYAML wants a dot and a signed exponent)",
        "https://yaml.org/type/float.html (YAML 1.1 wants a dot and a signed exponent)",
        "https://github.com/hiyouga/LLaMA-Factory/issues/4014 (2e-5 failed, 2.0e-5 works)",
    ),
)
def number_as_text(composed: Composed, limits: Limits) -> Iterator[Finding]:
    """A loader reads this number as text.

    Why:
        YAML 1.1, which PyYAML follows, wants a dot in the mantissa and a sign in the exponent:
        `1e-4` is the text "1e-4". torch's optimisers then end with a TypeError; a comparison or a
        multiplication in the trainer may do worse. OmegaConf, hydra, ruamel.yaml and JSON read a
        number. In quotes, '1e-4' is text to all of them.

    Bad:
        optimizer: adamw
        learning_rate: 1e-4
        batch_size: 32

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 32

    Tell:
        `python -c "import yaml; print(type(yaml.safe_load('1e-4')))"` prints `str`.

    Fix:
        Safe: the same number with a dot and a signed exponent, which every loader reads alike.
        None for a number in quotes, which may be wanted.

    False positives:
        Who loads the file is not known: a trainer that calls `float()` on it is fine. Files with
        marks of OmegaConf, hydra, HyperPyYAML or jsonargparse are left alone, and in 98 % of 963
        published configs the loader makes it harmless. A value of a key that is not a known
        setting is an info; in quotes, only known settings are looked at.
    """
    tree = composed.tree
    loader = composed.dialect["loader"]
    if tree.format != "yaml" or loader not in ("yaml11", "unknown"):
        return
    if loader == "unknown" and any(mark in tree.source.text for mark in _OMEGACONF):
        return
    kinds = GENERIC["kinds"]
    for node in tree.mappings:
        for key, value in node.pairs:
            if type(value) is not Scalar or type(key) is not Scalar or value.tag:
                continue
            if value.style:
                setting = GENERIC["keys"].get(normalised(key.value))
                if value.style in ("'", '"') and setting and kinds[setting] == "number":
                    yield from _quoted(tree, key, value)
                continue
            if (
                value.value[:1] not in _NUMERIC
                or not _EXPONENT.match(value.value)
                or not isinstance(read_scalar(value), str)
            ):
                continue
            setting = GENERIC["keys"].get(normalised(key.value))
            known = setting is not None and kinds[setting] == "number"
            spelled = respell(value.value)
            edit = None
            meant = to_number(value.value)
            if spelled is not None and meant is not None:
                edit = replace_value(tree, value, None, meant, spelled)
            yield Finding(
                Place(tree.source, value.start, value.end),
                f"PyYAML reads `{value.value}` as text, not as a number",
                severity=WARNING if known else INFO,
                confidence=MEDIUM,
                key=dotted(path_of(value, tree)),
                label="text under YAML 1.1",
                why=[
                    (
                        "YAML 1.1 wants a dot in the mantissa and a sign in the exponent. torch's "
                        "optimisers refuse text with a TypeError; some loaders, such as OmegaConf, "
                        "read a number. Which of them loads this file is not known."
                    )
                ],
                fix=Fix(SAFE, f"write {spelled}", [edit], ["every loader reads this as a number"])
                if edit
                else None,
            )


def _quoted(tree: Tree, key: Scalar, value: Scalar) -> Iterator[Finding]:
    """A number in quotes, at a key that takes a number."""
    meant = to_number(value.value)
    if meant is None or meant - meant != 0:
        return
    bare = respell(value.value) or value.value
    yield Finding(
        Place(tree.source, value.start, value.end),
        f"`{key.value}` is the text `{value.value}`, not a number: it stands in quotes",
        severity=WARNING,
        confidence=MEDIUM,
        key=dotted(path_of(value, tree)),
        label="text to every loader",
        why=[
            (
                "What stands in quotes is text to every loader. torch refuses it with an error "
                "where it wants a number; a trainer that calls `float()` or `int()` on it is fine."
            )
        ],
        next=f"Take the quotes away: `{key.value}: {bare}`.",
        no_fix="the quotes may be wanted; whether the trainer converts the text is not known",
    )


def respell(text: str) -> str | None:
    """`1e-4` -> `1.0e-4`, `5E5` -> `5.0E+5`, `.5e3` -> `.5e+3`: the digits stay as they are."""
    match = re.match(r"([-+]?)([0-9_]*)(\.[0-9_]*)?([eE])([-+]?)([0-9]+)\Z", text)
    if not match:
        return None
    sign, whole, fraction, e, exponent_sign, exponent = match.groups()
    return f"{sign}{whole}{fraction or '.0'}{e}{exponent_sign or '+'}{exponent}"

"""GA7: numbers that a loader reads as text."""

from __future__ import annotations

import re

from gradaudit.dialects import GENERIC, normalised, per_dialect
from gradaudit.dialects.paths import last_name
from gradaudit.edits import replace_value
from gradaudit.findings import (
    HIGH,
    INFO,
    MEDIUM,
    RECOMMENDED,
    SAFE,
    SPECULATIVE,
    WARNING,
    Finding,
    Fix,
    Place,
)  # fmt: skip
from gradaudit.plan.values import CONVERTS
from gradaudit.rules import rule
from gradaudit.syntax.scalars import read_plain, to_number
from gradaudit.syntax.tree import Scalar, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.dialects import Dialect
    from gradaudit.rules import Limits
    from gradaudit.syntax.tree import Tree

_EXPONENT = r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+\Z|[-+]?\.[0-9]+[eE][0-9]+\Z"
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

    Symptoms:
        training ends with an error, or never starts
        loads other values than the file seems to say

    Fix:
        Safe for a key that is known to hold a number, where what reads text now fails on it;
        recommended for any other key, speculative there for bare digits around an `e`, which may be
        a name (`revision: 12e45`): the same number with a dot and a signed exponent, which every
        loader reads alike.
        None for a number in quotes, which may be wanted.

    False positives:
        Where the file's framework is known, so is its loader: silent for those that read a number
        or convert the text (OmegaConf, hydra, yacs, jsonargparse, HyperPyYAML, pydantic), which
        makes it harmless in 98 % of 963 published configs. Where it is not, a trainer that calls
        `float()` is fine, and files with marks of such loaders are left alone. A value of a key
        that is not a known setting is an info; in quotes, only known settings are looked at.
    """
    tree = composed.tree
    dialect = composed.dialect
    loader = dialect["loader"]
    if loader in CONVERTS:
        return
    suspects = _suspects(tree.texts)
    if not suspects:
        return
    if loader == "unknown" and any(mark in tree.source.text for mark in _OMEGACONF):
        return
    exponents = tree.format == "yaml" and loader in ("yaml11", "unknown")
    names = number_keys(dialect)
    for node in tree.mappings:
        for key, value in node.pairs:
            if type(value) is not Scalar or value.style + value.value not in suspects:
                continue
            if type(key) is not Scalar or value.tag:
                continue
            known = normalised(key.value) in names
            if value.style:
                if known:
                    yield from _quoted(tree, key, value)
            elif exponents:
                yield _exponent(tree, value, known, dialect)


_harmless: set[str] = set()
_MOST_HARMLESS = 20_000
"""Texts that are kept as no number that a loader reads as text: files share most of theirs."""


def _suspects(texts: set[str]) -> list[str]:
    """Those of `Tree.texts` that are a number to a reader, and text to some loader."""
    fresh = texts - _harmless
    if not fresh:
        return []
    found = [text for text in fresh if _is_suspect(text)]
    if len(_harmless) > _MOST_HARMLESS:
        _harmless.clear()
    _harmless.update(fresh.difference(found))
    return found


def _is_suspect(text: str) -> bool:
    if text[:1] in ("'", '"'):
        return text[1:2] in _NUMERIC
    return bool(re.match(_EXPONENT, text)) and isinstance(read_plain(text), str)


@per_dialect
def number_keys(dialect: Dialect) -> frozenset[str]:
    """The names of the keys that hold a number, normalised."""
    kinds = GENERIC["kinds"]
    found = {key for key, name in GENERIC["keys"].items() if kinds[name] == "number"}
    for spec in dialect["paths"]:
        if spec["kind"] == "number":
            found.update(normalised(last_name(entry["path"])) for entry in spec["from"])
    return frozenset(found)


def _exponent(tree: Tree, value: Scalar, known: bool, dialect: Dialect) -> Finding:
    spelled = respell(value.value)
    meant = to_number(value.value)
    edit = None
    if spelled is not None and meant is not None:
        edit = replace_value(tree, value, None, meant, spelled)
    sure = dialect["loader"] == "yaml11"
    level = SAFE if known else RECOMMENDED
    if not known and value.value.replace("E", "e").replace("e", "").isdigit():
        level = SPECULATIVE  # 12e45 may be a revision
    who = (
        f"{dialect['title']} loads this file with PyYAML ({dialect['loader_source']})."
        if sure
        else "Some loaders, such as OmegaConf, read a number. Which of them loads this file is not "
        "known."
    )
    return Finding(
        Place(tree.source, value.start, value.end),
        f"PyYAML reads `{value.value}` as text, not as a number",
        severity=WARNING if known else INFO,
        confidence=HIGH if sure and known else MEDIUM,
        key=dotted(path_of(value, tree)),
        label="text under YAML 1.1",
        why=[
            (
                "YAML 1.1 wants a dot in the mantissa and a sign in the exponent. torch's "
                f"optimisers refuse text with a TypeError. {who}"
            )
        ],
        fix=Fix(level, f"write {spelled}", [edit], ["every loader reads this as a number"])
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

"""GA7: text where a switch or a number is wanted."""

from __future__ import annotations

from gradaudit.dialects import GENERIC, normalised, per_dialect
from gradaudit.dialects.paths import last_name
from gradaudit.edits import replace_value
from gradaudit.findings import MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Place
from gradaudit.plan.values import CONVERTS, reads_yaml11, typed
from gradaudit.rules import rule
from gradaudit.rules.text_numbers import number_keys
from gradaudit.syntax.tree import Scalar, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.dialects import Dialect
    from gradaudit.rules import Limits

_OFF = {
    "false": False, "False": False, "FALSE": False, "no": False, "No": False, "NO": False,
    "off": False, "Off": False, "OFF": False,
}  # fmt: skip
_NOTHING = frozenset(("None", "none", "NONE", "null", "Null", "NULL"))
_EITHER = frozenset((*_OFF, *_NOTHING))
_IN_QUOTES = frozenset(
    sign + word for sign in ("'", '"', "|", ">", "'''", '"""') for word in _EITHER
)
_TEXTS_11 = _IN_QUOTES | {"None", "none", "NONE"}
"""What is text to YAML 1.1, as `Tree.texts` has it."""
_TEXTS = _TEXTS_11 | {"no", "No", "NO", "off", "Off", "OFF"}
"""The same for every other loader."""
_SWITCHED = frozenset(("true", "false", "null", "auto"))
"""What a dialect translates of a plain switch; where it names other texts, the key takes texts."""

_BEGINNINGS = ("use_", "enable_", "do_", "is_", "with_")
"""A key that begins so asks a question: yes or no."""


@rule(
    "GA707",
    "text-for-a-switch",
    scope="file",
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        "https://docs.python.org/3/library/stdtypes.html#truth-value-testing",
        "https://yaml.org/type/null.html (`~`, `null` and nothing are null; `None` is text)",
        "https://yaml.org/type/bool.html (YAML 1.1)",
    ),
)
def text_for_a_switch(composed: Composed, limits: Limits) -> Iterator[Finding]:
    """A switch is set to the text "False", or a number to the text "None".

    Why:
        A text that is not empty is true to Python, whatever it says: `if config.use_ema` goes the
        way that the file means to close. `None` is Python's word, not YAML's: without quotes, too,
        it is the text "None", and `is not None` holds for it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        gradient_checkpointing: "False"

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        gradient_checkpointing: false

    Tell:
        `python -c "import sys, yaml; print(yaml.safe_load(open(sys.argv[1])))" FILE` shows the
        quotes that Python sees.

    Symptoms:
        loads other values than the file seems to say

    Fix:
        Recommended: `false`, or `null`, which every loader reads as what the text says. It changes
        the training, because what was on in silence goes off.

    False positives:
        A program that compares the text itself (`if x == "False"`) or converts it. Frameworks whose
        loader is known to convert text (pydantic, argparse, yacs) are left alone, and so is a key
        that is no known setting, or that takes a text (`mixed_precision: "no"`).
    """
    tree, dialect = composed.tree, composed.dialect
    if dialect["loader"] in CONVERTS or tree.format == "python":
        return
    if tree.texts.isdisjoint(_TEXTS_11 if reads_yaml11(dialect, tree.format) else _TEXTS):
        return
    for mapping in tree.mappings:
        for key, value in mapping.pairs:
            if type(value) is not Scalar or value.value not in _EITHER or type(key) is not Scalar:
                continue
            text = value.value
            if value.tag or not isinstance(typed(value, dialect, tree.format), str):
                continue
            name = normalised(key.value)
            if name in _switches(dialect) or name.startswith(_BEGINNINGS):
                kind = "a switch"
            elif text in _NOTHING and name in number_keys(dialect):
                kind = "a number"
            else:
                continue
            meant = _OFF.get(text)
            word = "null" if meant is None else "false"
            is_true = ", which is true to Python" if kind == "a switch" else ", not null"
            yield Finding(
                Place(tree.source, value.start, value.end),
                f'`{key.value}` is the text "{text}"{is_true}',
                severity=WARNING,
                confidence=MEDIUM,
                key=dotted(path_of(value, tree)),
                label=f"text, and {kind} is wanted",
                why=[
                    "A text that is not empty counts as true."
                    if kind == "a switch"
                    else "`is not None` holds for it, and what computes with it fails."
                ],
                fix=Fix(
                    RECOMMENDED,
                    f"write {word}",
                    [replace_value(tree, value, None, meant, word)],
                    ["a program that compares the text itself has to be changed with it"],
                ),
            )


@per_dialect
def _switches(dialect: Dialect) -> frozenset[str]:
    """The names of the keys that are on or off, normalised."""
    kinds = GENERIC["kinds"]
    found = set(GENERIC["flags"])
    found.update(key for key, name in GENERIC["keys"].items() if kinds[name] == "flag")
    for spec in dialect["paths"]:
        for entry in spec["from"]:
            flags = entry.get("flags")
            if spec["kind"] == "flag" if flags is None else _SWITCHED.issuperset(flags):
                found.add(normalised(last_name(entry["path"])))
    return frozenset(found)

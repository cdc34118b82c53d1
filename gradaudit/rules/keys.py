"""GA7: keys that nobody reads, two names of one setting."""

from __future__ import annotations

from gradaudit.dialects import GENERIC, normalised
from gradaudit.findings import MEDIUM, WARNING, Finding, Place, Related
from gradaudit.plan.model import DEFAULT
from gradaudit.rules import rule
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number
from gradaudit.rules.vocabulary import everywhere, vocabulary
from gradaudit.syntax.tree import Scalar, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits


@rule(
    "GA708",
    "unknown-key",
    scope="file",
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        "https://github.com/unslothai/unsloth/issues/10452 (keys that are dropped in silence)",
        (
            "Damerau 1964, A Technique for Computer Detection and Correction of Spelling Errors "
            "(most misspellings are one letter too many, too few, wrong, or two exchanged)"
        ),
    ),
)
def unknown_key(composed: Composed, limits: Limits) -> Iterator[Finding]:
    """A key is one letter away from that of a known setting, which the file does not have.

    Why:
        Most loaders keep a key that nobody asks for. The setting that it was meant to be stays at
        its default, and the training runs with a value that stands nowhere in the file. yacs
        (detectron2, SlowFast, Swin) ends with a KeyError instead, unless the program allows keys
        that its defaults do not have.

    Bad:
        optimizer: adamw
        learing_rate: 1.0e-4
        batch_size: 16

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16

    Tell:
        `gradaudit show FILE` lists the settings that are understood: the one that was meant is not
        among them.

    Symptoms:
        loads other values than the file seems to say
        training ends with an error, or never starts

    Fix:
        None: that the program reads the other name is not known for certain.

    False positives:
        A key of your own that happens to be a letter away from a known one. Left alone are keys
        whose section has the right one too, that any framework known here has, that differ in a
        plural or in the first letter of a word (`patch_size`, `batch_size`), whose value is of a
        kind that the setting does not take, and short ones: below 8 letters, under yacs below 5
        where the key stands in the section of the right one, and below 8 elsewhere.
    """
    tree = composed.tree
    words = vocabulary(composed.dialect)
    # Nearly every key is right, and known to be from other files.
    meant = {name: word for name in tree.names - words.right if (word := words.meant(name))}
    for mapping in tree.mappings if meant else ():
        for key, value in mapping.pairs:
            if type(key) is not Scalar or key.value not in meant:
                continue
            word = meant[key.value]
            name = normalised(key.value)
            here = {normalised(k.value) for k, _ in mapping.pairs if type(k) is Scalar}
            if word in here or name in everywhere() or not words.takes(word, value):
                continue
            path = path_of(value, tree)
            if word != name.strip() and not words.belongs(word, path):
                continue
            yield Finding(
                Place(tree.source, key.start, key.end),
                f"`{key.value}` is no known key; `{word}` may be meant",
                severity=WARNING,
                confidence=MEDIUM,
                key=dotted(path),
                label="one letter away" if word != name.strip() else "a blank too many",
                why=[
                    "yacs ends with a KeyError, unless the program allows new keys."
                    if composed.dialect["loader"] == "yacs"
                    else "A key that nobody asks for is ignored; the default is used in silence."
                ],
                next=f"Rename it to `{word}` if that is meant.",
                no_fix="that the program reads the other name is not known for certain",
            )


_ANY_NAME = (
    "accumulation", "clip_norm", "clip_value", "epochs", "global_batch", "label_smoothing",
    "total_steps", "warmup_epochs", "warmup_ratio", "warmup_steps",
)  # fmt: skip
"""Settings all of whose names mean the same to those who have either."""

_THESE_NAMES = {
    "learning_rate": frozenset(("learning_rate", "lr", "learningrate")),
    "weight_decay": frozenset(("weight_decay", "wd", "weightdecay")),
    "min_learning_rate": frozenset(("min_lr", "lr_min", "min_learning_rate", "minimum_lr")),
    "micro_batch": frozenset(
        key for key, name in GENERIC["keys"].items() if name == "micro_batch" and "per_" in key
    ),
}
"""Those of which other names may mean something else (`lr` beside OneCycle's `max_lr`)."""


@rule(
    "GA709",
    "two-names-for-one-setting",
    scope="unit",
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        (
            "https://github.com/huggingface/transformers/blob/main/src/transformers/training_args.py"
            " (per_gpu_train_batch_size beside per_device_train_batch_size)"
        ),
    ),
)
def two_names(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """One section names a setting twice, by two names and with two values.

    Why:
        Which of the two is in force depends on what the code asks for first. The one that you
        change may be the one that nobody reads.

    Bad:
        optimizer: adamw
        lr: 1.0e-4
        learning_rate: 3.0e-4
        batch_size: 16

    Good:
        optimizer: adamw
        learning_rate: 3.0e-4
        batch_size: 16

    Tell:
        Change one of the two and look whether the logged value follows.

    Symptoms:
        loads other values than the file seems to say

    Fix:
        None: which of the two is read is not known.

    False positives:
        Two things that share a section and a kind of name (`epochs` of one stage, `max_epochs` of
        the other). Names that often differ on purpose are not compared (`lr` and `max_lr` of a
        cycle, `batch_size` and what one device gets), nor are equal values.
    """
    if not unit.others:
        return
    for name, others in unit.others.items():
        first = unit.get(name)
        if first is None or first.key_node is None or first.number is None:
            continue
        if name not in _ANY_NAME and name not in _THESE_NAMES:
            continue
        for other in others:
            if other.number is None or other.number == first.number or other.key_node is None:
                continue
            if other.key_node.parent is not first.key_node.parent or other.note or first.note:
                continue
            if _names(first) == _names(other) or not (_is_name(first) and _is_name(other)):
                continue
            yield Finding(
                place_of(other, unit),
                f"`{other.last_key}: {number(other.number)}` and `{first.last_key}: "
                f"{number(first.number)}` are two names of one setting",
                severity=WARNING,
                confidence=MEDIUM,
                key=other.key,
                label="or is it this one",
                related=[Related(place_of(first, unit), "this was judged")],
                why=["Which of the two is in force depends on what the code asks for first."],
                next="Delete the one that the code does not read.",
                no_fix="which of the two is read is not known",
            )


def _names(setting: Setting) -> str:
    return normalised(setting.last_key)


def _is_name(setting: Setting) -> bool:
    """Whether the key is one of those that mean the same as the others of its setting."""
    name = _names(setting)
    these = _THESE_NAMES.get(setting.name)
    if setting.origin == DEFAULT:
        return False
    return name in these if these is not None else GENERIC["keys"].get(name) == setting.name

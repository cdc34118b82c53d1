"""GA7: keys that nobody reads, two names of one setting."""

from __future__ import annotations

from functools import cache

from gradaudit.dialects import GENERIC, load, names, normalised, per_dialect
from gradaudit.dialects.paths import last_name, steps
from gradaudit.findings import MEDIUM, WARNING, Finding, Place, Related
from gradaudit.plan.model import DEFAULT
from gradaudit.rules import rule
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number
from gradaudit.syntax.scalars import to_number
from gradaudit.syntax.tree import Scalar, dotted, path_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradaudit.compose.model import Composed
    from gradaudit.dialects import Dialect
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits
    from gradaudit.syntax.tree import Node

_SHORTEST = 8
"""Letters of a known key: shorter ones have too many neighbours that are words of their own."""

_SHORTEST_IN_PLACE = 5
"""The same where a loader refuses what it does not know, in the section where the key belongs."""

_HALF = _SHORTEST // 2


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
    words = _vocabulary(composed.dialect)
    # Nearly every key is right, and known to be from other files.
    meant = {name: word for name in tree.names - words.right if (word := words.meant(name))}
    for mapping in tree.mappings if meant else ():
        for key, value in mapping.pairs:
            if type(key) is not Scalar or key.value not in meant:
                continue
            word = meant[key.value]
            name = normalised(key.value)
            here = {normalised(k.value) for k, _ in mapping.pairs if type(k) is Scalar}
            if word in here or name in _everywhere() or not words.takes(word, value):
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


class _Near:
    """Known words by how they begin and how they end: one wrong letter leaves a half whole."""

    __slots__ = ("begins", "ends")

    def __init__(self, words: Iterable[str]) -> None:
        self.begins: dict[str, list[str]] = {}
        self.ends: dict[str, list[str]] = {}
        for word in words:
            if len(word) >= _SHORTEST:
                self.begins.setdefault(word[:_HALF], []).append(word)
                self.ends.setdefault(word[-_HALF:], []).append(word)

    def of(self, name: str) -> str:
        """The word that a name misspells; empty where it is none."""
        word: str
        for word in (*self.begins.get(name[:_HALF], ()), *self.ends.get(name[-_HALF:], ())):
            if abs(len(word) - len(name)) < 2 and _is_misspelt(name, word):
                return word
        return ""


@cache
def _generic() -> tuple[_Near, frozenset[str]]:
    """The words that every dialect knows, and those of them that take a number."""
    kinds, keys = GENERIC["kinds"], GENERIC["keys"]
    return _Near(keys), frozenset(key for key, name in keys.items() if kinds[name] == "number")


@cache
def _generic_meant(name: str) -> str:
    """Frameworks share most of their keys: each is looked for once."""
    return _generic()[0].of(name)


class _Words:
    """The keys of settings that a dialect knows beside the generic ones.

    right   keys as written that misspell none; files share most of their keys.
    _short  short keys that are looked for in their own section alone, with that section.
    """

    __slots__ = ("_known", "_near_own", "_short", "right")

    def __init__(self, dialect: Dialect) -> None:
        self.right: set[str] = set()
        self._known = _of_paths(dialect)
        self._near_own = _Near(self._known)
        self._short: dict[str, set[str]] = {}
        if dialect["loader"] == "yacs":
            for spec in dialect["paths"]:
                for entry in spec["from"]:
                    *above, word = map(normalised, steps(entry["path"]))
                    if _SHORTEST_IN_PLACE <= len(word) < _SHORTEST:
                        self._short.setdefault(word, set()).add(".".join(above))

    def meant(self, key: str) -> str:
        """The known key that a key misspells; empty where it is none, which is kept."""
        word = self._near(normalised(key))
        if not word:
            self.right.add(key)
        return word

    def _near(self, name: str) -> str:
        if self._knows(name):
            return ""
        word: str
        for word in self._short:
            if abs(len(word) - len(name)) < 2 and _is_misspelt(name, word):
                return word
        if len(name) < _SHORTEST - 1:
            return ""
        bare = name.strip()
        return (
            self._near_own.of(name)
            or _generic_meant(name)
            or (bare if bare != name and self._knows(bare) else "")
        )

    def _knows(self, name: str) -> bool:
        return name in self._known or name in GENERIC["keys"]

    def belongs(self, word: str, path: tuple[str | int, ...]) -> bool:
        """Whether a key may be meant where it stands: a short one in its own section alone."""
        sections = self._short.get(word)
        return sections is None or ".".join(normalised(str(p)) for p in path[1:-1]) in sections

    def takes(self, word: str, value: Node) -> bool:
        """Whether a value is of the kind that a known key takes."""
        node = resolve(value)
        if word not in _generic()[1]:
            return True
        return type(node) is Scalar and to_number(node.value) is not None


_vocabulary = per_dialect(_Words)


def _of_paths(dialect: Dialect) -> set[str]:
    paths = [entry["path"] for spec in dialect["paths"] for entry in spec["from"]]
    return set(map(normalised, map(last_name, paths)))


@cache
def _everywhere() -> frozenset[str]:
    """The keys that any dialect reads. Asked for only where a key looks misspelt."""
    return frozenset().union(*(_of_paths(load(name)) for name in names()))


def _is_misspelt(name: str, word: str) -> bool:
    """Whether one slip inside of a word makes `name` of `word`: no plural, no other beginning."""
    at = 0
    while at < len(name) and at < len(word) and name[at] == word[at]:
        at += 1
    mine, theirs = name[at:], word[at:]
    if at == 0 or word[at - 1 : at] == "_":
        return False  # the first letter of a word: `patch_size`
    if mine[:2] == theirs[1::-1] and len(mine) > 1 and mine[2:] == theirs[2:]:
        return True  # two exchanged
    longer, shorter = (mine, theirs) if len(mine) > len(theirs) else (theirs, mine)
    wrong = {longer[:1], shorter[:1]} if mine[1:] == theirs[1:] else {longer[:1]}
    if longer[1:] not in (shorter[1:], shorter) or not all(map(str.isalpha, wrong)):
        return False
    ends_word = longer[1:2] in ("", "_")
    return not (ends_word and wrong <= {"s", "d", "r"})  # `schedules`, `scheduler`


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
